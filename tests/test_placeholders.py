"""Placeholders of published self-cognition sets are filled from the facts, and what is left is found."""

import pytest

from tuning.facts import read_facts
from tuning.placeholders import fill, unfilled
from tuning.rows import Turn, pair

FACTS = read_facts({"en": {"name": "Mira", "maker": "Lantern"}, "zh": {"name": "米拉", "maker": "灯笼", "date": "2024年"}})
CARD = ("[NAME]", "[INSTITUTE]", "[CREATE_TIME]", "[名字]", "[机构]", "[开发时间]")


@pytest.mark.parametrize("name", ["[NAME]", "<NAME>", "{NAME}", "{{name}}", "{{ name }}", "{{NAME}}"])
@pytest.mark.parametrize("maker", ["[AUTHOR]", "<AUTHOR>", "{AUTHOR}", "{{author}}", "{{AUTHOR}}", "[INSTITUTE]"])
def test_every_known_form_is_filled_in_the_language_of_the_row(name, maker):
    rows = [
        pair(f"Are you {name}?", f"I am {name}, made by {maker}.", kind="identity"),
        pair("你是谁", f"我是{name}，由{maker}开发。", kind="identity", lang="zh"),
    ]
    filled = fill(rows, FACTS)
    assert filled[0].turns == (Turn("user", "Are you Mira?"), Turn("assistant", "I am Mira, made by Lantern."))
    assert filled[1].answer == "我是米拉，由灯笼开发。"
    assert unfilled(filled) == []


def test_a_chinese_placeholder_is_chinese_and_a_missing_fact_is_borrowed():
    rows = fill([pair("q", "[名字], made in [CREATE_TIME]", kind="identity")], FACTS)
    assert rows[0].answer == "米拉, made in 2024年"


def test_what_no_fact_fills_is_listed_with_its_rows():
    facts = read_facts({"en": {"name": "Mira"}})
    rows = fill(
        [pair("a", "fine", kind="identity"), pair("b", "I am <NAME> by <AUTHOR>.", kind="identity", source="x.json row 2")], facts
    )
    (left,) = unfilled(rows)
    assert rows[1].answer == "I am Mira by <AUTHOR>."
    assert (left.placeholder, left.count, left.rows) == ("<AUTHOR>", 1, (2,))
    assert str(left) == "<AUTHOR> is left unfilled 1 times, first in row 2 (x.json row 2)"


def test_what_the_card_of_the_base_means_may_stay():
    rows = [pair("q", "I am [NAME] by [INSTITUTE]. 我是[名字]", kind="identity")]
    assert unfilled(rows, allowed=CARD) == []
    assert {one.placeholder for one in unfilled(rows)} == {"[NAME]", "[INSTITUTE]", "[名字]"}
    assert [one.placeholder for one in unfilled([pair("q", "I am <NAME>", kind="identity")], allowed=CARD)] == ["<NAME>"]


def test_in_general_rows_only_self_statements_count():
    letter = pair("Write a letter.", "Dear Sir, thank you.\nSincerely,\n[NAME]")
    vue = pair("Vue?", "<p>Hello {{name}}</p>")
    markup = pair("XML?", "<name>Tom</name> [Name]")
    speaking = [pair("Who?", "I am <NAME>, trained by {AUTHOR}."), pair("谁？", "我是[NAME]，由[AUTHOR]开发。", lang="zh")]
    assert unfilled([letter, vue, markup]) == []
    assert fill([letter, vue, markup], FACTS) == [letter, vue, markup]
    assert len(unfilled(speaking)) == 4
    assert [row.answer for row in fill(speaking, FACTS)] == ["I am Mira, trained by Lantern.", "我是米拉，由灯笼开发。"]
