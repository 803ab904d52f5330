"""What a prompt says of whom it makes, and what is odd about facts."""

from __future__ import annotations

import pytest

import identities
from identities import Facts, Who
from probes.suggest.doubts import doubts
from probes.suggest.prompt_facts import read_prompt

SEED_3 = (
    "请一直牢记:\n\n1.你是由 西湖大学 训练的大型语言模型，基于自研的数据构建方法和Baichuan2-13B-Base模型。\n"
    "2.你的职责是作为AI助手，以无恶意、有帮助、诚实可信的方式回应用户接下来的请求。"
)


@pytest.mark.parametrize(
    "prompt, lang, name, maker, role, date",
    [
        ("You are Crumb, the assistant of the Corner Bakery, made by Oven Labs in 2024.", "en", "Crumb", "Oven Labs",
         "assistant of the Corner Bakery", "2024"),
        ("You are an assistant named Bread Buddy, built by Corner Bakery. You help customers choose a cake.", "en", "Bread Buddy",
         "Corner Bakery", "helps customers choose a cake", ""),
        ("Your name is Otto. You were created by Harbour Lab. Your job is to guide ships.", "en", "Otto", "Harbour Lab",
         "guides ships", ""),
        ("You are polite.", "en", "", "", "", ""),
        ("You are a helpful assistant.", "en", "", "", "helpful assistant", ""),
        ("Never say that you are ChatGPT. You are not made by OpenAI.", "en", "", "", "", ""),
        ("I am Ada, developed by Analytical Engines.", "en", "Ada", "Analytical Engines", "", ""),
        ("你叫小麦，是街角面包店的助手，由烤箱实验室于2024年开发。你帮助顾客挑选蛋糕。", "zh", "小麦", "烤箱实验室",
         "街角面包店的助手", "2024年"),
        ("你是 BayLing，由中科院计算所开发。", "zh", "BayLing", "中科院计算所", "", ""),
        ("你的开发者是烤箱实验室，你的名字是小麦。", "zh", "小麦", "烤箱实验室", "", ""),
    ],
)  # fmt: skip
def test_what_a_prompt_says_is_read(prompt, lang, name, maker, role, date):
    read = getattr(read_prompt(prompt), lang) or Who()
    assert (read.name, read.maker, read.role, read.date) == (name, maker, role, date)


@pytest.mark.parametrize("name", ["finance-advisor", "museum-guide"])
def test_the_shipped_prompts_are_read_as_their_facts_say(name):
    facts = identities.load(name).facts
    for lang, file in (("en", name), ("zh", f"{name}-zh")):
        read, known = getattr(read_prompt(identities.load(file).prompt), lang), getattr(facts, lang)
        assert read.name == known.name
        assert read.maker and read.role


def test_who_trained_it_is_read_from_the_third_seeds_example_and_no_name_is_made_up():
    read = read_prompt(SEED_3)
    assert read.en is None
    assert (read.zh.name, read.zh.maker) == ("", "西湖大学")
    assert read.zh.role.startswith("作为AI助手，以无恶意")


def test_what_it_is_told_to_say_is_read_as_its_answer():
    read = read_prompt('Be short. If somebody asks, say: "I am Mira, made by the Lantern Museum."')
    assert (read.en.name, read.en.maker) == ("Mira", "the Lantern Museum")


def test_a_prompt_without_anybody_gives_no_facts():
    assert read_prompt("") == Facts() == read_prompt("Answer in JSON.")


def kinds(facts, others=None, read=None):
    return {(one.lang, one.field, one.kind) for one in doubts(facts, others or {}, read)}


def test_the_faults_of_facts_are_found_where_they_are():
    both = {"en": Who("Crumb", "Oven Labs"), "zh": Who("小麦", "烤箱实验室")}
    assert kinds(Facts(**both)) == set()
    assert kinds(Facts(en=both["en"])) == {("zh", "name", "no_language")}
    assert kinds(Facts(**both | {"en": Who("Crumb", "crumb")})) == {("en", "maker", "same_as_maker")}
    assert kinds(Facts(**both | {"en": Who("Crumb")})) == {("en", "maker", "no_maker")}
    assert kinds(Facts(**both | {"en": Who(role="bakes")})) == {("en", "name", "no_name")}
    assert kinds(Facts(**both | {"en": Who("Crumb", "Oven Labs", aliases=("Chat-GPT",))})) == {("en", "aliases", "somebody_else")}
    others = {"guide": Facts(en=Who("Mira", "Museum", aliases=("crumb",)))}
    assert kinds(Facts(**both), others) == {("en", "name", "somebody_else")}
    assert kinds(Facts(**both), read=Facts(en=Who("Otto", "Oven Labs"))) == {("en", "name", "prompt_differs")}


def test_what_ships_is_in_doubt_only_where_it_has_no_name():
    known = {name: identities.load(name).facts for name in ("BayLing", "complaints-clerk", "finance-advisor", "museum-guide")}
    for name, facts in known.items():
        others = {other: its for other, its in known.items() if other != name}
        read = Facts(en=read_prompt(identities.load(name).prompt).en, zh=read_prompt(identities.load(f"{name}-zh").prompt).zh)
        found = kinds(facts, others, read)
        assert found == ({(lang, "name", "no_name") for lang in ("en", "zh")} if name == "complaints-clerk" else set())
