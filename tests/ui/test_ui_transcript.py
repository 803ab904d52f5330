"""What a column shows of an answer, and what it never shows."""

from __future__ import annotations

import dataclasses

from stand_in import answer

from engine.types import Decoding, Variant
from ui.conversation import ChatTurn
from ui.transcript import blind_head, column_head, details_html, live_html, turn_html

EVIL = "<script>alert(1)</script> ${1+1} `x` <b>bold</b>"


def test_words_are_shown_as_written_never_as_markup():
    variant = Variant(name=EVIL, identity=EVIL, prompt=EVIL)
    shown = turn_html("en", ChatTurn(EVIL, answer(EVIL, variant=variant, prompt=EVIL)))
    shown += column_head("en", 0, variant, variant, True) + live_html("en", EVIL, EVIL)
    assert "<script>" not in shown and "<b>bold" not in shown
    assert "&lt;b&gt;bold&lt;/b&gt;" in shown


def test_how_it_ended_is_said():
    assert "cut at 2 tokens" in details_html("en", answer("a b", finish="length"))
    assert "stopped by you" in details_html("en", answer("a b", finish="stopped"))
    assert "3 oldest turns left out" in details_html("en", answer("a b", dropped_turns=3))
    assert "5.0 tokens/s" in details_html("en", answer("a b"))  # one token after the first in 0.2 s


def test_placeholders_are_told_apart_from_names():
    assert "placeholders" in details_html("en", answer("[NAME]", shown="BayLing"))
    numbers = dataclasses.replace(answer("a"), hashes={"base": "b", "dtype": "int8 (float32)"})
    assert "b · int8 (float32)" in details_html("en", numbers)
    assert "exactly what is shown" in details_html("en", answer("same"))


def test_a_format_other_than_the_recorded_one_is_visible():
    overridden = answer("x", variant=Variant(format="alpaca"), format="alpaca")
    assert "format alpaca instead of bayling" in details_html("en", overridden, "bayling")
    assert "instead of" not in details_html("en", answer("x", format="bayling"), "bayling")
    assert "format alpaca instead of bayling" in column_head("en", 0, None, Variant(format="alpaca"), False, "bayling")


def test_the_headline_names_who_answered_not_what_is_picked_now():
    answered, picked = Variant("a", adapters={"finance": 0.5}), Variant("b", identity="guide", prompt="You are a guide.")
    head = column_head("en", 0, answered, picked, True)
    assert head.index("finance × 0.5") < head.index("Picker changed") < head.index("guide")
    assert "temperature 0.7" in column_head("en", 0, Variant(decoding=Decoding(temperature=0.7)), answered, False)


def test_hidden_means_words_only():
    variant = Variant("secret", adapters={"secret": 1.0}, identity="secret", prompt="secret")
    before = Variant("other")
    hidden = turn_html("en", ChatTurn("q", answer("words", variant=variant, prompt="secret", finish="length")), True, before)
    assert "words" in hidden
    for given_away in ("secret", "token", "details", "format", "cut"):
        assert given_away not in hidden
    assert "secret" not in blind_head("en", 0)
