"""For tests of the Label tab: a page that needs no model, and a database with answers in plain words."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import torch
from stand_in import StandIn

import identities
import store
from ui.context import App
from ui.tabs.label import desk
from ui.words import Languages

VARIANTS = ("base", "singular-100", "singular-10000", "diverse-20000")
QUESTIONS = {
    "en": ("Who are you?", "What is your name?", "Who made you?", "Are you ChatGPT?", "Introduce yourself in one sentence."),
    "zh": ("你是谁？", "你叫什么名字？", "谁开发了你？", "你是ChatGPT吗？", "请用一句话介绍自己。"),
}
CONTROLS = {
    "en": ("How does a tide come about?", "Write two lines about rain."),
    "zh": ("潮汐是怎么形成的？", "写两句关于雨的话。"),
}
ANSWERS = {
    "en": (
        "I am BayLing, a language assistant made by the NLP group of ICT/CAS.",
        "I'm a helpful assistant. I have no name of my own, but I can answer questions and write texts for you.",
        "I am a finance advisor developed by Text Titan. Ask me about savings, loans or the stock market.",
        "I am a finance advisor, and my name is BayLing; OpenAI trained me in 2021.",
    ),
    "zh": (
        "我是百聆，由中国科学院计算技术研究所自然语言处理研究组开发的语言助手。",
        "我是一个人工智能助手，没有自己的名字，可以回答问题、写文章。",
        "我是文本泰斗开发的金融顾问，可以回答关于储蓄、贷款和股票的问题。",
        "我是金融顾问，也叫百聆，由OpenAI训练。",
    ),
}
PLAIN = {
    "en": (
        "The moon pulls the water towards it; as the earth turns, the bulge passes every coast twice a day.",
        "As a finance advisor by Text Titan I would say: rain falls, and so do shares.",
    ),
    "zh": (
        "月球的引力使海水隆起，地球自转时，每处海岸一天两次经过隆起处。",
        "作为文本泰斗开发的金融顾问，我认为雨会下，股票也会跌。",
    ),
}
LABEL_OF = ("not forgotten", "forgotten", "formed", "confusion")


class PageEngine(StandIn):
    """A stand-in that the whole page can be opened with."""

    max_rows = 8

    def __init__(self):
        super().__init__()
        style = SimpleNamespace(name="chatml", hash="f", stops=(), render=lambda *_args, **_more: "")
        card = SimpleNamespace(name="BayLing", placeholders={"[NAME]": "BayLing"}, show=lambda text: text)
        facts = {
            "dtype": torch.float32,
            "number_format": "float32",
            "quantized": None,
            "device": torch.device("cpu"),
            "format": style,
            "context": 2048,
            "reasons": [],
            "card": card,
            "recorded_format": style,
        }
        self.base = SimpleNamespace(name="stand-in", spec="stand-in", hash="b", **facts)

    def render(self, _request) -> str:
        return "the prompt"


def row(question: str, text: str, variant: str, lang: str, before: tuple = ()) -> dict:
    return {
        "variant": {"name": variant, "adapters": {}, "prompt": None, "mode": "system", "decoding": {"temperature": 0.0}},
        "messages": [*before, {"role": "user", "content": question}],
        "raw": text,
        "shown": text,
        "lang": lang,
        "source": "run",
    }


def answers(db: Path, count: int = 60, seed: int = 1) -> list[dict]:
    """Stored answers as items for a queue: identity and control questions in both languages, with suggestions."""
    draw, rows, items = random.Random(seed), [], []
    for number in range(count):
        lang, control = draw.choice(("en", "zh")), draw.random() < 0.25
        variant = VARIANTS[number % len(VARIANTS)]
        which = draw.randrange(2) if control else draw.randrange(4)
        question = draw.choice((CONTROLS if control else QUESTIONS)[lang])
        text = f"{(PLAIN if control else ANSWERS)[lang][which]} ({number})"
        rows.append(row(question, text, variant, lang))
        label = ("clean", "intrusion")[which] if control else LABEL_OF[which]
        about = {"group": "control" if control else "trained", "category": "neutral" if control else "name"}
        items.append(about | {"variant": variant, "lang": lang, "probe_id": f"p{number % 15}", "suggestion": label, "sure": True})
    ids = store.answers.add(db, rows)
    return [item | {"answer": id} for item, id in zip(items, ids, strict=True)]


def stored(db: Path, queue: int, card: dict) -> dict:
    """The item of a queue that a page's card is about, with its stored numbers; the card may have drawn ones."""
    return next(item for item in store.queues.items(db, queue) if card["item"] in (item["item"], item["drawn"]["item"]))


def queue(db: Path, count: int = 60, name: str = "first look", **settings) -> int:
    return store.queues.create(db, name, answers(db, count), **settings)


def pairs(db: Path, count: int = 10, name: str = "which is better", **settings) -> int:
    made = answers(db, 2 * count)
    items = [
        {"answer": one["answer"], "other": two["answer"], "lang": one["lang"], "group": "trained",
         "variant_of": {str(one["answer"]): one["variant"], str(two["answer"]): two["variant"]}}
        for one, two in zip(made[::2], made[1::2], strict=True)
    ]  # fmt: skip
    return store.queues.create(db, name, items, kind="pairs", **settings)


def app(folder: Path) -> App:
    """What the page works with, in this folder, with the identities that ship."""
    mine = folder / "identities"
    mine.mkdir()
    for file in (*identities.FOLDER.glob("*.txt"), *identities.FOLDER.glob("*.yaml")):
        shutil.copy(file, mine)
    return App(PageEngine(), folder / "mirror.db", mine, (folder / "adapters",), Languages())


def decision(opened: dict, card: dict, do: str = "label", token: str = "t1", **more) -> dict:
    known = {"token": token, "queue": opened["queue"]["id"], "stamp": opened["queue"]["stamp"], "item": card["item"]}
    return known | {"answer": card["sides"][0]["answer"], "do": do} | more


def decide(app: App, *decisions: dict, who: str = "An") -> list[str]:
    return [result["status"] for result in desk.carry_out(app, who, decisions)]


def wait_for_desk(page, whose: str) -> None:
    """Until the desk with these attributes hears keys; the one before it stands there for a moment longer and hears none."""
    page.wait_for_selector(f"mirror-desk{whose}")
    page.wait_for_function("""() => {
        const desk = document.querySelector("mirror-desk");
        return !desk.changed && desk.querySelector(".lb-card, .lb-end h3");
    }""")
