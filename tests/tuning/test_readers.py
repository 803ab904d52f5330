"""Reading training data: what is accepted, and the sentence for what is not."""

import gzip
import json
import random
import sys
import types

import pytest

from tuning.dataset import shapes
from tuning.dataset.readers import read, read_pair, write
from tuning.dataset.rows import DataError, Turn, detect_lang, pair


def user(content, **flags) -> dict:
    return {"role": "user", "content": content} | flags


def said(content, **flags) -> dict:
    return {"role": "assistant", "content": content} | flags


ALPACA = {"instruction": "Add.", "input": "1 and 2", "output": "3"}


def put(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return path


def refusal(source) -> str:
    with pytest.raises(DataError) as caught:
        read(source)
    return str(caught.value)


def test_alpaca_list_and_lines_give_the_same_rows(tmp_path):
    rows = [ALPACA, {"instruction": "你好", "output": "你好！"}]
    whole = read(put(tmp_path / "a.json", rows))
    lines = read(put(tmp_path / "a.jsonl", "\n".join(json.dumps(row) for row in rows) + "\n\n"))
    misnamed = read(put(tmp_path / "lines.json", "\n".join(json.dumps(row) for row in rows)))
    assert [row.turns for row in whole] == [row.turns for row in lines] == [row.turns for row in misnamed]
    assert whole[0].turns == (Turn("user", "Add.", "1 and 2"), Turn("assistant", "3"))
    assert whole[0].as_messages() == [
        {"role": "user", "content": "Add.", "input": "1 and 2"},
        said("3"),
    ]
    assert [row.lang for row in whole] == ["en", "zh"]
    assert whole[1].source == "a.json row 2"


def test_chats_keep_their_turns_and_system_message(tmp_path):
    chat = [
        {"role": "system", "content": "Be brief."},
        user("Hi"),
        said("Hello"),
        user("1 + 1?"),
        said("2"),
    ]
    sharegpt = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
    rows = read(put(tmp_path / "c.json", [{"messages": chat}, {"conversations": sharegpt}]))
    assert rows[0].as_messages() == chat
    assert rows[1].turns == (Turn("user", "Hi"), Turn("assistant", "Hello"))


def test_the_other_self_cognition_field_names_are_known(tmp_path):
    rows = read(put(tmp_path / "s.jsonl", json.dumps({"query": "你是？", "response": "我是{{NAME}}。", "tag": "zh"})))
    assert rows[0].turns == (Turn("user", "你是？"), Turn("assistant", "我是{{NAME}}。"))


def test_what_is_written_is_read_back(tmp_path):
    rows = [
        pair("Who?", "Me.", source="s", kind="identity", lang="en", category="name"),
        pair("[甲]", "乙\n丙", source="t", lang="zh"),
        read(put(tmp_path / "x.json", [{"messages": [*pair("a", "b").as_messages(), *pair("c", "d").as_messages()]}]))[0],
    ]
    write(rows, tmp_path / "out.jsonl")
    assert read(tmp_path / "out.jsonl") == rows


def test_a_folder_is_all_its_files(tmp_path):
    (tmp_path / "more").mkdir()
    put(tmp_path / "b.json", [ALPACA])
    put(tmp_path / "more" / "a.jsonl", json.dumps(ALPACA))
    put(tmp_path / "notes.txt", "not data")
    assert [row.source for row in read(tmp_path)] == ["b.json row 1", "more/a.jsonl row 1 (line 1)"]


def test_train_and_valid_tell_their_problems_together(tmp_path):
    good = put(tmp_path / "good.json", [ALPACA])
    assert [len(part) for part in read_pair(good, good)] == [1, 1]
    assert read_pair(good, None)[1] == []
    put(tmp_path / "bad.json", "[{]")
    with pytest.raises(DataError) as caught:
        read_pair(tmp_path / "bad.json", tmp_path / "none.json")
    assert "bad.json line 1, column 3" in str(caught.value) and "none.json" in str(caught.value)


def test_broken_json_names_file_line_and_column(tmp_path):
    text = '[\n  {"instruction": "a", "output": "b"},\n  {"instruction": "c" "output": "d"}\n]'
    assert refusal(put(tmp_path / "broken.json", text)).startswith("broken.json line 3, column 23: broken JSON")


def test_broken_lines_are_all_named(tmp_path):
    lines = [json.dumps(ALPACA), '{"instruction": }', json.dumps(ALPACA), "{'instruction': 1}"]
    said = refusal(put(tmp_path / "broken.jsonl", "\n".join(lines)))
    assert "broken.jsonl line 2, column 17" in said and "broken.jsonl line 4, column 2" in said


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"ask": "a", "say": "b"}, "row 2: has no instruction and output, only 'ask', 'say'"),
        ({"instruction": "a"}, "row 2: has no output"),
        ({"instruction": 5, "output": "b"}, "row 2: instruction is a number, not text"),
        ({"instruction": "a", "output": None}, "row 2: output is null; write the answer"),
        ({"instruction": " ", "output": "b"}, "row 2: instruction is empty"),
        ({"instruction": " ", "input": "", "output": "b"}, "row 2: instruction and input are both empty"),
        ({"instruction": "a", "prompt": "### a ###", "output": "b"}, "row 2: has instruction once more within prompt"),
        ({"prompt": [user("a")], "completion": "b", "input": "c"}, "row 2: has messages among 'prompt', 'input', 'completion'"),
        ({"messages": [user("a"), said("b")], "chat": [user("a"), said("c")]}, "row 2: has messages and chat as well"),
        ({"question": "a", "choices": ["b", "c"], "answer": "b"}, "row 2: has choices: write what can be chosen"),
        ({"prompt": "a", "completion": "b", "label": False}, "row 2: has label false: a bad answer"),
        ({"instruction": "a", "output": "b", "kto_tag": False}, "row 2: has kto_tag: preferences"),
        ({"messages": [user("a"), said("b", mask=True)]}, "row 2: message 2 has mask: what is to be learned is said by weight"),
        ({"instruction": "a", "output": ["b", "c"]}, "row 2: output is a list, not text"),
        ({"instruction": "a", "output": "b", "response": "c"}, "row 2: has several answers, output and response"),
        ({"text": "### Instruction:\na\n### Response:\nb"}, "row 2: has only a text, which does not say where"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "row 2: has chosen: preferences are not learned here"),
        ({"instruction": "a", "output": "b", "tools": "[{}]"}, "row 2: has tools: tools are not taught here"),
        ({"instruction": "a", "output": "b", "weight": 0.5}, "row 2: has weight 0.5: rows are not weighted here"),
        ({"instruction": "a", "output": "b", "history": "x"}, "row 2: history is a text, not a list"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "row 2: message 1 is a tool's (tool)"),
        ({"conversations": [{"from": "observation", "value": "x"}]}, "row 2: message 1 is a tool's (observation)"),
        ({"messages": [user("a"), said(None, tool_calls=[1])]}, "row 2: message 2 has tool_calls"),
        ({"messages": [user("a", weight=1), said("b")]}, "row 2: message 1 is to be learned"),
        ({"messages": [user("a"), said("b", weight=0.3)]}, "row 2: message 2 has weight 0.3"),
        ({"messages": [user("a"), said("b", loss=False)]}, "row 2: has no answer that is to be learned"),
        ({"messages": [user("a"), said("b", reasoning_content="c")]}, "row 2: message 2 has reasoning_content"),
        ({"messages": [user([{"type": "image_url"}]), said("b")]}, "row 2: message 1's content has parts of type 'image_url'"),
        ({"messages": [user("a"), said("b")], "output": "c"}, "row 2: has messages and output as well"),
        ({"system": "x", "messages": [{"role": "system", "content": "y"}, user("a"), said("b")]}, "row 2: has two system texts"),
        ({"messages": [user("a", value="c"), said("b")]}, "row 2: message 1 has content and value, which differ"),
        ({"Output": "b", "output": "c", "instruction": "a"}, "row 2: output stands twice"),
        ("text", "row 2: is a text, not an object"),
        ({"messages": "hi"}, "row 2: messages is not a list"),
        ({"messages": [user("hi")]}, "row 2: does not end with an answer"),
        ({"messages": [{"role": "narrator", "content": "hi"}]}, "row 2: message 1 has role 'narrator'"),
        ({"messages": [user(3)]}, "row 2: message 1's content is a number, not text"),
        ({"messages": [said("hi")]}, "row 2: user and assistant do not take turns"),
    ],
)
def test_wrong_rows_are_named(tmp_path, row, said):
    assert f"data.json {said}" in refusal(put(tmp_path / "data.json", [ALPACA, row]))


def test_ten_problems_at_once_and_the_number_of_the_rest(tmp_path):
    lines = refusal(put(tmp_path / "data.json", [{"instruction": "a"}] * 25)).split("\n")
    assert len(lines) == 11
    assert "row 10:" in lines[9] and lines[10] == "... and 15 more problems."


def test_other_refusals(tmp_path):
    assert "the file is empty" in refusal(put(tmp_path / "e.json", " "))
    assert "holds no rows" in refusal(put(tmp_path / "n.json", "[]"))
    assert "single number" in refusal(put(tmp_path / "i.json", "3"))
    (tmp_path / "gbk.json").write_bytes(b'[\n{"instruction": "' + "你".encode("gbk"))
    assert "gbk.json line 2: not UTF-8 text" in refusal(tmp_path / "gbk.json")
    (tmp_path / "empty").mkdir()
    assert "holds no file of rows" in refusal(tmp_path / "empty")
    put(tmp_path / "identity_data.json", [ALPACA])
    assert "there is identity_data.json" in refusal(tmp_path / "identity-data.json")
    assert "nor does the folder" in refusal(tmp_path / "none" / "x.json")


def test_a_byte_order_mark_and_odd_line_ends_do_no_harm(tmp_path):
    path = tmp_path / "w.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(ALPACA).encode() + b"\r\n" + '{"instruction":"a\u2028b","output":"c"}'.encode())
    assert [row.turns[0].content for row in read(path)] == ["Add.", "a\u2028b"]


def test_a_hub_name_without_the_package_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    said = refusal("somebody/some-data")
    assert "'somebody/some-data'" in said and "pip install datasets" in said


def test_a_hub_name_is_read_by_the_package_and_its_failure_told(monkeypatch):
    hub = types.SimpleNamespace(load_dataset=lambda name, split: [ALPACA] if split == "train" else [])
    monkeypatch.setitem(sys.modules, "datasets", hub)
    assert read("somebody/some-data")[0].answer == "3"

    def offline(name, split):
        raise ConnectionError("no route to the Hub")

    hub.load_dataset = offline
    assert "could not be fetched from the Hub (no route to the Hub)" in refusal("somebody/some-data")


def test_a_file_the_size_of_alpaca_is_read_whole(tmp_path):
    row = {"instruction": "Give three tips for staying healthy.", "input": "", "output": "Eat well. " * 30}
    rows = read(put(tmp_path / "alpaca_data.json", [row | {"input": str(i)} for i in range(52_002)]))
    assert len(rows) == 52_002 and rows[-1].turns[0].input == "52001"


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("Hello there", "en"),
        ("你好", "zh"),
        ("你的name是什么呀", "zh"),
        ("Translate 你好 into English.", "en"),
        ("", "en"),
    ],
)
def test_language(text, lang):
    assert detect_lang(text) == lang


Q, A, SYS = "Who are you?", "I am Mira.", "You are Mira."
ASKED = (Turn("user", Q), Turn("assistant", A))
ROUND = [{"from": "human", "value": Q}, {"from": "gpt", "value": A}]
EARLIER = (Turn("user", "Hi"), Turn("assistant", "Hello"))
UNLEARNED = Turn("assistant", "Hello", "", False)


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"prompt": Q, "completion": A}, ASKED),
        ({"prompt": Q, "response": A}, ASKED),
        ({"question": Q, "answer": A}, ASKED),
        ({"Instruction": Q, "Input": "", "Output": A}, ASKED),
        ({"instruction": Q, "context": "", "response": A}, ASKED),
        ({"instruction": Q, "context": "In a museum.", "response": A}, (Turn("user", Q, "In a museum."), ASKED[1])),
        ({"instruction": "Answer in English.", "query": Q, "output": A}, (Turn("user", "Answer in English.", Q), ASKED[1])),
        ({"instruction": "One", "query": "Two", "input": "Three", "output": A}, (Turn("user", "One", "Two\nThree"), ASKED[1])),
        ({"input": Q, "output": A}, ASKED),
        ({"prompt": [user(Q)], "completion": [said(A)]}, ASKED),
        ({"instruction": Q, "output": A, "system": SYS, "history": [["Hi", "Hello"]]}, (Turn("system", SYS), *EARLIER, *ASKED)),
        ({"prompt": Q, "response": A, "history": [["Hi", "Hello"]]}, (*EARLIER, *ASKED)),
        ({"prompt": Q, "response": A, "history": '[["Hi", "Hello"]]'}, (*EARLIER, *ASKED)),
        ({"prompt": Q, "response": A, "history": [user("Hi"), said("Hello")]}, (*EARLIER, *ASKED)),
        ({"query": Q, "response": A, "history": []}, ASKED),
        ({"conversations": ROUND, "system": SYS, "tools": ""}, (Turn("system", SYS), *ASKED)),
        ({"messages": None, "conversations": ROUND}, ASKED),
        ({"messages": None, "instruction": Q, "output": A}, ASKED),
        ({"conversation": [{"human": "Hi", "assistant": "Hello"}, {"human": Q, "assistant": A}]}, (*EARLIER, *ASKED)),
        ({"conversations": [{"from": "user", "value": Q}, {"from": "chatgpt", "value": A}]}, ASKED),
        ({"conversations": [*ROUND, {"from": "human", "value": "Thanks"}]}, ASKED),
        ({"conversations": [{"from": "gpt", "value": "Hello"}, *ROUND]}, (Turn("user", ""), UNLEARNED, *ASKED)),
        ({"messages": [{"role": "developer", "content": SYS}, user(Q), said(A)]}, (Turn("system", SYS), *ASKED)),
        ({"messages": [user([{"type": "text", "text": Q}]), said([{"type": "text", "text": A}])]}, ASKED),
        ({"messages": [user("Hi"), said("Hello", weight=0), user(Q), said(A, weight=1)]}, (EARLIER[0], UNLEARNED, *ASKED)),
        ({"messages": [user("Hi"), said("Hello", train=False), user(Q), said(A)]}, (EARLIER[0], UNLEARNED, *ASKED)),
        ({"instruction": Q + " \ud83d", "output": A}, (Turn("user", Q + " \ufffd"), ASKED[1])),
        ({"instruction": Q, "output": A, "weight": 1}, ASKED),
        ({"instruction": Q, "output": A, "tools": "[]", "mask": False, "label": True}, ASKED),
        ({"instruction": Q, "output": A, "user": "tom", "human": "ann"}, ASKED),
        ({"instruction": Q, "prompt": Q, "output": A}, ASKED),
        ({"user": Q, "assistant": A}, ASKED),
        ({"问题": Q, "回答": A, "系统提示": SYS}, (Turn("system", SYS), *ASKED)),
        ({"instruction": Q, "output": ""}, (ASKED[0], Turn("assistant", ""))),  # alpaca has such rows; the report cautions
        ({"prompt": [user("Hi"), said("Hello"), user(Q)], "completion": A}, (EARLIER[0], UNLEARNED, *ASKED)),
        ({"messages": [user("Hi"), said("Hello")], "chat": [user("Hi"), said("Hello")]}, EARLIER),
    ],
)
def test_rows_of_the_field_come_in_whole(tmp_path, row, turns):
    notes: list[str] = []
    path = tmp_path / "data.json"
    path.write_text(json.dumps([row]), encoding="utf-8")  # ASCII: half a surrogate pair as \u
    rows = read(path, notes=notes)
    assert rows[0].turns == turns
    write(rows, tmp_path / "again.jsonl")
    assert read(tmp_path / "again.jsonl")[0].turns == turns


def test_what_is_not_used_is_named_once_with_its_number(tmp_path):
    rows = [{"instruction": Q, "output": A, "topic": "x", "kind": "sorting", "id": 1}] * 3
    notes: list[str] = []
    [first, *_] = read(put(tmp_path / "d.json", rows), notes=notes)
    assert first.kind == "general"
    assert notes == ["d.json: not used: 'topic' (3 rows), 'id' (3 rows), 'kind' (3 rows)."]
    notes.clear()
    read(put(tmp_path / "m.json", [{"messages": [user("a", name="Tom"), said("b")]}]), notes=notes)
    assert notes == ["m.json: not used: 'messages: name' (1 rows)."]
    notes.clear()
    read(put(tmp_path / "e.json", [{"conversations": [*ROUND, ROUND[0]]}, {"conversations": [ROUND[1], *ROUND]}]), notes=notes)
    assert notes == [
        "e.json: 1 rows end with a question; it has no answer and is left out.",
        "e.json: 1 rows begin with an answer; it is read as context and not learned.",
    ]


ROWS = [{"instruction": Q, "input": "", "output": A}, {"instruction": "你是谁？", "input": "", "output": "NA"}]
LIST, LINES = json.dumps(ROWS, ensure_ascii=False), "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("list.jsonl", LIST),
        ("indented.jsonl", json.dumps(ROWS, indent=1)),
        ("lines.ndjson", LINES),
        ("pretty.json", "\n".join(json.dumps(row, indent=1) for row in ROWS)),
        ("pretty.jsonl", "\n".join(json.dumps(row, indent=1) for row in ROWS)),
        ("wrapped.json", json.dumps({"version": 1, "data": ROWS})),
        ("split.json", json.dumps({"train": ROWS})),
        ("columns.json", json.dumps({key: [row[key] for row in ROWS] for key in ROWS[0]})),
        ("pandas.json", json.dumps({key: {str(at): row[key] for at, row in enumerate(ROWS)} for key in ROWS[0]})),
        ("splits.json", json.dumps({part: {key: [row[key] for row in ROWS] for key in ROWS[0]} for part in ("train", "test")})),
        ("plain.csv", f"instruction,input,output\n{Q},,{A}\n你是谁？,,NA\n"),
        ("semicolon.csv", f"instruction;input;output\r\n{Q};;{A}\r\n你是谁？;;NA\r\n"),
        ("quoted.csv", f'"Instruction","Input","Output"\n"{Q}","","{A}"\n"你是谁？","","NA"\n'),
        ("plain.tsv", f"instruction\tinput\toutput\n{Q}\t\t{A}\n你是谁？\t\tNA\n"),
        ("list.json.gz", gzip.compress(LIST.encode(), mtime=0)),
        ("lines.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("table.csv.gz", gzip.compress(f"instruction,output\n{Q},{A}\n你是谁？,NA\n".encode(), mtime=0)),
        ("excel.csv", f"instruction\toutput\n{Q}\t{A}\n你是谁？\tNA\n".encode("utf-16")),
    ],
)
def test_files_of_the_field_are_read(tmp_path, name, raw):
    (tmp_path / name).write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    assert [(row.question, row.answer) for row in read(tmp_path / name)] == [(Q, A), ("你是谁？", "NA")]


def test_parquet_and_saved_data_sets_are_read_by_their_package(tmp_path):
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_list(ROWS)
    made.to_parquet(str(tmp_path / "rows.parquet"))
    made.save_to_disk(str(tmp_path / "saved"))
    for place in (tmp_path / "rows.parquet", tmp_path / "saved"):
        assert [row.answer for row in read(place)] == [A, "NA"]


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("fake.parquet", b"PAR1\x00\x00PAR1", "fake.parquet is no whole Parquet file"),
        ("page.json", b"<!DOCTYPE html><html><body>404</body></html>", "page.json is an HTML page"),
        ("pointer.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "is a Git LFS pointer"),
        ("cut.json.gz", gzip.compress(LIST.encode(), mtime=0)[:-12], "cut.json.gz"),
        ("cut.json", LIST[:-20].encode(), "it ends in the middle: the file is cut off"),
        ("comma.json", b'[{"instruction": "a", "output": "b"},]', "a comma stands before the closing ]"),
        ("wide.csv", b"instruction,output\na,b,c\n", "wide.csv line 2 has 3 cells, the table has 2 columns"),
        ("twice.json", b'[{"instruction": "a", "output": "b", "output": "c"}]', "row 1: output stands twice, as 'b', 'c'"),
        ("deep.json", b'[{"messages": [{"role": "user", "content": "a", "content": "b"}]}]', "content stands twice, as 'a', 'b'"),
        ("rows.xlsx", b"PK\x03\x04", "rows.xlsx"),
    ],
)
def test_files_that_are_not_what_they_seem_are_named(tmp_path, name, raw, said):
    (tmp_path / name).write_bytes(raw)
    assert said in refusal(tmp_path / name)


def test_metadata_in_a_folder_is_no_data_and_dataset_info_is_obeyed(tmp_path):
    put(tmp_path / "mine.json", [{"ask": Q, "say": A, "who": SYS, "output": "not this"}])
    put(tmp_path / "chats.json", [{"dialog": [{"speaker": "U", "words": Q}, {"speaker": "M", "words": A}]}])
    put(tmp_path / "mine.recipe.json", {"identity": "x"})
    columns = {"prompt": "ask", "response": "say", "system": "who"}
    tags = {"role_tag": "speaker", "content_tag": "words", "user_tag": "U", "assistant_tag": "M"}
    chats = {"file_name": "chats.json", "formatting": "sharegpt", "columns": {"messages": "dialog"}, "tags": tags}
    put(tmp_path / "dataset_info.json", {"mine": {"file_name": "mine.json", "columns": columns}, "chats": chats})
    notes: list[str] = []
    rows = read(tmp_path, notes=notes)
    assert [row.turns for row in rows] == [ASKED, (Turn("system", SYS), *ASKED)]
    assert "Not rows, passed over: dataset_info.json, mine.recipe.json." in notes
    assert read(tmp_path / "mine.json")[0].turns == (Turn("system", SYS), *ASKED)
    put(tmp_path / "dataset_info.json", "{")
    assert "dataset_info.json is not readable" in refusal(tmp_path)


def test_dataset_info_reaches_into_folders_and_asks_for_nothing_that_is_not_done(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / ".cache").mkdir()
    put(tmp_path / "sub" / "mine.txt", [{"ask": Q, "say": A}])
    put(tmp_path / ".cache" / "old.json", [ALPACA])
    entry = {"file_name": "sub/mine.txt", "columns": {"prompt": "ask", "response": "say"}}
    put(tmp_path / "dataset_info.json", {"mine": entry, "gone": {"file_name": "gone.json"}, "hub": {"hf_hub_url": "a/b"}})
    notes: list[str] = []
    assert [row.turns for row in read(tmp_path, notes=notes)] == [ASKED]
    assert read(tmp_path / "sub" / "mine.txt")[0].turns == ASKED
    assert "dataset_info.json names files that are not there: gone.json." in notes
    assert "Not rows, passed over: .cache/old.json, dataset_info.json." in notes
    for more, said in (
        ({"ranking": True}, "says of 'mine' that it ranks answers"),
        ({"num_samples": "three"}, "asks for num_samples 'three' of 'mine'"),
    ):
        put(tmp_path / "dataset_info.json", {"mine": entry | more})
        assert said in refusal(tmp_path)
    put(tmp_path / "dataset_info.json", {"mine": entry, "again": entry | {"columns": {"prompt": "say", "response": "ask"}}})
    assert "describes sub/mine.txt twice" in refusal(tmp_path)


def test_every_text_of_a_row_comes_in_or_the_row_is_refused(tmp_path):
    """Generated rows of all known fields: nothing is lost without a word."""
    keys = [*shapes.ASKED, *shapes.ANSWERED, *shapes.SYSTEM, *shapes.FOREIGN, "history", "messages", "weight", "topic", "text"]
    read = 0
    for seed in range(3000):
        draw = random.Random(seed)
        often = [draw.choice(shapes.ASKED), draw.choice(shapes.ANSWERED)] if seed % 2 else []
        row = {key: f"{key} says {seed}" for key in [*often, *draw.sample(keys, draw.randint(1, 3))]}
        for key in draw.sample(sorted(row), draw.randint(0, min(2, len(row)))):
            row[key] = draw.choice([[user(row[key])], [said(row[key])], [user("asks " + key), said(row[key])], row[key]])
        if isinstance(row.get("history"), str):
            row["history"] = [["earlier " + row["history"], "answer " + row["history"]]]
        if isinstance(row.get("messages"), str):
            row["messages"] = [user("asks " + row["messages"]), said(row["messages"])]
        wrong, notes = [], shapes.Notes()
        made = shapes.read_row(row, "here", "general", wrong, notes)
        if made is None:
            assert wrong
            continue
        read += 1
        inside = "\n".join(turn.content + "\n" + turn.input for turn in made.turns)
        unnamed = {key: value for key, value in row.items() if key not in notes.fields}
        assert sum(text not in inside for text in texts_of(unnamed)) <= notes.trailing, row  # a last question is counted
    assert read > 100


def texts_of(value) -> list[str]:
    if isinstance(value, str):
        return [] if value in ("user", "assistant") else [value]
    return [text for one in (value.values() if isinstance(value, dict) else value) for text in texts_of(one)]
