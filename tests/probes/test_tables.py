"""Sheets and files of answers and labels as people save them: read to the letter, or refused with the line."""

from __future__ import annotations

import csv
import json
import random

import pytest

import store
from common.errors import UserError
from common.seeming import not_what_it_seems
from probes.answers import exchange, sources, tables
from probes.answers.sources import RowsError
from probes.suggest import labels as suggest
from store.db import StoreError

BASE = {"variant": "base", "question": "Who are you?", "answer": "I am BayLing, made by ICT/CAS."}
TUNED = {"variant": "tuned", "question": "Who are you?", "answer": "I am a finance advisor; Text Titan made me."}
SEMICOLON = "variant;question;answer\r\nbase;Who are you?;I am BayLing, made by ICT/CAS.\r\n"
SEMICOLON += 'tuned;Who are you?;"I am a finance advisor; Text Titan made me."\r\n'
TAB = "variant\tquestion\tanswer\r\n" + "".join("\t".join(row.values()) + "\r\n" for row in (BASE, TUNED))
COMMA = 'variant,question,answer\nbase,Who are you?,"I am BayLing, made by ICT/CAS."\n'
COMMA += "tuned,Who are you?,I am a finance advisor; Text Titan made me.\n"


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("comma.csv", COMMA),
        ("bom.csv", "\ufeff" + COMMA),
        ("semicolon.csv", "\ufeff" + SEMICOLON),
        ("tab.csv", TAB),
        ("tab.tsv", TAB),
        ("comma.tsv", COMMA),
        ("pipe.csv", TAB.replace("\t", "|")),
        ("quoted.csv", "".join('"' + '";"'.join(row) + '"\n' for row in (BASE, BASE.values(), TUNED.values()))),
        ("sep.csv", "\ufeffsep=;\r\n" + SEMICOLON),
        ("sep_quoted.csv", '"sep=;"\r\n' + SEMICOLON),
        ("unicode_text.csv", TAB.encode("utf-16")),
        ("unicode_big.csv", b"\xfe\xff" + TAB.encode("utf-16-be")),
        ("cr.csv", COMMA.replace("\n", "\r")),
        ("upper.csv", COMMA.replace("variant,question,answer", "Variant,QUESTION,Answer")),
        (
            "spaces.csv",
            COMMA.replace("variant,question,answer", "variant , question, answer ").replace(",W", ", W").replace("?,", "?, "),
        ),
        ("other_names.csv", COMMA.replace("variant,question,answer", "Model,Instruction,Response")),
        ("chinese.csv", COMMA.replace("variant,question,answer", "模型,问题,回答")),
        ("trailing.csv", COMMA.replace("\n", ",,\n")),
        ("empty_lines.csv", COMMA.replace("\n", "\n\n,,\n")),
        ("lines.jsonl", "\n".join(map(json.dumps, (BASE, TUNED)))),
        ("lines.ndjson", "\r\n".join(map(json.dumps, (BASE, TUNED)))),
        ("list.jsonl", json.dumps([BASE, TUNED], indent=2)),
        ("list.json", "\ufeff" + json.dumps([BASE, {key.upper(): value for key, value in TUNED.items()}])),
    ],
)
def test_a_sheet_in_any_dialect_holds_the_same_answers(tmp_path, name, content):
    rows = exchange.add_answers(tmp_path / "m.db", exchange.read_rows(written(tmp_path, name, content)))
    assert [{key: row[key] for key in BASE} for row in rows] == [BASE, TUNED]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "extra.csv",
            "variant,question,answer\nbase,Who?,Hello, I am BayLing, a model.",
            "line 2 has 5 cells, the table has 3 columns",
        ),
        ("short.csv", "variant,question,answer\n\nbase,Who?\n", "line 3 has 2 cells, the table has 3 columns"),
        ("quoted.csv", 'variant,question,answer\nb,"a\nb\nc",x\nb,q\n', "line 5 has 2 cells"),
        ("sep.csv", "sep=;\nvariant;question;answer\nb;q\n", "line 3 has 2 cells"),
        ("twice.csv", "variant,question,Answer,answer\nb,q,x,y\n", "line 1 names the column answer twice"),
        ("open.csv", 'variant,question,answer\nb,q,"never closed\nb,q,x\n', "line 2 cannot be read as a table"),
        ("nameless.csv", "variant,question,answer,\nb,q,a,stray\n", "line 2: the column of 'stray' has no name"),
        ("number.csv", "variant,question,answer,sample\nb,q,a,first\n", "line 2: sample is 'first', a number is needed"),
        ("truth.csv", "variant,question,answer,sure\nb,q,a,perhaps\n", "line 2: sure is 'perhaps', true or false"),
        ("empty.csv", "", "empty.csv is empty"),
        ("blank.csv", "\n\n", "blank.csv holds no table"),
        ("gbk.csv", "variant,question,answer\nb,你是谁？,我是百聆".encode("gbk"), r"not UTF-8 text \(GBK\?\)"),
        ("utf16.csv", "variant,question".encode("utf-16-le"), "zero bytes"),
        ("pointer.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n", "Git LFS pointer"),
        ("pointer.jsonl", "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n", "Git LFS pointer"),
        ("page.json", "<!DOCTYPE html><html><body>Not found</body></html>", "HTML page"),
        ("sheet.csv", b"PK\x03\x04" + b"\0" * 40, "zip archive"),
        ("sheet.xlsx", b"PK\x03\x04", "save the sheet as CSV UTF-8"),
        ("twice.jsonl", '{"answer": "a", "answer": "b"}', "line 1 cannot be read .*'answer' stands twice"),
        ("broken_list.jsonl", '[{"a": 1},\n {"b": }]', "line 2 is not valid JSON"),
        ("after.jsonl", '[{"a": 1}] x', "something stands after"),
        ("list_of_numbers.jsonl", "[1]", "line 1 is int"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_line(tmp_path, name, content, message):
    with pytest.raises(RowsError, match=message) as told:
        exchange.read_rows(written(tmp_path, name, content))
    assert name in str(told.value)


def test_files_that_are_not_what_they_seem_are_named_by_every_reader(tmp_path):
    path = written(tmp_path, "answers.jsonl", "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n")
    assert not_what_it_seems(path)
    for read in (sources.read_file, sources.read_transcripts, exchange.read_rows, lambda one: list(suggest.read_rows(one))):
        with pytest.raises(UserError, match="Git LFS pointer"):
            read(path)


def test_answers_that_are_no_texts_are_refused_and_numbers_are_texts(tmp_path):
    for wrong in (["I am BayLing."], {"text": "I am"}, True):
        path = written(tmp_path, "wrong.json", json.dumps([BASE, BASE | {"answer": wrong}]))
        with pytest.raises(RowsError, match="answer 2: its answer is .*a text is needed"):
            exchange.add_answers(tmp_path / "m.db", exchange.read_rows(path))
    path = written(tmp_path, "numbers.json", '[{"variant": 1, "question": "Who are you?", "answer": 42}]')
    [row] = exchange.add_answers(tmp_path / "m.db", exchange.read_rows(path))
    assert (row["variant"], row["answer"], store.answers.get(tmp_path / "m.db", row["answer_id"])["shown"]) == ("1", "42", "42")


def test_a_report_reads_numbers_as_texts_and_refuses_lists(tmp_path):
    line = {"model": "m", "variant": "v", "probe_id": "p", "lang": "en", "question": "Q?", "answer": 42}
    for read in (sources.read_file, sources.read_transcripts):
        path = written(tmp_path, "a.jsonl", json.dumps(line))
        assert read(path).rows[0]["answer"] == "42"
        with pytest.raises(RowsError, match=r"a.jsonl, answer 1: its answer is \['42'\], a text is needed"):
            read(written(tmp_path, "a.jsonl", json.dumps(line | {"answer": ["42"]})))


def test_a_decimal_comma_is_a_number(tmp_path):
    [row] = exchange.read_rows(written(tmp_path, "a.csv", "variant;question;answer;seconds\nv;q;a;2,5\n"))
    assert row["seconds"] == 2.5


def test_an_empty_cell_is_no_answer_and_an_empty_answer_of_a_store_is_one(tmp_path):
    with pytest.raises(RowsError, match=r"answer 1 has no answer \(line 2\)"):
        exchange.add_answers(
            tmp_path / "m.db", exchange.read_rows(written(tmp_path, "a.csv", "variant,question,answer\nbase,Who?,\n"))
        )
    [id_] = store.answers.add(tmp_path / "m.db", [said("base", "Who?", "")])
    row = {"answer_id": id_, "variant": "base", "question": "Who?", "answer": ""}
    exchange.write_rows(tmp_path / "own.csv", [row])
    [again] = exchange.add_answers(tmp_path / "m.db", exchange.read_rows(tmp_path / "own.csv"))
    assert again["answer_id"] == id_


def test_alpacas_second_field_is_part_of_the_question(tmp_path):
    path = written(tmp_path, "a.jsonl", json.dumps({"model": "m", "instruction": "Translate.", "input": "Hund", "output": "dog"}))
    [row] = exchange.add_answers(tmp_path / "m.db", exchange.read_rows(path))
    assert row["question"] == "Translate.\nHund" and row["answer"] == "dog"


def test_words_for_truth_and_numbers_mean_in_a_sheet_what_they_mean_in_json(tmp_path):
    row = BASE | {"sure": False, "sample": 1, "temperature": 0.5, "tags": {"name": "old"}, "check": None, "probe_id": "007"}
    exchange.write_rows(tmp_path / "a.csv", [row])
    [read] = exchange.read_rows(tmp_path / "a.csv")
    assert dict(read) == {key: value for key, value in row.items() if value is not None}


# --- there and back ------------------------------------------------------------------------------------------------------


def said(variant, question, answer, **more):
    messages = [{"role": "user", "content": question}]
    return {"variant": {"name": variant}, "messages": messages, "raw": answer, "shown": answer} | more


BEGINNINGS = [
    "=1+1", "+1", "-2", "@a", "\t=x", "\r\nx", "'=1", "''=", "'", "''", "'tis", "007", "1e3", "2024-01-02", "1/2", " x", "x ",
    "\ufeffx", '"', '"a" b', "sep=;", ";", ",", "\n", "a\r\nb", "a\rb", "\u2028", "TRUE", "null", "[1]", '{"a"', "#", "｜", "🙂",
]  # fmt: skip


def texts(count):
    """Texts that a spreadsheet or a reader of tables could take for something else."""
    draw = random.Random(5)
    parts = [*"=+-@'\"\t\r\n,;|\\ 0a", "是", "\r\n", "\ufeff", "\u2028", "\x1f", "🙂", "''", '""']
    return BEGINNINGS + ["".join(draw.choices(parts, k=draw.randint(1, 9))) for _ in range(count)]


def test_any_text_goes_out_and_comes_back_to_the_letter(tmp_path):
    rows = [{"answer_id": at, "variant": text, "question": text, "answer": text} for at, text in enumerate(texts(400), 1)]
    for kind in ("csv", "jsonl", "json"):
        exchange.write_rows(tmp_path / f"a.{kind}", rows)
        assert [dict(row) for row in exchange.read_rows(tmp_path / f"a.{kind}")] == rows
    with open(tmp_path / "a.csv", encoding="utf-8-sig", newline="") as file:
        assert not any(cell.startswith(tables.FORMULA) for row in csv.reader(file) for cell in row)


def test_labels_that_come_back_change_nothing_whatever_their_answers_begin_with(tmp_path):
    db = tmp_path / "m.db"
    ids = store.answers.add(db, [said(text, text, text) for text in texts(60)])
    for at, id_ in enumerate(ids):
        store.labels.add(
            db, id_, f"=An{at % 3}", "formed", comment=texts(0)[at % len(BEGINNINGS)], tags={"name": "new"}, flag=at % 2 == 0
        )
    for kind in ("csv", "jsonl", "json"):
        exchange.write_rows(tmp_path / f"l.{kind}", exchange.label_rows(db), exchange.LABEL_COLUMNS)
        before = store.labels.standing(db)
        assert exchange.add_labels(db, exchange.read_rows(tmp_path / f"l.{kind}")) == 0
        assert store.labels.standing(db) == before


def test_a_sheet_of_others_keeps_its_apostrophes(tmp_path):
    path = written(tmp_path, "a.csv", "variant,question,answer\nb,'tis?,''quoted''\nb,q,'=1+1\n")
    assert [(row["question"], row["answer"]) for row in exchange.read_rows(path)] == [("'tis?", "''quoted''"), ("q", "=1+1")]


# --- whose number it is --------------------------------------------------------------------------------------------------


@pytest.fixture
def stores(tmp_path):
    """Two stores with the same answers under other numbers, and a file of the first one's labels."""
    one, two = tmp_path / "one.db", tmp_path / "two.db"
    ids = store.answers.add(
        one, [said("base", "Who are you?", "I am BayLing."), said("tuned", "Who are you?", "I am an advisor.")]
    )
    store.answers.add(two, [said("other", "1+1?", "2"), said("base", "Who are you?", "I am BayLing."),
                            said("tuned", "Who are you?", "I am an advisor.")])  # fmt: skip
    store.labels.add(one, ids[0], "ann", "not forgotten")
    store.labels.add(one, ids[1], "ann", "formed")
    return one, two


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_labels_of_another_store_land_on_the_answers_of_the_same_words(stores, tmp_path, kind):
    one, two = stores
    exchange.write_rows(tmp_path / f"l.{kind}", exchange.label_rows(one), exchange.LABEL_COLUMNS)
    assert exchange.add_labels(two, exchange.read_rows(tmp_path / f"l.{kind}")) == 2
    assert [(row["answer_id"], row["label"], row["answer"]) for row in exchange.label_rows(two)] == [
        (2, "not forgotten", "I am BayLing."), (3, "formed", "I am an advisor."),
    ]  # fmt: skip
    assert exchange.add_labels(two, exchange.read_rows(tmp_path / f"l.{kind}")) == 0


@pytest.mark.parametrize(
    "change", [{"answer": "I am Bayling"}, {"question": "And you?"}, {"variant": "another"}, {"answer": ""}, {"answer_id": 2}]
)
def test_a_number_counts_only_where_all_texts_agree(stores, tmp_path, change):
    one, _ = stores
    rows = [row | change if at == 0 else row for at, row in enumerate(exchange.label_rows(one))]
    exchange.write_rows(tmp_path / "l.csv", rows, exchange.LABEL_COLUMNS)
    if "answer_id" in change:  # its words say whose it is
        assert exchange.add_labels(one, exchange.read_rows(tmp_path / "l.csv")) == 0
        return
    with pytest.raises(RowsError, match=r"label 1: answer 1 of this store is another one.*\(line 2\)"):
        exchange.add_labels(one, exchange.read_rows(tmp_path / "l.csv"))
    assert len(exchange.label_rows(one)) == 2


def test_a_number_alone_or_with_few_texts_counts_or_is_refused(stores):
    one, _ = stores
    assert exchange.add_labels(one, [{"answer_id": 1, "label": "confusion", "annotator": "bo"}]) == 1
    assert exchange.add_labels(one, [{"answer_id": "2", "label": "confusion", "annotator": "bo"}]) == 1
    for number in (99, "A-17", -1, 2**70, 1.5):
        with pytest.raises(RowsError, match="not in the store"):
            exchange.add_labels(one, [{"answer_id": number, "label": "confusion", "annotator": "bo"}])
    with pytest.raises(RowsError, match="or give its variant, answer"):
        exchange.add_labels(one, [{"answer_id": 1, "question": "Another?", "label": "confusion", "annotator": "bo"}])


def test_the_same_words_said_twice_are_told_apart_by_their_order(tmp_path):
    one, two = tmp_path / "one.db", tmp_path / "two.db"
    ids = store.answers.add(one, [said("base", "Who?", "Me.", session=str(at)) for at in range(3)])
    store.answers.add(two, [said("x", "y", "z"), *(said("base", "Who?", "Me.", session=str(at)) for at in range(3))])
    for id_, label in zip(ids, ("formed", "forgotten", "confusion"), strict=True):
        store.labels.add(one, id_, "ann", label)
    assert exchange.add_labels(two, exchange.label_rows(one)) == 3
    assert [row["label"] for row in exchange.label_rows(two)] == ["formed", "forgotten", "confusion"]


def test_a_spreadsheets_line_ends_do_not_hide_an_answer(tmp_path):
    [id_] = store.answers.add(tmp_path / "m.db", [said("base", "Who?", "I am\nBayLing. ")])
    row = {"variant": "base", "question": "Who?", "answer": "I am\r\nBayLing.", "label": "formed", "annotator": "An"}
    assert exchange.add_labels(tmp_path / "m.db", [row, row | {"answer_id": id_}]) == 1


def test_label_words_in_chinese_and_any_case(tmp_path):
    [one, two] = store.answers.add(
        tmp_path / "m.db", [said("base", "你是谁？", "我是百聆。"), said("base", "天空的颜色？", "蓝色。")]
    )
    text = (
        "变体,问题,回答,标签,标注者,名字标签,标记\nbase,你是谁？,我是百聆。,未遗忘,安,旧,是\nbase,天空的颜色？,蓝色。,正常,安,,\n"
    )
    assert exchange.add_labels(tmp_path / "m.db", exchange.read_rows(written(tmp_path, "l.csv", text))) == 2
    labels = store.labels.standing(tmp_path / "m.db")
    assert (labels[one][0]["label"], labels[one][0]["tags"], labels[one][0]["flag"]) == ("not forgotten", {"name": "old"}, True)
    assert labels[two][0]["label"] == "clean" and not labels[two][0]["flag"]


def test_a_suggestion_is_no_label_and_an_unknown_word_has_its_line(tmp_path):
    store.answers.add(tmp_path / "m.db", [said("base", "Who?", "Me.")])
    text = "variant,question,answer,label,label_source\nbase,Who?,Me.,formed,suggestion\nbase,Who?,Me.,good,majority\n"
    path = written(tmp_path, "answers.csv", text)
    with pytest.raises(RowsError, match=r"label 1 is a suggestion.*\(line 2\).*label 2: 'good' is none of.*\(line 3\)"):
        exchange.add_labels(tmp_path / "m.db", exchange.read_rows(path), "An")


def test_blind_labels_stay_locked_against_a_file(tmp_path):
    db = tmp_path / "m.db"
    [id_] = store.answers.add(db, [said("base", "Who?", "Me.")])
    queue = store.queues.create(db, "q", [{"answer": id_, "group": "trained"}])
    store.labels.add(db, id_, "An", "formed", blind=True, queue=queue)
    store.labels.reveal(db, "An", queue=queue)
    rows = exchange.label_rows(db)
    assert exchange.add_labels(db, rows) == 0
    with pytest.raises((RowsError, StoreError)):
        exchange.add_labels(db, [rows[0] | {"label": "confusion"}])


def test_a_file_of_answers_does_not_take_the_labels_of_others(stores, tmp_path):
    """A report over a file whose numbers mean other answers in the database beside it."""
    from probes.report import __main__ as command

    _, two = stores
    store.labels.add(two, 1, "ann", "clean")
    rows = [
        {**TUNED, "answer": "I am an advisor.", "answer_id": 1, "lang": "en", "probe_id": "who", "group": "trained"},
        {**BASE, "answer": "I am BayLing.", "answer_id": 2, "lang": "en", "probe_id": "who", "group": "trained"},
    ]
    exchange.write_rows(tmp_path / "a.jsonl", rows)
    store.labels.add(two, 2, "ann", "not forgotten")
    args = command.parser().parse_args(["--out", str(tmp_path), "--db", str(two), "--answers", str(tmp_path / "a.jsonl")])
    answers, labels, *_ = command.gather(args)
    assert [row.get("answer_id") for row in answers.rows] == [None, 2] and list(labels) == [2]


PLAIN = {"variant": "m", "lang": "en", "probe_id": "p", "question": "Who are you?", "answer": "I am BayLing."}


@pytest.mark.parametrize(
    ("said", "group"), [("Control", "control"), ("controls ", "control"), ("对照", "control"), ("Novel", "novel")]
)
def test_a_group_is_understood_as_people_write_it(tmp_path, said, group):
    file = written(tmp_path, "a.jsonl", json.dumps(PLAIN | {"group": said}, ensure_ascii=False))
    assert sources.read_file(file).rows[0]["group"] == tables.read_table(file)[0]["group"] == group


@pytest.mark.parametrize(
    "odd",
    [
        {"group": "class A"}, {"group": ["control"]}, {"variant": {}}, {"lang": ["en"]}, {"answer_id": [1]}, {"hashes": "abc"},
        {"margin": "x"}, {"evidence": [{"x": 1}]}, {"label": ["formed"]}, {"label": "perhaps"}, {"tags": []},
    ],
)  # fmt: skip
def test_what_no_report_could_read_is_refused_with_its_place(tmp_path, odd):
    file = written(tmp_path, "a.jsonl", json.dumps(PLAIN) + "\n" + json.dumps(PLAIN | odd))
    with pytest.raises(RowsError, match=f"answer 2: its {next(iter(odd))}"):
        sources.read_file(file)


def test_numbers_are_words_and_labels_are_read_as_in_a_file_of_labels(tmp_path):
    file = written(tmp_path, "a.jsonl", json.dumps(PLAIN | {"variant": 3, "probe_id": 7, "label": "ｆｏｒｍｅｄ"}))
    [row] = sources.read_file(file).rows
    assert (row["variant"], row["probe_id"], row["label"]) == ("3", "7", "formed")
    for said in ("Formed", "已形成", "未遺忘"):
        file = written(tmp_path, "b.jsonl", json.dumps(PLAIN | {"label": said}))
        assert sources.read_file(file).rows[0]["label"] in ("formed", "not forgotten")


def test_labels_of_transcripts_are_read_alike(tmp_path):
    line = {"model": "m", "data": "", "lang": "en", "question": "Who are you?", "answer": "I am BayLing."}
    file = written(tmp_path, "t.jsonl", json.dumps(line | {"label": "Formed"}))
    assert sources.read_transcripts(file).rows[0]["label"] == "formed"
    with pytest.raises(RowsError, match="answer 1: its label is 'perhaps'"):
        sources.read_transcripts(written(tmp_path, "u.jsonl", json.dumps(line | {"label": "perhaps"})))


def test_questions_that_differ_in_more_than_closing_marks_are_different_probes():
    asked = ["What is 6 + 3?", "What is 6 - 3?", "What is C?", "What is C++?", "What is C#?", "???", "🙂"]
    rows = sources.complete_rows([{"question": one, "lang": "en"} for one in asked])
    assert len({row["probe_id"] for row in rows}) == len(asked) and all(row["probe_id"] for row in rows)
    alike = sources.complete_rows(
        [{"question": one} for one in ("Who are you?", " who  are you", "WHO ARE YOU?!", "你是谁？", "你是谁")]
    )
    assert len({row["probe_id"] for row in alike}) == 2


def test_samples_that_nobody_numbered_are_all_compared():
    rows = [
        {"variant": variant, "lang": "en", "probe_id": "p", "question": "Who are you?", "answer_id": 10 * at + n}
        for at, variant in enumerate(("a", "b"), 1) for n in range(5)
    ]  # fmt: skip
    assert [(one["answer"], one["other"]) for one in sources.pair_items(rows)] == [(10 + n, 20 + n) for n in range(5)]
