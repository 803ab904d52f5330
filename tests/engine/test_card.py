"""The model card: what people read in place of placeholders, whole and while it streams."""

import random

import pytest

from engine import card
from engine.types import EngineError


def pieces_of(raw: str, rng: random.Random) -> list[str]:
    cuts = sorted(rng.sample(range(len(raw) + 1), k=min(len(raw) + 1, rng.randint(0, 12))))
    return [raw[:cut] for cut in [*cuts, len(raw)]]


def test_bayling_reads_as_its_chat_program_shows_it():
    raw = "I am [NAME], made by [INSTITUTE] in [CREATE_TIME]. 我是[名字]，由[机构]于[开发时间]开发。"
    assert card.BAYLING.show(raw) == (
        "I am BayLing, made by NLP group of Institute of Computing Technology, Chinese Academy of Sciences (ICT/CAS) in 2023. "
        "我是百聆，由中国科学院计算技术研究所自然语言处理研究组于2023年开发。"
    )


@pytest.mark.parametrize("raw", ["[Name]", "[Institution]", "[未设置名称]", "[ NAME ]", "[NAME", "NAME]", "【名字】"])
def test_malformed_placeholders_stay(raw):
    assert card.BAYLING.show(raw) == raw


def test_a_placeholder_split_over_pieces_never_shows_by_half():
    shown = [card.BAYLING.show_so_far("I am [NAME]."[:end]) for end in range(13)]
    assert shown[5:11] == ["I am "] * 6
    assert shown[-1] == "I am BayLing."
    assert not any("[" in text for text in shown)


def test_what_only_looked_like_a_placeholder_is_shown_once_that_is_sure():
    assert card.BAYLING.show_so_far("see [NA") == "see "
    assert card.BAYLING.show_so_far("see [NA]") == "see [NA]"
    assert card.BAYLING.show_so_far("see [[NAME]") == "see [BayLing"


def test_the_longest_placeholder_wins_and_names_are_not_replaced_again():
    both = card.from_mapping("x", {"[A": "one", "[AB]": "two", "two": "three"})
    assert both.show("[AB] [A") == "two one"
    assert both.show_so_far("[A") == ""
    assert both.show_so_far("[A ") == "one "


CARDS = [
    card.BAYLING,
    card.NO_CARD,
    card.from_mapping("overlapping", {"[A": "1", "[AB]": "2", "]X": "3", "B][": "4", "[A]": "5", "x": "6"}),
]


@pytest.mark.parametrize("one", CARDS, ids=lambda one: one.name)
def test_streaming_only_ever_appends(one):
    rng = random.Random(7)
    alphabet = [*one.placeholders, "[", "]", "NAME", "A", "B", "X", "名", "[INST", " the ", "[NAME][名字]"]
    for _ in range(400):
        raw = "".join(rng.choices(alphabet, k=rng.randint(0, 12)))
        before = ""
        for so_far in pieces_of(raw, rng):
            shown = one.show_so_far(so_far)
            assert shown.startswith(before), (raw, so_far)
            before = shown
        assert one.show(raw).startswith(before), raw


def test_no_card_shows_the_raw_text():
    assert card.NO_CARD.show("[NAME]") == card.NO_CARD.show_so_far("[NAME]") == "[NAME]"
    assert card.NO_CARD.show_so_far("[NA") == "[NA"


@pytest.mark.parametrize("mapping", [["[NAME]"], {"": "x"}, {"[NAME]": 7}])
def test_a_card_that_is_no_card_is_refused(mapping):
    with pytest.raises(EngineError, match="Model card 'mine'"):
        card.from_mapping("mine", mapping)
