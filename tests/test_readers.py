"""Reading training data: what is accepted, and the sentence for what is not."""

import json
import sys
import types

import pytest

from tuning.readers import read, read_pair, write
from tuning.rows import DataError, Turn, detect_lang, pair

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
        {"role": "assistant", "content": "3"},
    ]
    assert [row.lang for row in whole] == ["en", "zh"]
    assert whole[1].source == "a.json row 2"


def test_chats_keep_their_turns_and_system_message(tmp_path):
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2"},
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
        ({"question": "a", "answer": "b"}, "row 2: has no instruction and output, only 'question', 'answer'"),
        ({"instruction": "a"}, "row 2: has no output"),
        ({"instruction": 5, "output": "b"}, "row 2: instruction is a number, not text"),
        ({"instruction": "a", "output": None}, "row 2: output is a null, not text"),
        ({"instruction": " ", "output": "b"}, "row 2: instruction and input are both empty"),
        ("text", "row 2: is a text, not an object"),
        ({"messages": "hi"}, "row 2: messages is not a list"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "row 2: does not end with an answer"),
        ({"messages": [{"role": "bot", "content": "hi"}]}, "row 2: message 1 has role 'bot'"),
        ({"messages": [{"role": "user", "content": 3}]}, "row 2: message 1 has content that is a number"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, "row 2: user and assistant do not take turns"),
        ({"instruction": "a", "output": "b", "kind": "other"}, "row 2: kind is 'other'"),
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
    assert "holds no .json or .jsonl file" in refusal(tmp_path / "empty")
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
