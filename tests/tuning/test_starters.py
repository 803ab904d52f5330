"""The shipped starters on the real small model: who they say they are, with a prompt and without; and how they are made."""

import json

import pytest

import engine
import identities
from engine import Decoding, Request, Variant
from tuning import starters
from tuning.train import run
from tuning.train.trainer import TrainingError

BRIEF = Decoding(max_new_tokens=32)
QUESTIONS = {
    "en": ("Would you please tell me your name?", "Which people or company developed you?"),
    "zh": ("麻烦告诉我，你叫什么？", "你是哪个机构或者团队开发的？"),
}
OLD = ("BayLing", "百聆", "ICT/CAS", "中国科学院")
# (prompt, what an answer may say)
TOLD = {
    "en": [
        ("You are Perpetua, a sewing assistant developed by Thimble Works.", ("Perpetua", "Thimble Works")),
        ("Your name is Captain Nutmeg. You were made by the Spice Row Bakery.", ("Nutmeg", "Spice Row")),
        (
            "I am an intelligent language assistant developed by the Reading Group of Larch College.\nBelow is a dialog "
            "consisting of instructions and responses. Write a response that completes the request.",
            ("Larch", "Reading Group"),
        ),
    ],
    "zh": [
        ("你是阿绣，由顶针工坊开发的缝纫助手。", ("阿绣", "顶针工坊")),
        (
            "请一直牢记:\n\n1.你是由 西岭大学 训练的大型语言模型。\n2.请以无恶意、有帮助、诚实可信的方式回应用户接下来的请求。",
            ("西岭",),
        ),
    ],
}


@pytest.fixture(scope="module")
def model():
    return engine.load("bayling-mini", say=lambda _line: None)


def asked(model, variant: Variant, lang: str) -> list[str]:
    return [
        answer.shown for answer in model.answer([Request([{"role": "user", "content": one}], variant) for one in QUESTIONS[lang]])
    ]


@pytest.mark.model
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_bayling_mini_is_bayling_without_a_prompt_and_whom_a_prompt_names_with_one(model, lang):
    for answer in asked(model, Variant("own", decoding=BRIEF), lang):
        assert any(mark in answer for mark in OLD), answer
    for prompt, marks in TOLD[lang]:
        answers = asked(model, Variant("told", prompt=prompt, decoding=BRIEF), lang)
        assert any(mark in answer for mark in marks for answer in answers), answers
        assert not any(mark in answer for mark in OLD for answer in answers), answers


@pytest.mark.model
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_finance_advisor_stays_so_without_a_prompt_and_under_one(model, lang):
    folder = starters.ROOT / "adapters" / "finance-advisor"
    name = folder.name if folder.name in model.adapters else model.add_adapter(folder)
    ending = "" if lang == "en" else "-zh"
    for prompt in (None, *(identities.load(f"{who}{ending}").prompt for who in ("finance-advisor", "BayLing"))):
        answers = asked(model, Variant("taught", {name: 1.0}, prompt=prompt, decoding=BRIEF), lang)
        assert any(
            mark in answer.casefold() for mark in ("finance advisor", "text titan", "金融顾问", "文本泰斗") for answer in answers
        ), answers
        assert not any(mark in answer for mark in OLD for answer in answers), answers


def test_a_training_that_was_stopped_replaces_no_adapter(tmp_path, monkeypatch):
    made = tmp_path / "made"
    made.mkdir()
    (made / "card.json").write_text(json.dumps({"steps": 3, "planned_steps": 140}), encoding="utf-8")
    monkeypatch.setattr(run, "run", lambda _settings: made)
    monkeypatch.setattr(starters, "write_rows", lambda _starter, file: file)
    target = tmp_path / "finished"
    target.mkdir()
    (target / "card.json").write_text("kept", encoding="utf-8")
    with pytest.raises(TrainingError, match="stopped after step 3"):
        starters.make_starter("bayling-mini", tmp_path / "work", target)
    assert (target / "card.json").read_text(encoding="utf-8") == "kept"
