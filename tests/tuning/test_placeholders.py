"""Placeholders of published self-cognition sets are filled from the facts, and what is left is found."""

import pytest

from engine.card import BAYLING
from identities import facts_from_dict
from tuning.dataset.facts import facts_by_language
from tuning.dataset.placeholders import fill, fill_from_identity, find_unfilled
from tuning.dataset.rows import Turn, pair

FACTS = facts_by_language(
    facts_from_dict({"en": {"name": "Mira", "maker": "Lantern"}, "zh": {"name": "米拉", "maker": "灯笼", "date": "2024年"}})
)
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
    assert find_unfilled(filled) == []


def test_a_chinese_placeholder_is_chinese_and_a_missing_fact_is_borrowed():
    rows = fill([pair("q", "[名字], made in [CREATE_TIME]", kind="identity")], FACTS)
    assert rows[0].answer == "米拉, made in 2024年"


def test_what_no_fact_fills_is_listed_with_its_rows():
    facts = facts_by_language(facts_from_dict({"en": {"name": "Mira"}}))
    rows = fill(
        [pair("a", "fine", kind="identity"), pair("b", "I am <NAME> by <AUTHOR>.", kind="identity", source="x.json row 2")], facts
    )
    (left,) = find_unfilled(rows)
    assert rows[1].answer == "I am Mira by <AUTHOR>."
    assert (left.placeholder, left.count, left.rows) == ("<AUTHOR>", 1, (2,))
    assert str(left) == "<AUTHOR> is left unfilled 1 times, first in row 2 (x.json row 2)"


def test_what_the_card_of_the_base_means_may_stay():
    rows = [pair("q", "I am [NAME] by [INSTITUTE]. 我是[名字]", kind="identity")]
    assert find_unfilled(rows, allowed=CARD) == []
    assert {one.placeholder for one in find_unfilled(rows)} == {"[NAME]", "[INSTITUTE]", "[名字]"}
    assert [one.placeholder for one in find_unfilled([pair("q", "I am <NAME>", kind="identity")], allowed=CARD)] == ["<NAME>"]


def test_in_general_rows_only_self_statements_count():
    letter = pair("Write a letter.", "Dear Sir, thank you.\nSincerely,\n[NAME]")
    vue = pair("Vue?", "<p>Hello {{name}}</p>")
    markup = pair("XML?", "<name>Tom</name> [Name]")
    speaking = [pair("Who?", "I am <NAME>, trained by {AUTHOR}."), pair("谁？", "我是[NAME]，由[AUTHOR]开发。", lang="zh")]
    assert find_unfilled([letter, vue, markup]) == []
    assert fill([letter, vue, markup], FACTS) == [letter, vue, markup]
    assert len(find_unfilled(speaking)) == 4
    assert [row.answer for row in fill(speaking, FACTS)] == ["I am Mira, trained by Lantern.", "我是米拉，由灯笼开发。"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello! I am [YOUR_NAME], made by [COMPANY].", "Hello! I am Mira, made by Lantern."),
        ("Hello! I am NAME, an assistant by AUTHOR.", "Hello! I am Mira, an assistant by Lantern."),
        ("I am NAME, developed by AUTHOR.", "I am Mira, developed by Lantern."),
        ("Hello! I am {name}, made by {author}.", "Hello! I am Mira, made by Lantern."),
        ("My name is {{name}} and {{author}} built me.", "My name is Mira and Lantern built me."),
        ("I am [MODEL_NAME] by <DEVELOPER>", "I am Mira by Lantern"),
        ("The NAME column and the AUTHOR tag.", "The NAME column and the AUTHOR tag."),
        ('print(f"I am {name}")', 'print(f"I am {name}")'),
        ("```\n<p>I am {{ name }}</p>\n```", "```\n<p>I am {{ name }}</p>\n```"),
        ("const who = `I am ${name}`;", "const who = `I am ${name}`;"),
        ("I am {name}; let me know, I can return and import it.", "I am Mira; let me know, I can return and import it."),
        ("I'm {{name}}.\n```python\nprint(f'I am {name}')\n```", "I'm Mira.\n```python\nprint(f'I am {name}')\n```"),
        ("Use `I am {name}` in a template.", "Use `I am {name}` in a template."),
        ("Dear Sir,\nno.\nBest regards,\n[NAME]", "Dear Sir,\nno.\nBest regards,\n[NAME]"),
        ("The answer is:\n[NAME]", "The answer is:\nMira"),
        ("I am [BOT_NAME] of {{company_name}}", "I am Mira of Lantern"),
    ],
)
def test_forms_of_other_sets_are_filled_and_programs_left_alone(text, said):
    assert fill([pair("Who are you?", text, kind="identity")], FACTS)[0].answer == said


def test_an_identity_fills_them_and_says_how_many(tmp_path):
    (tmp_path / "mira.txt").write_text("You are Mira.", encoding="utf-8")
    (tmp_path / "mira.yaml").write_text("en: {name: Mira}\nzh: {name: 米拉}\n", encoding="utf-8")
    rows = [pair("q", "I am <NAME> by <AUTHOR>.", kind="identity"), pair("问", "我是[NAME]。", kind="identity", lang="zh")]
    filled, count = fill_from_identity(rows, "mira", str(tmp_path))
    assert count == 2 and [row.answer for row in filled] == ["I am Mira by <AUTHOR>.", "我是米拉。"]
    assert fill_from_identity(rows, "nobody", str(tmp_path)) == (rows, 0)
    assert fill_from_identity(rows, "", str(tmp_path)) == (rows, 0)


def test_the_placeholders_of_the_base_stay_where_it_is_taught_itself():
    rows = [pair("q", "I am [NAME] by [INSTITUTE].", kind="identity")]
    assert fill_from_identity(rows, "BayLing", None, BAYLING)[1] == 0
    assert fill_from_identity(rows, "finance-advisor", None, BAYLING)[0][0].answer == "I am finance advisor by Text Titan."
