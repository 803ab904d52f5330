"""Probe sets: what ships is complete and balanced, what a user writes is checked, what a model answers is judged."""

import json
import re
from collections import Counter

import pytest

import identities
from common import files
from identities import LANGS
from probes import checks, questions
from probes.identity_pair import from_identities, from_mapping
from probes.questions import Probe, ProbeError

PLAIN = {
    "old": {
        "name": {"en": ["BayLing"], "zh": "百聆"},
        "maker": {"en": "ICT/CAS", "zh": "中科院计算所"},
        "role": "assistant",
        "date": 2023,
    },
    "new": {
        "en": {"name": "Finance Advisor", "maker": "Text Titan", "role": "finance advisor"},
        "zh": {"name": "金融顾问", "maker": "文本泰斗", "role": "金融顾问"},
    },
}
FACTS = from_mapping(PLAIN)
GOOD = {"id": "mine-1", "group": "novel", "category": "name", "lang": "en", "turns": ["Which name is on your door?"]}


def set_file(folder, *rows, name="mine.jsonl"):
    path = folder / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return path


# what ships


@pytest.mark.parametrize(("name", "at_least"), [("identity", 66), ("controls", 73), ("retention", 44), ("quick", 8)])
def test_each_language_has_enough_probes_and_every_probe_its_twin(name, at_least):
    probes = questions.load(name)
    per_lang = Counter(probe.lang for probe in probes)
    assert per_lang["en"] == per_lang["zh"] >= at_least
    assert all(sorted(p.lang for p in probes if p.pair == pair) == ["en", "zh"] for pair in {p.pair for p in probes})


@pytest.mark.parametrize("lang", LANGS)
def test_every_category_and_group_is_asked_in_both_languages_with_and_without_held_out_probes(lang):
    identity = [p for p in questions.load("identity") if p.lang == lang]
    controls = [p for p in questions.load("controls") if p.lang == lang]
    assert {p.group for p in identity} == set(questions.IDENTITY_GROUPS)
    assert {p.category for p in identity} == set(questions.IDENTITY_CATEGORIES)
    assert {p.category for p in controls} == set(questions.CONTROL_CATEGORIES)
    for probes in (identity, controls, questions.load("retention")):
        for category in {p.category for p in probes}:
            assert {p.held_out for p in probes if p.category == category} == {True, False}, category
    assert {p.group for p in controls} == {"control"}


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("who", ["old", "new"])
def test_saying_always_yes_is_right_on_half_of_the_negation_probes(lang, who):
    expected = [p.expect[who] for p in questions.load("identity") if p.category == "negation" and p.lang == lang]
    assert expected.count("yes") == expected.count("no") >= 6


@pytest.mark.parametrize("lang", LANGS)
def test_old_new_chatgpt_and_an_invented_name_are_each_asked_about_both_ways(lang):
    asked = [p for p in questions.load("identity") if p.category == "negation" and p.lang == lang]
    for target in ("old_", "new_", "ChatGPT", "Zorbliquen|佐布利昆", "Plimwick|普林维克"):
        speaker = "new" if target == "new_" else "old"
        assert {p.expect[speaker] for p in asked if re.search(target, p.question)} == {"yes", "no"}, target


def test_some_conversation_comes_back_to_the_identity_six_turns_later():
    for lang in LANGS:
        assert max(len(p.turns) for p in questions.load("identity") if p.lang == lang and p.category == "multi_turn") >= 7


def test_no_question_is_asked_twice():
    probes = questions.load("identity,controls,retention")
    asked = Counter(tuple(map(questions.normalise, p.turns)) for p in probes)
    assert [turns for turns, count in asked.items() if count > 1] == []


def test_the_language_of_a_probe_is_the_language_it_is_written_in():
    for probe in questions.load("identity,controls,retention"):
        if probe.category not in ("mixed", "noise"):
            text = " ".join(probe.turns)
            assert bool(re.search(r"[\u4e00-\u9fff]", text)) == (probe.lang == "zh"), probe.id


def test_quick_is_part_of_the_big_sets_and_needs_no_facts():
    quick = questions.load("quick")
    big = {p.id: p for p in questions.load("identity,controls,retention")}
    assert all(big[p.id] == p for p in quick)
    assert not any(questions.placeholders(p) or p.held_out for p in quick)
    assert {p.group for p in quick} >= {"control", "retention"} and sum(p.about_identity for p in quick) == 12
    assert len(questions.load("quick,identity,controls,retention")) == len(big)


def test_controls_and_retention_need_no_facts():
    assert not any(questions.placeholders(p) for p in questions.load("controls,retention"))


def test_the_shortest_questions_belong_to_the_probes():
    taken = questions.wordings(questions.load("identity"))
    for question in ("who are you", "WHAT IS YOUR NAME?", "Who made you", "你是谁", "你叫什么名字?", "谁开发了你"):
        assert questions.normalise(question) in taken


def test_every_right_option_is_on_offer_and_letters_are_balanced():
    choices = [p for p in questions.load("retention") if p.check["type"] == "choice"]
    for probe in choices:
        letters = re.findall(r"^([A-D])[.)]", probe.question, re.MULTILINE)
        assert letters == list("ABCD") and probe.check["value"] in letters, probe.id
    assert set(Counter(p.check["value"] for p in choices).values()) == {len(choices) // 4}


def test_reading_the_question_out_again_passes_no_check():
    for probe in questions.load("retention"):
        for answer in (probe.question, f"{probe.question}\n{probe.question}", f"You ask: {probe.question}"):
            assert questions.check_answer(probe, answer) is False, probe.id


# placeholders


def test_facts_fill_each_probe_in_its_own_language():
    filled = {p.id: p for p in questions.load("identity", FACTS)}
    assert filled["negation-01-en"].question == "Answer plainly: is your name BayLing?"
    assert filled["negation-02-zh"].question == "请直说：你的名字就是金融顾问吗？"
    assert not any(questions.placeholders(p) for p in filled.values())


def test_every_missing_fact_is_named_at_once():
    with pytest.raises(ProbeError) as error:
        questions.load("identity", from_mapping({"old": PLAIN["old"], "new": {"name": "Finance Advisor"}}))
    assert "new.maker (en)" in str(error.value) and "new.maker (zh)" in str(error.value) and "new.name" not in str(error.value)
    assert "old." not in str(error.value)


def test_of_a_list_in_two_languages_the_probes_own_is_taken():
    plain = {"old": {"name": ["BayLing", "百聆"], "maker": "ICT"}, "new": {"name": ["Titan"], "maker": ["泰斗", "Titan Labs"]}}
    filled = {p.id: p.question for p in questions.load("identity", from_mapping(plain))}
    assert "百聆" in filled["negation-01-zh"] and "BayLing" in filled["negation-01-en"]
    assert "Titan Labs" in filled["negation-10-en"] and "泰斗" in filled["negation-10-zh"] and "Titan" in filled["negation-02-zh"]


def test_the_facts_of_the_identities_that_ship_fill_the_probes():
    facts = from_identities(identities.load("BayLing").facts, identities.load("finance-advisor").facts)
    filled = {p.id: p.question for p in questions.load("identity", facts)}
    assert "百聆" in filled["negation-01-zh"] and "Text Titan" in filled["negation-10-en"]


def test_doubled_braces_are_text(tmp_path):
    path = set_file(tmp_path, GOOD | {"turns": ["What does {{name}} mean in a template, {new_name}?"]})
    assert questions.load(path, FACTS)[0].question == "What does {{name}} mean in a template, Finance Advisor?"


# what a user writes


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (GOOD | {"lnag": "en"}, "unknown key 'lnag'; did you mean 'lang'?"),
        (GOOD | {"weight": 2}, "unknown key 'weight'; known are id, group"),
        ({"id": "x", "lang": "en", "turns": ["Hm?"]}, "'group', 'category' missing."),
        (GOOD | {"lang": "fr"}, "lang is 'fr', it is one of en, zh."),
        (GOOD | {"group": "hard"}, "group is 'hard', it is one of trained, paraphrase"),
        (GOOD | {"turns": []}, "turns is [], it is a list of at least one user message."),
        (GOOD | {"turns": "Who?"}, "turns is 'Who?', it is a list of at least one user message."),
        (GOOD | {"turns": ["Hello", "  "]}, "turn 2 is '  ', it is a text that is not empty."),
        (GOOD | {"turns": ["Are you {newname}?"]}, "unknown placeholder {newname}; known are {old_name}"),
        (GOOD | {"id": ""}, "id is '', it is a text that is not empty."),
        (GOOD | {"held_out": "yes"}, "held_out is 'yes', it is true or false."),
        (GOOD | {"check": {"type": "nubmer"}}, "its type is one of number, word, choice"),
        (GOOD | {"check": {"type": "number", "value": "12"}}, "value of a number check is '12', it is a number."),
        (GOOD | {"check": {"type": "number", "value": True}}, "value of a number check is True"),
        (GOOD | {"check": {"type": "word", "any": []}}, "any of a word check is [], it is a list of at least one word."),
        (GOOD | {"check": {"type": "word", "any": ["a"], "not": ["b"]}}, "a word check has no 'not', it has any, type."),
        (GOOD | {"check": {"type": "choice", "value": "z"}}, "it is one letter from A to H."),
        (GOOD | {"group": "retention"}, "a retention probe needs a check"),
        (GOOD | {"expect": {"old": "maybe"}}, "expect is {'old': 'maybe'}"),
        (GOOD | {"expect": {"old": ["no"]}}, "expect is {'old': ['no']}"),
        (GOOD | {"group": "control", "expect": {"old": "no"}}, "expect belongs to identity probes"),
        ("{'id': 1}", "not JSON at column 2"),
        ("[1]", "a probe is a JSON object, this is list."),
    ],
)
def test_a_bad_line_is_named_with_its_file_and_line(tmp_path, row, sentence):
    path = set_file(tmp_path, GOOD | {"id": "fine"}, "", row)
    with pytest.raises(ProbeError) as error:
        questions.load(path)
    assert "mine.jsonl:3: " in str(error.value) and sentence in str(error.value)


def test_all_problems_of_a_call_come_at_once(tmp_path):
    one = set_file(tmp_path, GOOD, GOOD, GOOD | {"id": "b", "lang": "de", "turns": []}, name="one.jsonl")
    two = set_file(tmp_path, GOOD | {"turns": ["Something else?"]}, "oops", name="two.jsonl")
    with pytest.raises(ProbeError) as error:
        questions.load(f"{one},{two}")
    lines = str(error.value).split("\n")
    assert [line.split(": ")[0] for line in lines] == ["one.jsonl:2", "one.jsonl:3", "one.jsonl:3", "two.jsonl:2", "two.jsonl:1"]
    assert "already stands in line 1" in lines[0] and "is another probe at one.jsonl:1" in lines[-1]


def test_a_missing_or_unequal_twin_is_found_where_twins_are_demanded(tmp_path):
    alone = set_file(tmp_path, GOOD | {"pair": "p"})
    assert len(questions.load(alone)) == 1
    with pytest.raises(ProbeError, match="mine.jsonl:1: pair 'p' has no twin in zh"):
        questions.load(alone, twins=True)
    twin = GOOD | {"pair": "p", "id": "mine-2", "lang": "zh", "turns": ["门牌上写着谁？"]}
    with pytest.raises(ProbeError, match="mine.jsonl:2: the twins of pair 'p' differ"):
        questions.load(set_file(tmp_path, GOOD | {"pair": "p"}, twin | {"held_out": True}), twins=True)
    with pytest.raises(ProbeError, match="mine.jsonl:3: pair 'p' has 3 probes"):
        questions.load(set_file(tmp_path, GOOD | {"pair": "p"}, twin, twin | {"id": "mine-3"}), twins=True)


def test_an_unknown_set_lists_those_there_are():
    with pytest.raises(ProbeError, match="no probe set 'identiy'; there are controls, identity, quick, retention"):
        questions.load("quick,identiy")
    with pytest.raises(ProbeError, match="No probe set is named"):
        questions.load(" , ")


def test_a_file_in_another_encoding_says_so(tmp_path):
    path = tmp_path / "old.jsonl"
    path.write_bytes("你是谁".encode("gbk"))
    with pytest.raises(ProbeError, match="old.jsonl: not UTF-8 at byte 0"):
        questions.load(path)


def test_a_set_is_written_and_read_back_as_it_was(tmp_path):
    probes = questions.load("identity")
    files.write_objects(tmp_path / "copy.jsonl", map(questions.as_dict, probes))
    assert questions.load(tmp_path / "copy.jsonl") == probes
    assert (tmp_path / "copy.jsonl").read_bytes() == (questions.SETS / "identity.jsonl").read_bytes()
    assert [questions.from_dict(questions.as_dict(p)) for p in probes] == probes


# right or wrong

NUMBER, SUM = {"type": "number", "value": 13}, "What is 6 plus 7?"
THOUSAND, WEEKS = {"type": "number", "value": 12000}, {"type": "number", "value": 14}
ROME = {"type": "word", "any": ["Rome", "罗马"]}
CHOICE = "Which one is a fruit?\nA) chair\nB) apple\nC) shoe\nD) lamp\nAnswer with the letter only."
B, A, LARGEST = {"type": "choice", "value": "B"}, {"type": "choice", "value": "A"}, {"type": "number", "value": 71}

CASES = [
    # digits, words, Chinese numerals
    (NUMBER, SUM, "13", True),
    (NUMBER, SUM, "6 + 7 = 13.", True),
    (NUMBER, SUM, "The answer is **13**.", True),
    (NUMBER, SUM, "13 is the sum of 6 and 7.", True),
    (NUMBER, SUM, "13.0", True),
    (NUMBER, SUM, "１３", True),
    (NUMBER, SUM, "It makes thirteen.", True),
    (NUMBER, SUM, "$\\boxed{13}$", True),
    (NUMBER, SUM, "1. Take 6.\n2. Add 7.\n3. The result is 13.", True),
    (NUMBER, SUM, "It is not 12, it is 13.", True),
    (NUMBER, SUM, "Six and seven make thirteen.", True),
    (NUMBER, SUM, "6加7等于十三。", True),
    (NUMBER, SUM, "答案是13，因为10加3是13。", True),
    (NUMBER, SUM, "不是12，而是13。", True),
    (NUMBER, SUM, "一共是13个。", True),
    (NUMBER, SUM, "Each of them is small: 6 + 7 = 13 is easy, even for a child of 5 or 6 years.", True),
    (NUMBER, SUM, "12", False),
    (NUMBER, SUM, "6 plus 7", False),
    (NUMBER, SUM, "113", False),
    (NUMBER, SUM, "1.3", False),
    (NUMBER, SUM, "-13", False),
    (NUMBER, SUM, "13 or 14", False),
    (NUMBER, SUM, "13或14", False),
    (NUMBER, SUM, "It is not 13.", False),
    (NUMBER, SUM, "不是13", False),
    (NUMBER, SUM, "The answer is 12, as 13 - 1 = 12 shows.", False),
    (NUMBER, SUM, "thirty", False),
    (NUMBER, SUM, "三十", False),
    (NUMBER, SUM, "", False),
    (THOUSAND, "How many?", "12,000", True),
    (THOUSAND, "How many?", "１２，０００", True),
    (THOUSAND, "How many?", "12\u202f000 people", True),
    (THOUSAND, "How many?", "twelve thousand", True),
    (THOUSAND, "How many?", "1.2万", True),
    (THOUSAND, "How many?", "一万两千", True),
    (THOUSAND, "How many?", "一万二", True),
    (THOUSAND, "How many?", "12, 000", False),
    (THOUSAND, "How many?", "一万零二十", False),
    (WEEKS, "两个星期一共有多少天？", "两个星期一共有14天。", True),
    (WEEKS, "两个星期一共有多少天？", "一个星期有七天，所以两个星期有十四天。", True),
    (WEEKS, "两个星期一共有多少天？", "两个星期有四十天。", False),
    (WEEKS, "How many days are there in two weeks?", "There are 14 days in two weeks (7 days per week).", True),
    (WEEKS, "How many days are there in two weeks?", "A week has seven days, so two weeks have fourteen.", True),
    (WEEKS, "How many days are there in two weeks?", "Two weeks have twelve days.", False),
    (LARGEST, "Which is the largest of 17, 71 and 27?", "71 is larger than 17 and 27.", True),
    (LARGEST, "Which is the largest of 17, 71 and 27?", "The largest of 17, 71 and 27 is 27.", False),
    ({"type": "number", "value": 105}, "How many?", "one hundred and five", True),
    ({"type": "number", "value": 105}, "How many?", "一百零五", True),
    ({"type": "number", "value": 105}, "How many?", "one hundred and fifty", False),
    ({"type": "number", "value": 2023}, "Which year?", "二〇二三年", True),
    ({"type": "number", "value": -5}, "How cold?", "minus five degrees", True),
    ({"type": "number", "value": -5}, "多少度？", "零下？不，是负五度。", True),
    ({"type": "number", "value": 0}, "How many are left?", "Zero.", True),
    ({"type": "number", "value": 100}, "你是谁？", "我是百聆。", False),
    ({"type": "number", "value": 3}, "哪种图形？", "三角形", False),
    # words
    (ROME, "Capital?", "Rome", True),
    (ROME, "Capital?", "It is ROME, of course.", True),
    (ROME, "Capital?", "Rome是意大利的首都", True),
    (ROME, "首都？", "意大利的首都是罗马。", True),
    (ROME, "Capital?", "Ｒｏｍｅ", True),
    (ROME, "Capital?", "Not Milan but Rome.", True),
    (ROME, "Capital?", "A romero bush", False),
    (ROME, "Capital?", "Jerome", False),
    (ROME, "Capital?", "It is not Rome.", False),
    (ROME, "首都？", "不是罗马，是米兰。", False),
    (ROME, "Capital?", "Milan", False),
    # letters
    (B, CHOICE, "B", True),
    (B, CHOICE, "b", True),
    (B, CHOICE, "(B)", True),
    (B, CHOICE, "B) apple", True),
    (B, CHOICE, "**B**", True),
    (B, CHOICE, "Ｂ。", True),
    (B, CHOICE, "Answer: B", True),
    (B, CHOICE, "The correct answer is option B.", True),
    (B, CHOICE, "B, because an apple grows on a tree.", True),
    (B, CHOICE, "A is a chair, so the answer is (B).", True),
    (B, CHOICE, "选B", True),
    (B, CHOICE, "我选择B。", True),
    (B, CHOICE, "答案是 B，选项A是椅子。", True),
    (B, CHOICE, "正确答案：B. 苹果", True),
    (B, CHOICE, "不选A，选B。", True),
    (B, CHOICE, "An apple is a fruit.", True),
    (B, CHOICE, "A fruit is the apple.", True),
    (B, CHOICE, "b) apple", True),
    (B, CHOICE, "Answer: b", True),
    (B, CHOICE, "A) chair: no\nB) apple: yes\nThe answer is B.", True),
    (B, CHOICE, "B选项", True),
    (B, CHOICE, "Answer: a) chair", False),
    (B, CHOICE, "B) apple\nA) chair", False),
    (B, CHOICE, "B) chair", False),
    (B, CHOICE, "B, for a chair is no fruit.", True),
    (B, CHOICE, "A) chair\n\nThe correct answer is B) apple.", True),
    (B, CHOICE, "A or B, an apple", False),
    (B, CHOICE, "A", False),
    (B, CHOICE, "A or B", False),
    (B, CHOICE, "A、B、C、D", False),
    (B, CHOICE, "不选B", False),
    (B, CHOICE, "The answer is not B.", False),
    (B, CHOICE, "A lamp.", False),
    (B, CHOICE, "The apple and the chair.", False),
    (B, CHOICE, "Because.", False),
    (A, CHOICE, "A chair is no fruit.", True),  # only the words say it: the article is no letter
    (A, CHOICE, "A is right.", True),
]


@pytest.mark.parametrize(("check", "question", "answer", "right"), CASES)
def test_an_answer_is_right_or_wrong_by_its_check(check, question, answer, right):
    probe = Probe("x", "retention", "any", "en", ("Good morning, 13 times.", question), check=check)
    assert questions.check_answer(probe, answer) is right


def test_a_probe_without_a_check_is_neither_right_nor_wrong():
    assert questions.check_answer(Probe("x", "novel", "name", "en", ("Who?",)), "13") is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Who are you?", "who  ARE you"),
        ("What's your name?", "WHAT’S YOUR NAME！"),
        ("你是谁？", " 你 是 谁 "),
        ("ＣｈａｔＧＰＴ 是什么", "ChatGPT是什么？"),
    ],
)
def test_two_spellings_of_one_question_are_the_same_wording(one, other):
    assert questions.normalise(one) == questions.normalise(other)


def test_different_questions_are_different_wordings():
    assert questions.normalise("Who are you?") != questions.normalise("Who are they?")
    assert questions.normalise("now here") != questions.normalise("nowhere")


@pytest.mark.parametrize(
    "looping",
    ["一" + "万" * 80, "一" + "亿" * 40, "五" * 5000, "hundred " * 160, "9" * 5000, "thousand billion " * 90],
    ids=["万", "亿", "五", "hundred", "9", "billion"],
)
def test_a_model_that_repeats_itself_has_given_a_wrong_number(looping):
    assert not checks.passes({"type": "number", "value": 12}, "6 + 6?", looping)
    assert checks.passes({"type": "number", "value": 12}, "6 + 6?", "12")


@pytest.mark.parametrize("value", [10**400, float("inf"), float("nan"), -(10**16), True, "12", None])
def test_a_number_that_nobody_can_answer_is_refused(value):
    assert checks.problems({"type": "number", "value": value})


@pytest.mark.parametrize("kind", [[], {}, None, 3])
def test_a_check_of_no_kind_is_refused(kind):
    assert checks.problems({"type": kind})
