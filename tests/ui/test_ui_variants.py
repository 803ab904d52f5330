"""From pickers and scripts to variants, and from variants to words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.types import Decoding, EngineError, Variant
from identities import IdentityError
from ui.variants import Picked, differs, from_plain, headline, plain_name, variant_of


def test_a_picker_left_alone_is_the_base():
    variant = variant_of(Picked())
    assert variant.name == "base" and variant.prompt is None and not variant.adapters and variant.format is None
    assert headline("en", variant)[0] == "Base"


def test_everything_picked_is_in_the_variant():
    picked = Picked("finance", 0.8, "museum-guide", "first_turn", "guide", 0.25, "alpaca", 64, 0.7, 0.9, 40, 1.1, 5)
    variant = variant_of(picked)
    assert variant.adapters == {"finance": 0.8, "guide": 0.25}
    assert variant.mode == "first_turn" and "Lantern Museum" in variant.prompt and variant.format == "alpaca"
    assert variant.decoding == Decoding(64, 0.7, 0.9, 40, 1.1, 5)
    assert variant.name == "finance 0.8 + guide 0.25 + museum-guide (first turn)"
    assert headline("zh-CN", variant) == ("finance × 0.8 + guide × 0.25 · museum-guide", "作为第一轮对话")


def test_an_emptied_number_takes_its_default():
    values = list(vars(Picked()).values())
    values[-1] = None
    assert Picked.read(values).seed == 0


def test_a_blend_with_itself_and_a_missing_identity_are_refused_in_a_sentence():
    with pytest.raises(EngineError, match="twice"):
        variant_of(Picked(adapter="a", second="a"))
    with pytest.raises(IdentityError, match="no identity 'gone'"):
        variant_of(Picked(identity="gone"))


def test_what_greedy_decoding_ignores_is_no_difference():
    base = Variant()
    assert not differs(base, replace(base, name="other", decoding=Decoding(seed=3, top_p=0.5, top_k=9)))
    assert not differs(base, replace(base, mode="first_turn"))
    assert not differs(base, replace(base, adapters={"a": 0.0}))
    assert differs(replace(base, decoding=Decoding(temperature=1)), replace(base, decoding=Decoding(temperature=1, seed=3)))
    assert differs(base, replace(base, adapters={"a": 0.1}))
    # the same name, edited meanwhile
    assert differs(replace(base, identity="x", prompt="one"), replace(base, identity="x", prompt="two"))


def test_a_script_names_as_little_as_it_likes():
    assert from_plain({}).name == "base"
    variant = from_plain(
        {"adapters": ["a"], "identity": "finance-advisor", "mode": "first turn", "decoding": {"max_new_tokens": 5}}
    )
    assert variant.adapters == {"a": 1.0} and variant.mode == "first_turn" and "Text Titan" in variant.prompt
    assert variant.decoding.max_new_tokens == 5
    assert plain_name(from_plain({"prompt": "You are Otto."})) == "unnamed"


@pytest.mark.parametrize(
    "plain, problem",
    [
        ({"adapter": "a"}, "'adapter'"),
        ({"decoding": {"temp": 1}}, "'temp'"),
        ({"decoding": {"temperature": 9}}, "temperature is 9"),
        ({"mode": "shout"}, "'shout'"),
        ({"adapters": {"a": 2}}, "strength 2"),
    ],
)
def test_a_script_s_mistake_is_named(plain, problem):
    with pytest.raises(EngineError, match=problem):
        from_plain(plain)
