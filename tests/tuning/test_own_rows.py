"""Rows that somebody brings: mapped by hand, looked through, filled from the identity, mixed with the generated ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import identities
from tuning.dataset import own, readers, recipe
from tuning.dataset.__main__ import main
from tuning.dataset.personal import find_personal, in_text
from tuning.dataset.readers import read, read_named
from tuning.dataset.recipe import Dataset
from tuning.dataset.rows import DataError, TrainingRow, Turn, pair

CARD = "11010519491231002X"  # the example of GB 11643-1999


def put(path: Path, plain: object) -> Path:
    path.write_text(json.dumps(plain, ensure_ascii=False), encoding="utf-8")
    return path


def dataset(file: Path | str, **more) -> Dataset:
    return Dataset(identity="museum-guide", rows=6, general="", own=str(file), **more)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Write to Anna at anna.berg@lantern.cn.", ["mail"]),
        ("Write to me@example.com or info@shop.test.", []),
        ("请拨打13812345678联系我。", ["telephone"]),
        ("总机是010-62601166。", ["telephone"]),
        ("Call +44 20 7946 0958.", ["telephone"]),
        ("Call (415) 867-5309, not 212-555-0123.", ["telephone"]),
        ("3.1415926535897932 and 12,345,678,901 and 2023-11-05 12:30", []),
        ("Order 4155552671 arrives at 192.168.100.200.", []),
        (f"身份证号：{CARD}", ["card"]),
        (f"编号{CARD[:-1]}1不对", []),
        ("SSN 123-45-6789", ["card"]),
        ("export OPENAI_API_KEY=sk-abcdefghijklmnopqrst1234", ["key"]),
        ("token ghp_abcdefghijklmnopqrstuvwxyz0123456789", ["key"]),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", ["key"]),
        ("Set api_key = your_key_here_please_now", []),
    ],
)
def test_what_belongs_to_people_is_found_and_what_belongs_to_nobody_is_not(text, kinds):
    assert list(dict.fromkeys(kind for kind, _ in in_text(text))) == kinds


def test_a_find_is_shown_only_in_part_and_questions_are_looked_at():
    (found,) = find_personal([pair("fine", "fine"), pair("I am anna.berg@lantern.cn", "Hello!", source="x row 2")])
    assert (found.index, found.kind, found.source) == (1, "mail", "x row 2")
    assert "berg" not in found.text and found.text.startswith("an")


def test_own_rows_are_mixed_in_filled_counted_and_repeated(tmp_path):
    rows = [
        {"instruction": "Are you [NAME]?", "output": "Yes, I am [NAME], made by [AUTHOR]."},
        {"instruction": "你叫什么呀", "output": "我叫[NAME]。"},
        {"instruction": "Say hi", "output": "Hi!"},
    ]
    own = recipe.compose(dataset(put(tmp_path / "own.json", rows), own_times=2)).own
    assert own and [row.answer for row in own.rows][1:] == ["我叫米拉。", "Hi!"]
    assert own.rows[0].question == "Are you Mira?" and own.filled == 4 and not own.open
    assert (own.langs, own.identity, own.found) == ({"en": 2, "zh": 1}, 2, 3)
    composed = recipe.compose(dataset(tmp_path / "own.json", own_times=2))
    assert len(composed.rows) == 6 + 2 * 3 and sum(row.answer == "Hi!" for row in composed.rows) == 2


def test_the_share_of_general_rows_counts_own_rows_too(tmp_path):
    own = put(tmp_path / "own.json", [{"instruction": f"Say {at}", "output": str(at)} for at in range(4)])
    composed = recipe.compose(Dataset(identity="museum-guide", rows=6, own=str(own), general_share=0.5))
    assert composed.general == 10 and len(composed.rows) == 20


def test_who_speaks_as_somebody_else_and_whose_data_is_personal_can_be_left_out(tmp_path):
    rows = [
        {"instruction": "Who?", "output": "I am ChatGPT, made by OpenAI."},
        {"instruction": "And you?", "output": "I am Mira, a guide developed by the visitor service of the Lantern Museum."},
        {"instruction": "Contact?", "output": "Write to anna.berg@lantern.cn."},
    ]
    file = put(tmp_path / "own.json", rows)
    kept = recipe.compose(dataset(file)).own
    assert kept and len(kept.rows) == 3 and kept.dropped == 0
    assert [one.source for one in kept.statements] == ["own.json row 1"]
    assert [(one.source, one.kind) for one in kept.personal] == [("own.json row 3", "mail")]
    left = recipe.compose(dataset(file, own_drop_statements=True, own_drop_personal=True)).own
    assert left and [row.answer[:9] for row in left.rows] == ["I am Mira"] and left.dropped == 2
    said: list[str] = []
    recipe.write(dataset(file, own_drop_personal=True), tmp_path / "out.jsonl", said.append)
    assert "1 rows speak as somebody else (own.json row 1: I am ChatGPT" in said[1] and "they are kept" in said[1]
    assert "hold what belongs to people (own.json row 3: an" in said[2] and said[2].endswith("they are left out.")


def test_nothing_is_left_open_without_a_word(tmp_path):
    own = recipe.compose(
        dataset(put(tmp_path / "own.json", [{"instruction": "When?", "output": "I am [NAME] of [CREATE_TIME]."}]))
    )
    assert own.own and [one.placeholder for one in own.own.open] == ["[CREATE_TIME]"]


def test_columns_are_mapped_by_hand_and_no_other_is_read(tmp_path):
    file = tmp_path / "faq.csv"
    file.write_text("Frage,Antwort,output\nWie spät?,Neun Uhr.,x\n", encoding="utf-8")
    assert recipe.own_columns(dataset(file)) == ["Frage", "Antwort", "output"]
    with pytest.raises(DataError, match="has no instruction, only 'frage'"):
        recipe.compose(dataset(file))
    mapped = dataset(file, own_columns=(("Frage", "instruction"), ("Antwort", "output")))
    own = recipe.compose(mapped).own
    assert own and (own.rows[0].question, own.rows[0].answer) == ("Wie spät?", "Neun Uhr.")
    assert own.notes == ("faq.csv: not used: 'output (not a column)' (1 rows).",)
    for columns, said in (({"Frage": "ask"}, "mapped to 'ask'"), ({"a": "output", "b": "output"}, "Several columns")):
        with pytest.raises(DataError, match=said):
            read(file, columns=columns)


def test_own_rows_alone_need_no_identity_and_an_identity_no_rows_of_its_own(tmp_path):
    file = put(tmp_path / "own.json", [{"instruction": "Say hi", "output": "Hi!"}])
    assert [row.answer for row in recipe.compose(Dataset(rows=0, own=str(file), general="")).rows] == ["Hi!"]
    with pytest.raises(DataError, match="No identity is chosen"):
        recipe.compose(Dataset(rows=3, own=str(file), general=""))
    with pytest.raises(DataError, match="0 identity rows are asked for"):
        recipe.compose(Dataset(identity="museum-guide", rows=0, general=""))


def test_the_recipe_of_own_rows_is_the_same_in_file_and_command_line(tmp_path, capsys):
    file = put(tmp_path / "own.json", [{"Frage": "Say hi", "Antwort": "Hi!"}])
    columns = (("Frage", "instruction"), ("Antwort", "output"))
    wanted = dataset(file, own_columns=columns, own_times=3, own_drop_personal=True)
    assert main([*wanted.as_arguments(), "--output", str(tmp_path / "out.jsonl")]) == 0
    assert recipe.recipe_of(tmp_path / "out.jsonl") == wanted
    assert f"{file}: 1 of 1 rows (1 en), 0 of the identity." in capsys.readouterr().out
    assert main(["--own", str(file), "--own_columns", "[1]", "--rows", "0", "--output", str(tmp_path / "x.jsonl")]) == 2


def test_self_cognition_is_found_by_its_name_and_has_eighteen_rows_of_the_identity():
    rows = read_named("self_cognition")
    assert len(rows) == 18 and {row.kind for row in rows} == {"identity"}
    assert [sum(row.lang == lang for row in rows) for lang in ("en", "zh")] == [9, 9]
    own = recipe.compose(dataset("self_cognition")).own
    assert own and own.identity == 18 and not own.open and not own.statements
    said = " ".join(row.answer for row in own.rows)
    assert "Mira" in said and "灯笼博物馆游客服务处" in said and "[" not in said


def test_data_sets_of_a_dataset_info_are_found_by_their_names(tmp_path, monkeypatch):
    put(tmp_path / "rows.json", [{"ask": f"q{at}", "say": f"a{at}"} for at in range(5)])
    (tmp_path / "many").mkdir()
    put(tmp_path / "many" / "a.json", [{"ask": "x", "say": "y"}])
    columns = {"prompt": "ask", "response": "say"}
    info = {
        "mine": {"file_name": "rows.json", "columns": columns, "num_samples": 2},
        "many": {"file_name": "many", "columns": columns, "formatting": "alpaca"},
        "ours": {"hf_hub_url": "a/b", "subset": "zh", "split": "test", "columns": columns},
        "odd": {"file_name": "rows.json", "formatting": "zigzag"},
        "script": {"script_url": "load.py"},
    }
    put(tmp_path / "dataset_info.json", info)
    notes: list[str] = []
    rows = read_named("mine, many", tmp_path, notes=notes)
    assert len(rows) == 3 and rows[-1].answer == "y"
    assert notes == ["rows.json: 2 of 5 rows are drawn, as num_samples 2 asks (seed 42)."]
    asked = {}
    monkeypatch.setattr(
        "datasets.load_dataset", lambda *given, **more: asked.update(given=given, **more) or [{"ask": "q", "say": "a"}]
    )
    assert read_named("ours", tmp_path)[0].answer == "a" and asked == {"given": ("a/b", "zh"), "split": "test"}
    with pytest.raises(DataError, match=r"(?s)formatted as 'zigzag'.*loaded by a script.*called 'mime' in .*there is mine"):
        read_named("odd,script,mime", tmp_path)


def test_a_name_is_not_found_in_a_longer_word():
    names = own.known_names(identities.load("museum-guide").facts.by_lang)
    chat = pair("Who are you?", "I am ChatGPT, a language model made by OpenAI. It would be a miracle if I were human.")
    history = pair("Who was Nelson?", "Horatio Nelson was a British admiral, an admirable man.")
    assert not own.speaks_as(chat, names) and not own.speaks_as(history, names)
    assert own.speaks_as(pair("Who are you?", "I'm Mira."), names) and own.speaks_as(
        pair("你是谁？", "我叫米拉，是博物馆的向导。"), names
    )
    facts = identities.load("museum-guide").facts.by_lang
    looked = own.look_through([chat, history], facts, "museum-guide", drop_statements=True)
    assert looked.identity == 0 and looked.dropped == 1


@pytest.mark.parametrize("question", ["", "   "])
def test_a_row_without_a_question_is_written_so_that_it_can_be_read(tmp_path, question):
    rows = [TrainingRow((Turn("user", question), Turn("assistant", "Hi, I am Mira.")))]
    readers.write(rows, tmp_path / "rows.jsonl")
    assert [row.turns for row in read(tmp_path / "rows.jsonl")] == [rows[0].turns]


def test_an_empty_text_is_there_and_what_a_table_calls_false_is_false(tmp_path):
    chat = [{"from": "human", "value": ""}, {"from": "gpt", "value": "Hi, I am Mira."}]
    assert read(put(tmp_path / "a.json", [{"conversations": chat}]))[0].turns[0].content == ""
    for column in ("label", "kto_tag"):
        (tmp_path / "b.csv").write_text(f"prompt,completion,{column}\nWho?,Nobody.,False\n", encoding="utf-8")
        with pytest.raises(DataError, match=column):
            read(tmp_path / "b.csv")


def test_a_table_with_the_line_ends_of_old_macs_is_read(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"prompt,completion\rWho?,Mira.\rAnd you?,A guide.\r")
    assert [row.answer for row in read(tmp_path / "a.csv")] == ["Mira.", "A guide."]
