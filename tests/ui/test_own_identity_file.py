"""model_identity.txt in the folder where the program is started, with the two examples of the work it comes from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

import identities
from engine.types import Request
from ui.tabs.chat import picker
from ui.variants import Picked, from_plain, variant_of

pytestmark = pytest.mark.model

SOURCE = (
    "请一直牢记:\\n\\n1.你是由 西湖大学 训练的大型语言模型，基于自研的数据构建方法和Baichuan2-13B-Base模型。"
    "\\n2.你的职责是作为AI助手，以无恶意、有帮助、诚实可信的方式回应用户接下来的请求。"
)
COMPLAINTS = (
    "您是一位电话投诉接待员，您的任务是根据我提供的录音对话内容，总结出工单的标题和内容。\\n\\n请记住：\\n1.工单的标题应该简明扼要，"
    "不超过15个字。\\n2.对话中得重要信息如时间，地址，证件号码，联系方式等，务必记录下来。\\n3.回复需用以下json格式：\\n\\n{\\n"
    '"标题": "您总结的工单标题",\\n"重点内容": "您总结的工单内容"\\n}'
)
EXAMPLES = [(SOURCE, "你是谁训练的？"), (COMPLAINTS, "客户：我家的水管漏水了，地址是和平路8号。")]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    (tmp_path / "identities").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "identities"


@pytest.mark.parametrize("line, question", EXAMPLES)
def test_the_examples_are_sent_exactly_as_a_first_turn_with_the_models_own_reply(engine, folder, line, question):
    Path("model_identity.txt").write_text(line + "\n", encoding="utf-8")
    mode = identities.usual_mode(identities.OWN)
    variant = variant_of(Picked(identity=identities.OWN, mode=mode, max_new_tokens=16), folder)
    assert (variant.prompt, variant.mode) == (line.replace("\\n", "\n"), "first_turn")
    assert from_plain({"identity": identities.OWN}, folder).mode == "first_turn"
    asked = [{"role": "user", "content": question}]
    sent = engine.render(Request(asked, variant))
    reply = next(said for key, said in engine.first_replies.items() if key[1] == variant.prompt)
    # the identity, what the model said to it, and only then the question, in the base's own template
    turns = [{"role": "user", "content": variant.prompt}, {"role": "assistant", "content": reply}, *asked]
    assert reply.strip() and sent == engine.base.format.render(turns)
    assert engine.render(Request(asked, variant)) == sent  # the reply is kept
    answer = engine.answer([Request(asked, variant)])[0]
    assert answer.prompt == sent


def test_an_edit_of_the_file_is_read_by_the_next_question_and_it_is_offered_first(engine, folder):
    file = Path("model_identity.txt")
    file.write_text("You are Crumb.\n")
    picked = Picked(identity=identities.OWN)
    assert "You are Crumb." in engine.render(Request([{"role": "user", "content": "Hi"}], variant_of(picked, folder)))
    file.write_text("You are Otto.\n")
    assert "You are Otto." in engine.render(Request([{"role": "user", "content": "Hi"}], variant_of(picked, folder)))
    app = SimpleNamespace(engine=engine, identities=folder, db=folder / "x.db")
    assert picker.first_picks(app, 3, "en")[1] == Picked(identity=identities.OWN, mode="first_turn")
