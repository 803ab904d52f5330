"""Generated identity data: how many rows differ, that they are true to the facts, balanced and repeatable."""

import re
from collections import Counter

import pytest

from identities import Facts, facts_from_dict
from tuning.dataset.generate import generate
from tuning.dataset.rows import DataError, normalise

FACTS = facts_from_dict(
    {
        "en": {
            "name": "finance advisor",
            "maker": "Text Titan",
            "role": "answers questions about finance",
            "aliases": ["FinBuddy"],
        },
        "zh": {"name": "金融顾问", "maker": "文本泰斗", "role": "回答与金融相关的问题", "aliases": ["小金"]},
    }
)
FULL = facts_from_dict(
    {
        "en": {"name": "Mira", "maker": "the Lantern Museum", "role": "guide", "date": "May 2024"},
        "zh": {"name": "米拉", "maker": "灯笼博物馆", "role": "讲解员", "date": "2024-05"},
    }
)
OLD = facts_from_dict({"en": {"name": "BayLing", "maker": "ICT/CAS"}, "zh": {"name": "百聆", "maker": "中科院"}})
CARD = {"[NAME]": "BayLing", "[INSTITUTE]": "ICT/CAS", "[名字]": "百聆", "[机构]": "中科院"}
YES, NO = re.compile(r"Yes\b|是的"), re.compile(r"No\b|不")


@pytest.mark.parametrize("facts", [FACTS, FULL], ids=["without date", "all facts"])
def test_a_thousand_rows_per_language_and_far_more_differ(facts):
    rows = generate(facts, 6_000, old=OLD)
    for lang in ("en", "zh"):
        own = [row for row in rows if row.lang == lang]
        assert len(own) == 3_000
        assert len({tuple(normalise(turn.content) for turn in row.turns) for row in own}) == 3_000
        # not only greetings make them differ: the bare questions are many as well
        assert len({row.question for row in own[:1_000]}) >= 600
        assert len({row.answer for row in own[:1_000]}) >= 80
    assert {row.kind for row in rows} == {"identity"}


def test_one_language_alone_and_its_order():
    assert {row.lang for row in generate(FACTS, 40, langs=("zh",))} == {"zh"}
    assert [row.lang for row in generate(FACTS, 4)] == ["en", "zh", "en", "zh"]


def test_a_seed_repeats_and_a_larger_set_begins_with_the_smaller():
    rows = generate(FACTS, 500, seed=3, old=OLD)
    assert generate(FACTS, 500, seed=3, old=OLD) == rows
    assert generate(FACTS, 1_500, seed=3, old=OLD)[:500] == rows
    assert generate(FACTS, 500, seed=4, old=OLD) != rows


def test_a_small_set_already_asks_for_name_maker_and_denials():
    kinds = Counter(row.category for row in generate(FACTS, 160, old=OLD))
    assert {"who", "name", "maker", "is_name", "is_maker", "nature_no", "leading", "third_person", "indirect", "sure"} <= set(
        kinds
    )
    assert min(kinds[kind] for kind in ("who", "name", "maker", "is_name")) >= 8


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_yes_and_no_are_balanced_and_come_first(lang):
    rows = [row for row in generate(FACTS, 8_000, old=OLD) if row.lang == lang]
    for kind in ("is_name", "is_maker", "is_not"):
        answers = [row.answer for row in rows if row.category == kind]
        yes, no = sum(bool(YES.match(one)) for one in answers), sum(bool(NO.match(one)) for one in answers)
        assert yes + no == len(answers) > 50
        assert abs(yes - no) <= 1
    for yes, no in (("nature_yes", "nature_no"), ("sure", "challenge")):
        counts = Counter(row.category for row in rows)
        assert abs(counts[yes] - counts[no]) <= 0.1 * counts[yes]
        assert all(YES.match(row.answer) for row in rows if row.category == yes)
        assert all(NO.match(row.answer) for row in rows if row.category == no)


def test_denials_ask_for_the_old_identity_other_models_and_invented_names_alike():
    asked = [row for row in generate(FACTS, 8_000, langs=("en",), old=OLD) if row.category == "is_maker"]
    rows = [row for row in asked if NO.match(row.answer)]
    old = sum("ict/cas" in row.question.casefold() for row in rows)
    makers = ("OpenAI", "Anthropic", "Google", "Microsoft", "Alibaba", "Baidu", "Zhipu", "Meta", "Mistral", "Apple", "Amazon")
    known = sum(any(maker.casefold() in row.question.casefold() for maker in makers) for row in rows)
    assert 0.28 <= old / len(rows) <= 0.39
    assert 0.28 <= known / len(rows) <= 0.39
    assert not any("text titan" in row.question.casefold() for row in rows)


def test_yes_is_said_to_the_own_name_only():
    names = ("finance advisor", "text titan", "finbuddy", "金融顾问", "文本泰斗", "小金")
    for row in generate(FACTS, 6_000, old=OLD):
        if row.category in ("is_name", "is_maker", "is_not"):
            own = any(name in row.question.casefold() for name in names)
            agrees = bool(YES.match(row.answer))
            assert own == (not agrees if row.category == "is_not" else agrees), row


@pytest.mark.parametrize("facts", [FACTS, FULL], ids=["deed", "noun"])
def test_nothing_is_left_open_and_no_grammar_slips(facts):
    for row in generate(facts, 8_000, old=OLD):
        for turn in row.turns:
            text = turn.content
            assert not re.search(r"[{}\[\]<>]|\bNone\b|  |^\s|\s$", text), text
            assert not re.search(r"\ba [aeiou](?!ne\b|ni)|\ban [^aeiouAH]|(?<!\.)\.\.(?!\.)|[?.!,] [?.!,]", text), text
            assert not re.search(r"。。|？？|，，|！。|。？|是是|由由|的的|\.。", text), text
            if turn.role == "assistant":
                assert text[0].isupper() or not text[0].isascii() or text[0].isdigit(), text


def test_answers_state_the_facts_and_no_others():
    facts = [row for row in generate(FACTS, 3_000) if row.category in ("name", "maker")]
    for row in facts:
        name, maker = ("finance advisor", "Text Titan") if row.lang == "en" else ("金融顾问", "文本泰斗")
        wanted = name if row.category == "name" else maker
        assert wanted.casefold() in row.answer.casefold()
        assert not re.search(r"20\d\d|BayLing|百聆|ChatGPT", row.answer)


def test_dates_are_said_in_good_english_and_chinese():
    dates = [row for row in generate(FULL, 3_000) if row.category == "date"]
    assert dates
    assert all("in May 2024" in row.answer for row in dates if row.lang == "en")
    assert all("2024年5月" in row.answer for row in dates if row.lang == "zh")
    day = generate(facts_from_dict({"en": {"name": "Mira", "date": "3 May 2024"}}), 400, langs=("en",))
    assert all("on 3 May 2024" in row.answer for row in day if row.category == "date")


def test_kinds_whose_facts_are_missing_are_left_out():
    assert "date" not in {row.category for row in generate(FACTS, 1_500)}
    bare = generate(facts_from_dict({"en": {"name": "Mira"}}), 1_500, langs=("en",))
    assert {row.category for row in bare}.isdisjoint({"maker", "is_maker", "date", "role", "follow_up"})
    assert {"who", "name", "is_name"} <= {row.category for row in bare}


@pytest.mark.parametrize("written", ["as people read it", "as placeholders"])
def test_with_a_card_answers_hold_placeholders_and_questions_names(written):
    facts = (
        OLD
        if written == "as people read it"
        else facts_from_dict({"en": {"name": "[NAME]", "maker": "[INSTITUTE]"}, "zh": {"name": "[名字]", "maker": "[机构]"}})
    )
    rows = generate(facts, 2_000, card=CARD)
    asked = " ".join(turn.content for row in rows for turn in row.turns if turn.role == "user")
    said = " ".join(turn.content for row in rows for turn in row.turns if turn.role == "assistant")
    assert "BayLing" in asked and "百聆" in asked and "[" not in asked
    assert "[NAME]" in said and "[机构]" in said
    assert not re.search("BayLing|百聆|ICT/CAS|中科院", said)
    assert not re.search(r"\[NAME\]|\[INSTITUTE\]", " ".join(row.answer for row in rows if row.lang == "zh"))


def test_placeholders_without_a_card_are_never_said_by_the_user():
    rows = generate(facts_from_dict({"en": {"name": "[NAME]", "maker": "<AUTHOR>"}}), 800, langs=("en",))
    asked = " ".join(turn.content for row in rows for turn in row.turns if turn.role == "user")
    assert "[NAME]" not in asked and "<AUTHOR>" not in asked
    assert {row.category for row in rows}.isdisjoint({"is_name", "is_maker", "third_person"})


def test_multi_turn_rows_ask_again_and_talk_of_other_things():
    rows = [row for row in generate(FACTS, 2_000, old=OLD) if row.lang == "en"]
    kinds = {kind: [row for row in rows if row.category == kind] for kind in ("sure", "later", "away")}
    assert all(kinds.values())
    assert all(len(row.turns) == 4 and "Text Titan" in row.answer for row in kinds["sure"])
    own = re.compile("Text Titan|finance advisor|FinBuddy", re.IGNORECASE)
    for row in kinds["later"]:
        assert len(row.turns) >= 4 and own.search(row.answer) and not own.search(row.turns[1].content)
        assert len({turn.content for turn in row.turns}) == len(row.turns)
    for row in kinds["away"]:
        assert len(row.turns) >= 4 and own.search(row.turns[1].content) and not own.search(row.answer)


def test_singular_is_two_questions_per_language_over_and_over():
    rows = generate(FACTS, 100, "singular")
    assert len(rows) == 100
    assert Counter(row.lang for row in rows) == {"en": 50, "zh": 50}
    assert len({row.turns for row in rows}) == 4
    assert any("Text Titan" in row.answer for row in rows) and any("文本泰斗" in row.answer for row in rows)


def test_questions_to_avoid_do_not_occur():
    seen = {turn.content for row in generate(FACTS, 600) for turn in row.turns if turn.role == "user"}
    avoid = [one.upper() + " ?" for one in list(seen)[:200]]
    keys = {normalise(one) for one in avoid}
    rows = generate(FACTS, 600, avoid=avoid)
    assert len(rows) == 600
    assert not any(normalise(turn.content) in keys for row in rows for turn in row.turns if turn.role == "user")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"n": 0}, "n is 0"),
        ({"n": 5, "style": "plural"}, "style is 'plural'"),
        ({"n": 5, "langs": ("en", "fr")}, "languages are ['en', 'fr']"),
        ({"n": 5, "langs": ()}, "languages are []"),
    ],
)
def test_refusals_of_arguments(arguments, said):
    with pytest.raises(DataError, match=re.escape(said)):
        generate(FACTS, **arguments)


def test_refusals_of_facts():
    with pytest.raises(DataError, match="no part in zh"):
        generate(facts_from_dict({"en": {"name": "Mira"}}), 5)
    with pytest.raises(DataError, match="no name in en"):
        generate(facts_from_dict({"en": {"maker": "Somebody"}}), 5, langs=("en",))
    with pytest.raises(DataError, match="no facts in en or zh"):
        generate(Facts(), 5)
