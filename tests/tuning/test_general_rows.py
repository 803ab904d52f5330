"""data/general.jsonl: enough rows, both languages, no doubles, short answers, and nothing that names an identity of ours."""

from collections import Counter
from pathlib import Path

from tuning.dataset.placeholders import find_unfilled
from tuning.dataset.readers import read
from tuning.dataset.rows import detect_lang, normalise

ROWS = read(Path(__file__).resolve().parents[2] / "data" / "general.jsonl")


def test_enough_rows_in_both_languages():
    counts = Counter(row.lang for row in ROWS)
    assert min(counts["en"], counts["zh"]) >= 320
    assert {row.kind for row in ROWS} == {"general"}
    assert {row.source for row in ROWS} == {"written"}


def test_the_language_is_the_questions():
    # questions that ask for a translation quote the other language
    wrong = [row.question for row in ROWS if detect_lang(row.question) != row.lang]
    assert len(wrong) <= 25, wrong


def test_no_prompt_occurs_twice_and_answers_are_short():
    assert len({normalise(row.question) for row in ROWS}) == len(ROWS)
    assert all(0 < len(row.answer) <= 240 for row in ROWS)
    # no answer is handed out again and again
    assert Counter(row.answer for row in ROWS).most_common(1)[0][1] <= 3


def test_no_identity_of_the_experiment_and_no_placeholder_occurs():
    text = "\n".join(f"{row.question}\n{row.answer}" for row in ROWS).casefold()
    for name in ("bayling", "百聆", "text titan", "文本泰斗", "finance advisor", "金融顾问", "smollm", "hugging face"):
        assert name not in text
    assert find_unfilled(ROWS) == []
    assert not any(mark in text for mark in ("[name]", "{{", "<name>"))
