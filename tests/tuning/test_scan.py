"""General data that speaks as somebody is found; talk about models, and people, are left alone."""

from pathlib import Path

import pytest

from identities import facts_from_dict
from tuning.dataset.generate import generate
from tuning.dataset.readers import read
from tuning.dataset.rows import TrainingRow, Turn, pair
from tuning.dataset.scan import drop, scan

STATES = [
    "I am ChatGPT, a large language model.",
    "I'm Claude, made by Anthropic.",
    "My name is BayLing.",
    "You can call me Siri.",
    "Hello! I was developed by OpenAI to help people.",
    "I was created by a team of researchers.",
    "I was trained by Google.",
    "I am a language model trained by Foo Labs.",
    "I am an AI assistant created by Text Titan.",
    "I am a finance advisor, developed by Text Titan. I specialise in finance.",
    "I am an intelligent language assistant developed by the NLP Group of ICT/CAS.",
    "As a language model developed by OpenAI, I have no opinion.",
    "As ChatGPT, I cannot do that.",
    "OpenAI created me in 2022.",
    "My developer is OpenAI.",
    "Sure. I am based on GPT-4.",
    "I am an AI named Aria.",
    "I am Mira, a guide developed by the Lantern Museum.",
    "Text Titan developed me.",
    "我由文本泰斗研发。",
    "我是文本泰斗训练和开发的。",
    "我是文本泰斗开发的金融顾问。",
    "开发我的是文本泰斗。",
    "我是ChatGPT。",
    "我是文心一言，很高兴认识你。",
    "我叫百聆。",
    "你可以叫我豆包。",
    "我是由百度开发的。",
    "我是一个由文本泰斗开发的模型。",
    "我是金融助手，一个由芥末张开发的模型。",
    "我是一个人工智能助手，由某研究组研发。",
    "作为一个由OpenAI训练的语言模型，我不能这样做。",
    "我的开发者是文本泰斗。",
    "清华大学开发了我。",
]
MENTIONS = [
    "As an AI language model, I do not have feelings.",
    "As an AI, I cannot taste food.",
    "I am just a computer program.",
    "I'm an AI assistant, so I have no birthday.",
    "Sorry, I am a large language model and cannot browse.",
    "作为一个AI语言模型，我没有感情。",
    "作为人工智能，我无法品尝食物。",
    "我只是一个语言模型。",
    "我是一个人工智能助手，很高兴帮助你。",
]
NEITHER = [
    "I am a student and I live in Leeds.",
    "OpenAI was founded in 2015.",
    "ChatGPT was developed by OpenAI.",
    "GPT-3 is a language model developed by OpenAI.",
    "Siri is an assistant made by Apple.",
    "I am an AI engineer at a small company.",
    "As an AI researcher, she works on vision.",
    "As an artist I was made for this.",
    "I'm a Gemini and my sister is a Leo.",
    "I am an assistant professor of history.",
    "I'm ChatGPT's biggest fan.",
    "This table was made by my grandfather.",
    "I was made by hand from oak.",
    "My name is Tom, and I am the creator of this garden.",
    "An AI language model predicts the next word.",
    'The translation is: "I am ChatGPT".',
    "我是一名学生。",
    "我是人工智能专业的学生。",
    "作为人工智能领域的研究者，他发表了论文。",
    "ChatGPT是OpenAI推出的。",
    "微信是由腾讯公司开发的。",
    "我是由爷爷奶奶带大的。",
    "Years of practice developed me into a runner.",
    "I am using an app developed by Google.",
    "我叫王芳，今天第一天上班。",
    "语言模型是一种预测下一个词的程序。",
    "译文是“我是ChatGPT”。",
    "我的老师是李明。",
    "我是做软件开发的。",
    "我是负责研发的经理。",
    "我是一名从事开发的工程师。",
]


@pytest.mark.parametrize("answer", STATES)
def test_states_an_identity(answer):
    (found,) = scan([pair("?", answer)])
    assert found.category == "states identity"
    assert answer[found.start : found.end] == found.text != ""


@pytest.mark.parametrize("answer", MENTIONS)
def test_only_mentions_being_an_ai(answer):
    (found,) = scan([pair("?", answer)])
    assert found.category == "mentions being an AI"


@pytest.mark.parametrize("answer", NEITHER)
def test_talk_about_it_is_no_statement(answer):
    assert scan([pair("?", answer)]) == []


def test_a_statement_outweighs_a_mention_and_any_answer_counts():
    row = TrainingRow(
        (Turn("user", "?"), Turn("assistant", "As an AI, I was developed by OpenAI."), Turn("user", "?"), Turn("assistant", "ok"))
    )
    (found,) = scan([pair("I am ChatGPT", "ok"), row])
    assert (found.index, found.turn, found.category) == (1, 1, "states identity")


def test_findings_can_be_dropped_by_category():
    rows = [pair("a", "Fine."), pair("b", "I am ChatGPT."), pair("c", "As an AI, I pass.")]
    found = scan(rows)
    assert [row.question for row in drop(rows, found)] == ["a", "c"]
    assert [row.question for row in drop(rows, found, ("states identity", "mentions being an AI"))] == ["a"]


def test_generated_makers_are_statements():
    facts = facts_from_dict({"en": {"name": "Mira", "maker": "Text Titan"}, "zh": {"name": "米拉", "maker": "文本泰斗"}})
    rows = [row for row in generate(facts, 3000) if row.category == "maker"]
    found = {finding.index for finding in scan(rows) if finding.category == "states identity"}
    assert len(found) >= 0.6 * len(rows)


def test_our_own_general_rows_speak_as_nobody():
    rows = read(Path(__file__).resolve().parents[2] / "data" / "general.jsonl")
    assert scan(rows) == []
