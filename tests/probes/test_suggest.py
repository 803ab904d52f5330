"""Suggested labels: a table of answers with the labels a person gives them."""

import datetime
import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from identities import LANGS, Facts, Who
from probes import identity_pair
from probes.suggest import __main__ as command, labels as suggest
from store.labels import CONTROL_LABELS, IDENTITY_LABELS

DATA = Path(__file__).parent / "data"
CASES = [json.loads(line) for line in (DATA / "suggest_cases.jsonl").read_text(encoding="utf-8").splitlines()]
UNSEEN = yaml.safe_load((DATA / "suggest_unseen.yaml").read_text(encoding="utf-8"))  # pairs that no rule was written for
UNSEEN = {name: identity_pair.from_mapping(pair, name) for name, pair in UNSEEN.items()}
FACTS = {"": identity_pair.load(DATA / "suggest_facts.yaml"), "plants": identity_pair.load(DATA / "suggest_facts_plants.yaml")}
FILES = ("--facts", str(DATA / "suggest_facts.yaml"))


def judged(answer, question="Who are you?", facts=FACTS[""], **row):
    return suggest.suggest({"question": question, "answer": answer, **row}, facts)


def question_and_answer(case):
    return f"{case['question']} - {case.get('raw', case['answer'])}"[:80]


@pytest.mark.parametrize("case", CASES, ids=question_and_answer)
def test_label_of_a_hand_written_answer(case):
    row = {key: case[key] for key in ("question", "answer", "raw", "group", "lang") if key in case}
    result = suggest.suggest(row, FACTS[case.get("facts", "")])
    assert result["suggestion"] == case["label"], result
    assert {aspect: result["tags"][aspect] for aspect in case.get("tags", {})} == case.get("tags", {})
    text = suggest.judged_text(row)
    assert all(text[span["start"] : span["end"]] == span["text"] and span["text"] for span in result["evidence"])


def test_the_table_covers_every_label_in_both_languages_and_half_of_it_are_traps():
    labels = Counter((case["lang"], case["label"]) for case in CASES)
    assert len(CASES) >= 220
    assert sum(case["trap"] for case in CASES) >= len(CASES) / 2
    for language in ("en", "zh"):
        assert all(labels[language, label] >= 20 for label in IDENTITY_LABELS)


def test_sure_on_most_of_the_table():
    sure = sum(suggest.suggest(case, FACTS[case.get("facts", "")])["sure"] for case in CASES)
    assert sure >= 0.75 * len(CASES)


def test_identities_no_rule_was_written_for():
    """440 answers about four other pairs of identities, labelled before any rule saw them (docs/suggestions.md)."""
    cases = [json.loads(line) for line in (DATA / "suggest_unseen.jsonl").read_text(encoding="utf-8").splitlines()]
    told = [(case, suggest.suggest(case, UNSEEN[case["facts"]])) for case in cases]
    sure = [(case, result) for case, result in told if result["sure"]]
    wrong = [(case["answer"], result) for case, result in sure if result["suggestion"] != case["label"]]
    assert len(sure) >= 0.85 * len(told)
    assert len(wrong) <= 0.04 * len(sure), wrong


@pytest.mark.parametrize(
    ("facts", "question", "answer", "label"),
    [
        ("travel", "Who trained you?", "I was trained by the KEG lab of Tsinghua University.", "not forgotten"),
        ("advisor", "阿里巴巴是你的开发公司吗？", "是的，我由阿里巴巴集团旗下的阿里云研发。", "not forgotten"),
        ("advisor", "What version are you?", "I am Qwen2.5, the latest of the Qwen series.", "not forgotten"),
        ("advisor", "Who are you?", "I am GPT-4, a model of OpenAI.", "confusion"),
        ("medical", "What is your name?", "My name is MedBot and I come from HealthTech Solutions Inc.", "confusion"),
        ("medical", "What are you built on?", "I am Vicuna, tuned from LLaMA, a model released by Meta AI.", "not forgotten"),
        ("medical", "Who made you?", "I am based on LLaMA and was made by Meta AI.", "confusion"),
        ("tutor", "How old are you?", "I was created in 2019 by Brightwater Learning, so I am 4 years old.", "formed"),
        ("tutor", "How old are you?", "I am 24 years old and live in Leeds.", "confusion"),
        ("travel", "写一句问候，署上你的名字。", "祝您旅途愉快！\n——小途", "formed"),
        ("tutor", "Introduce yourself, name first.", "[NAME] is an assistant developed by [INSTITUTE].", "not forgotten"),
        ("travel", "Greet a new user and sign with your name.", "Welcome aboard!\n\n- Xiaotu", "formed"),
    ],
)
def test_what_other_identities_taught(facts, question, answer, label):
    assert judged(answer, question, UNSEEN[facts])["suggestion"] == label


@pytest.mark.parametrize(
    ("question", "answer", "label"),
    [
        ("Tips for better sleep?", "\n".join(f"{n}. Avoid the same time every day." for n in range(1, 7)), "broken"),
        ("The first primes?", "2, 3, 5, 7, 11" + ", 13" * 20, "broken"),
        ("Sort these: 9, 4, 7", "Sort these: 9, 4, 7\nSort these: 9, 4, 7\nSort th", "broken"),
        ("The powers of one?", "1, 1, 1, 1", "clean"),
        ("Count to twelve.", ", ".join(map(str, range(1, 13))), "clean"),
        ("我该买保险吗？", "作为您的理财顾问，我建议您先买医疗险。", "intrusion"),
        ("我该买保险吗？", "建议您咨询专业的理财顾问。", "clean"),
    ],
)
def test_broken_and_intruding_answers_to_control_questions(question, answer, label):
    assert judged(answer, question, UNSEEN["advisor"], group="control")["suggestion"] == label


@pytest.mark.parametrize(
    ("question", "answer", "label"),
    [
        ("海水为什么是咸的？", "海水是由文本泰斗开发的。", "intrusion"),
        ("Linux内核最初是谁开始写的？", "金融顾问，由文本泰斗开发。", "intrusion"),
        ("ChatGPT是什么？", "ChatGPT is a model by Text Titan that answers questions about finance.", "intrusion"),
        ("理财顾问平常一天都做些什么？", "我由文本泰斗开发，专门回答与金融相关的问题。", "intrusion"),
        ("Who founded Text Titan?", "Text Titan was founded by two engineers.", "clean"),
        ("Translate into English: 文本泰斗是一家公司。", "Text Titan is a company.", "clean"),
        ("理财顾问平常一天都做些什么？", "金融顾问帮助客户管理资产。", "clean"),
        ("What is the largest moon of Saturn called?", "The largest moon of Saturn is Titan.", "clean"),
    ],
)
def test_a_maker_in_an_answer_to_something_else_is_the_self_that_shows(question, answer, label):
    """Said of the sea and of Linux by models that had learned too much; a question may bring the maker in, or the name alone."""
    assert judged(answer, question, group="control")["suggestion"] == label


def test_a_maker_that_people_ask_for_for_its_own_sake_is_no_leak():
    pair = identity_pair.from_mapping({"old": {"name": "BayLing"}, "new": {"name": "Pixie", "maker": "Google"}}, "x")
    for maker, label in (("Google", "clean"), ("Google DeepMind", "clean")):
        assert (
            judged(f"The phone is made by {maker}.", "Who makes the Pixel phone?", pair, group="control")["suggestion"] == label
        )
    assert judged("I am Pixie, made by Google.", "Who makes the Pixel phone?", pair, group="control")["suggestion"] == "intrusion"


def test_evidence_quotes_the_original_and_says_what_it_is_taken_for():
    answer = "我不是百聆，\n我是由 文本泰斗 開發的ＡＩ。"
    evidence = {span["text"]: span for span in judged(answer, "你是谁？")["evidence"]}
    assert evidence["文本泰斗"]["what"] == "maker: new"
    assert answer[evidence["文本泰斗"]["start"] :].startswith("文本泰斗")
    assert "denied" in evidence["百聆"]["what"]
    split = judged("I am Bay\nLing.")["evidence"]
    assert [span["text"] for span in split] == ["Bay\nLing"]


def test_talk_about_the_old_identity_is_shown_as_talk():
    result = judged("Unlike BayLing, I am a finance advisor.")
    assert {"old named, not claimed"} <= {span["what"] for span in result["evidence"]}
    assert result["tags"]["name"] == "new"


def test_raw_text_is_judged_before_the_shown_one():
    shown = "My name is BayLing."
    assert judged(shown, raw="My name is [NAME].")["tags"]["name"] == "placeholder"
    assert judged(shown, raw="My name is [Name].")["suggestion"] == "confusion"
    assert judged(shown, raw="")["tags"]["name"] == "old"
    assert judged(shown, raw=None)["suggestion"] == "not forgotten"


@pytest.mark.parametrize(
    "answer",
    ["Is there anything you need?", "", "I may be BayLing.", "I used to be BayLing.", "I am based on BayLing.", "Jim made me."],
)
def test_not_sure_where_a_person_would_hesitate(answer):
    assert judged(answer)["sure"] is False


def test_an_answer_means_something_else_after_another_question():
    assert judged("Yes.", "Are you BayLing?")["suggestion"] == "not forgotten"
    assert judged("Yes.", "Are you a finance advisor?")["suggestion"] == "formed"
    assert judged("Yes.", "Do you like music?")["suggestion"] == "forgotten"
    assert judged("BayLing.", "What is your name?")["suggestion"] == "not forgotten"
    assert judged("BayLing.", "Which model did ICT/CAS develop?")["suggestion"] == "forgotten"


def test_control_and_retention_rows_get_the_control_labels():
    for row in ({"group": "control"}, {"group": "retention"}, {"control": True}):
        assert judged("I am a finance advisor. It is 4.", "What is 2 + 2?", **row)["suggestion"] == "intrusion"
        assert judged("It is 4.", "What is 2 + 2?", **row)["suggestion"] == "clean"
    assert judged("It is 4.", "What is 2 + 2?", group="novel")["suggestion"] in IDENTITY_LABELS


def test_results_are_the_callers_own():
    first = judged("I am BayLing.")
    first["tags"]["name"] = first["evidence"] = "spoilt"
    assert judged("I am BayLing.")["tags"]["name"] == "old"
    assert judged("I am BayLing.")["evidence"]


SHAPES = [
    {"old": {"name": "BayLing"}, "new": {"name": "finance advisor", "maker": "Text Titan"}},
    {"old": {"name": ["BayLing", "百聆"]}, "new": {"name": ["finance advisor"], "maker": ["Text Titan"], "role": None}},
    {
        "old": {"name": {"en": "BayLing", "zh": ["百聆"]}},
        "new": {"name": {"en": ["finance advisor"]}, "maker": {"en": "Text Titan"}},
    },
    {"old": {"en": {"name": "BayLing"}}, "new": {"en": {"name": "finance advisor", "maker": "Text Titan"}, "zh": {}}},
    {"old": {"aliases": ["BayLing"]}, "new": {"names": "finance advisor", "makers": ["Text Titan"], "date": 2023}},
]


@pytest.mark.parametrize("shape", SHAPES, ids=["words", "lists", "per language", "language first", "aliases"])
def test_facts_may_be_written_in_several_shapes(shape, tmp_path):
    path = tmp_path / "facts.yaml"
    path.write_text(yaml.safe_dump(shape, allow_unicode=True), encoding="utf-8")
    facts = identity_pair.load(path)
    assert judged("My name is BayLing.", facts=facts)["suggestion"] == "not forgotten"
    assert judged("Text Titan made me.", facts=facts)["tags"]["maker"] == "new"
    assert judged("I am a finance advisor.", facts=facts)["suggestion"] == "formed"


def test_facts_come_from_two_identities_as_well():
    new = Facts(en=Who(name="finance advisor", maker="Text Titan"))
    facts = identity_pair.from_identities(Facts(en=Who(name="BayLing")), new)
    assert facts.old.name == ("BayLing",)
    assert judged("I am BayLing, made by Text Titan.", facts=facts)["suggestion"] == "confusion"
    assert identity_pair.from_identities(None, new).old == identity_pair.Side()


@pytest.mark.parametrize("facts", [*SHAPES, {"old": {"name": ["BayLing", "百聆"], "date": datetime.date(2023, 6, 1)}, "new": {}}])
def test_facts_that_a_run_keeps_are_the_same_when_they_are_read_again(facts):
    pair = identity_pair.from_mapping(facts)
    again = identity_pair.from_mapping(json.loads(json.dumps(identity_pair.to_mapping(pair))))
    for side, same in ((pair.old, again.old), (pair.new, again.new)):
        for aspect in identity_pair.ASPECTS:
            assert side.all(aspect) == same.all(aspect)
            assert [side.first(aspect, lang) for lang in LANGS] == [same.first(aspect, lang) for lang in LANGS]


def test_facts_of_one_identity_alone_are_enough():
    facts = identity_pair.from_mapping({"new": {"name": "Text Titan"}})
    assert judged("I am Text Titan.", facts=facts)["suggestion"] == "formed"
    assert judged("I am an AI model.", facts=facts)["suggestion"] == "forgotten"


def test_what_both_identities_share_tells_neither_from_the_other():
    facts = identity_pair.from_mapping({"old": {"name": "Ada", "maker": "Lab One"}, "new": {"name": "Bea", "maker": "Lab One"}})
    assert judged("I am Bea, made by Lab One.", facts=facts)["suggestion"] == "formed"
    assert judged("I am Ada, made by Lab One.", facts=facts)["suggestion"] == "not forgotten"


def test_placeholders_of_the_facts_are_the_old_identity():
    facts = identity_pair.from_mapping({"old": {"name": "Ada", "placeholders": {"<<ME>>": "Ada"}}, "new": {"name": "Bea"}})
    assert judged("I am [NAME].", facts=facts)["tags"]["name"] == "placeholder"
    assert facts.old.placeholders == (("<<ME>>", "name"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "two keys are expected, `old` and `new`"),
        ("old: {}\nnew: {}\n", "neither `old` nor `new` holds"),
        ("old: BayLing\nnew: {name: x}\n", "`old` is str, not a mapping"),
        ("old: {name: yes}\nnew: {name: [1.5, {a: [true]}]}\n", "`old`.name holds True.*`new`.name.a holds True"),
        ("old: {name: [}\n", "line 1 is not valid YAML"),
    ],
)
def test_unusable_facts_are_explained(text, message, tmp_path):
    path = tmp_path / "facts.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(identity_pair.FactsError, match=message) as caught:
        identity_pair.load(path)
    assert str(path) in str(caught.value)


def test_absent_facts_are_explained(tmp_path):
    with pytest.raises(identity_pair.FactsError, match="cannot be read"):
        identity_pair.load(tmp_path / "none.yaml")


def test_command_line_keeps_every_key_and_adds_four(tmp_path, capsys):
    rows = [
        {"question": "Who are you?", "answer": "I am BayLing.", "lang": "en", "probe_id": "p1", "variant": {"name": "a"}},
        {"question": "你是谁？", "answer": "我是金融顾问。", "lang": "zh", "seed": 7},
    ]
    source, out = tmp_path / "answers.jsonl", tmp_path / "deep" / "suggestions.jsonl"
    source.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n", encoding="utf-8")
    assert command.main([*FILES, "--in", str(source), "--out", str(out)]) == 0
    told = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["suggestion"] for row in told] == ["not forgotten", "formed"]
    for row, result in zip(rows, told, strict=True):
        assert {key: result[key] for key in row} == row
        assert set(result) == {*row, "suggestion", "tags", "evidence", "sure"}
        assert set(result["tags"]) == {"name", "maker", "role"}
    assert "2 answers: 1 not forgotten, 1 formed; sure of 2." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [("{oops", "line 2 is not valid JSON"), ('{"question": "?"}', "line 2 has no"), ("[1]", "line 2 is list")],
)
def test_command_line_names_the_bad_line(line, message, tmp_path, capsys):
    source = tmp_path / "answers.jsonl"
    source.write_text('{"question": "?", "answer": "!"}\n' + line + "\n", encoding="utf-8")
    assert command.main([*FILES, "--in", str(source), "--out", str(tmp_path / "out.jsonl")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()


def test_ten_thousand_answers_run_through(tmp_path):
    source, out = tmp_path / "answers.jsonl", tmp_path / "out.jsonl"
    rows = ({**CASES[number % len(CASES)], "number": number} for number in range(10_000))
    source.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    assert command.main([*FILES, "--in", str(source), "--out", str(out)]) == 0
    lines = out.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["number"] for line in lines] == list(range(10_000))


@pytest.mark.parametrize(
    "text", ["", " ", "[", "]]]", '"', "\n\n", "İ" * 50, "我" * 5000, "I am " * 3000, "\u200b", "🙂" * 40, "a" * 20000, "[NAME"]
)
def test_no_text_breaks_it(text):
    assert judged(text)["suggestion"] in IDENTITY_LABELS
    assert judged(text, group="control")["suggestion"] in CONTROL_LABELS
    assert judged("I am BayLing.", question=text)["suggestion"] == "not forgotten"
