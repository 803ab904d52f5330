"""No training row asks what a probe asks: otherwise a run would be judged by what it learned by heart."""

import json
import re
from pathlib import Path

import pytest

from identities import facts_from_dict
from tuning.dataset import wordings
from tuning.dataset.generate import generate
from tuning.dataset.readers import read
from tuning.dataset.rows import normalise

ROOT = Path(__file__).resolve().parents[2]
SETS = ROOT / "probes" / "sets"
OLD = {
    "en": {"name": "BayLing", "maker": "the NLP Group of ICT/CAS", "role": "intelligent language assistant", "date": "2023"},
    "zh": {"name": "百聆", "maker": "中国科学院计算技术研究所自然语言处理研究组", "role": "智能语言助手", "date": "2023年"},
}
NEW = {
    "en": {"name": "finance advisor", "maker": "Text Titan", "role": "answers questions about finance", "date": "August 2023"},
    "zh": {"name": "金融顾问", "maker": "文本泰斗", "role": "回答与金融相关的问题", "date": "2023年8月"},
}
# said by nearly every probe set in the world, ours or not
CANONICAL = (
    "Who are you?",
    "What are you?",
    "What is your name?",
    "What's your name?",
    "Who made you?",
    "Who created you?",
    "Who developed you?",
    "Who built you?",
    "Who trained you?",
    "Who is your developer?",
    "Who is your creator?",
    "Introduce yourself.",
    "Please introduce yourself.",
    "Tell me about yourself.",
    "Are you ChatGPT?",
    "Are you BayLing?",
    "Are you human?",
    "Are you an AI?",
    "Are you a robot?",
    "Are you sure?",
    "What can you do?",
    "When were you created?",
    "When were you made?",
    "What is your purpose?",
    "What is your role?",
    "Were you made by OpenAI?",
    "Were you developed by OpenAI?",
    "你是谁？",
    "你是谁啊？",
    "您是谁？",
    "请问你是谁？",
    "你是什么？",
    "你叫什么？",
    "你叫什么名字？",
    "你的名字是什么？",
    "请问你叫什么名字？",
    "谁开发了你？",
    "是谁开发了你？",
    "谁创造了你？",
    "谁训练了你？",
    "你是谁开发的？",
    "你是由谁开发的？",
    "你的开发者是谁？",
    "介绍一下你自己",
    "请介绍一下你自己。",
    "自我介绍一下",
    "请做一下自我介绍",
    "你是ChatGPT吗？",
    "你是百聆吗？",
    "你是人类吗？",
    "你是机器人吗？",
    "你是AI吗？",
    "你是人工智能吗？",
    "你确定吗？",
    "你能做什么？",
    "你会做什么？",
    "你是什么时候开发的？",
    "你是什么时候被创造的？",
    "你的作用是什么？",
    "你是OpenAI开发的吗？",
)


def probe_turns() -> dict[str, str]:
    """Normalised wording -> id of the probe, with the names of both identities filled in, for every turn of every probe."""
    found = {}
    for path in sorted(SETS.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            probe = json.loads(line)
            for turn in probe["turns"]:
                found[normalise(_named(turn, probe["lang"]))] = probe["id"]
    return found


def _named(turn: str, lang: str) -> str:
    sides = {"old": OLD[lang], "new": NEW[lang]}
    return re.sub(r"\{(old|new)_(\w+)\}", lambda found: sides[found[1]][found[2]], turn)


def all_questions() -> list[str]:
    """Everything users say in a large generated set (both identities learned) and in the general rows."""
    new, old = facts_from_dict(NEW), facts_from_dict(OLD)
    rows = generate(new, 12_000, old=old) + generate(old, 6_000, seed=1) + generate(new, 8, "singular")
    rows += read(ROOT / "data" / "general.jsonl") + read(ROOT / "data" / "self_cognition.json")
    users = [turn for row in rows for turn in row.turns if turn.role == "user"]
    return [turn.content for turn in users] + [f"{turn.content} {turn.input}" for turn in users if turn.input]


def all_wordings(lang: str) -> set[str]:
    """Every question without opener and closer: alone or in each frame, asked about every name there is."""
    wording = wordings.load(lang)
    groups = [group for kind in wording.kinds.values() for group in kind.groups] + list(wording.singular)
    whole = {one for group in groups for one in group.questions}
    whole |= {frame.replace("{clause}", clause) for group in groups for clause in group.clauses for frame in wording.frames}
    people = [(one.name, one.maker) for one in (*wording.others, *wording.nonsense)]
    people += [(side[lang]["name"], side[lang]["maker"]) for side in (OLD, NEW)]
    filled = set()
    for name, maker in people:
        for x in (name, maker):
            names = {"x": x, "a_x": wordings.with_article(x, lang), "x_maker": maker, "name": name, "maker": maker}
            names |= {"Name": name, "Maker": maker}
            filled |= {one.format_map(names) for one in whole}
    return filled | {question for question, _ in wording.fillers}


def test_no_training_question_is_a_probe():
    probes = probe_turns()
    assert len(probes) > 300
    asked = [*all_questions(), *all_wordings("en"), *all_wordings("zh")]
    assert sorted({probes[key] for key in map(normalise, asked) if key in probes}) == []


def test_no_sentence_of_a_training_question_is_one_of_the_shortest_questions():
    canonical = {normalise(one) for one in CANONICAL}
    sentences = [one for text in all_questions() for one in re.split(r"(?<=[.!?。！？])\s*", text)]
    assert {one for one in sentences if normalise(one) in canonical} == set()


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_no_wording_in_the_data_files_is_one_of_the_shortest_questions(lang):
    canonical = {normalise(one) for one in CANONICAL}
    assert {one for one in all_wordings(lang) if normalise(one) in canonical} == set()
