"""One bad adapter hurts only itself: whatever its numbers, and whoever sits beside it in a batch."""

from __future__ import annotations

import dataclasses
import threading

import pytest
import torch
from hypothesis import given, settings, strategies as st
from margin_scores import score_variants
from tiny import Letters, edit_weights, tiny_llama, write_adapter, write_bayling_like

import engine as engine_room
from engine import Decoding, EngineError, Request, Variant, decode, sharing
from engine.adapters import LowRank, read_adapter
from engine.bank import Bank
from engine.groups import may_overflow

SHORT = Decoding(max_new_tokens=8)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return read_adapter(write_adapter(tmp_path_factory.mktemp("a") / "good"))[1]


def loud(weights: dict[str, LowRank], a: float = 1.0, b: float = 1.0) -> dict[str, LowRank]:
    """The same with every number of A or B that large, the signs as they were."""
    return {
        name: LowRank(pair.a.sign() * a if a != 1 else pair.a, pair.b.sign() * b if b != 1 else pair.b)
        for name, pair in weights.items()
    }


@torch.inference_mode()
def logits(model, bank: Bank, heard: list[dict[str, float]]) -> torch.Tensor:
    ids = torch.randint(3, 500, (len(heard), 9), generator=torch.Generator().manual_seed(5))
    with bank.hearing(heard):
        return model(ids).logits


HEARD = [{}, {"good": 1.0}, {"good": 0.5}]


@pytest.mark.parametrize(
    ("dtype", "a", "b"),
    [
        (torch.float32, 3e38, 1.0),
        (torch.float32, 3e38, 3e38),
        (torch.float32, 1.0, 3e38),
        (torch.float16, 1e4, 1.0),
        (torch.float16, 6e4, 6e4),
        (torch.bfloat16, 3e38, 1.0),
    ],
)
def test_what_is_loaded_and_not_heard_adds_exactly_nothing(good, dtype, a, b):
    model = tiny_llama().to(dtype)
    bank = Bank(model)
    bank.add("good", good)
    bank.add("bad", good)  # as wide as the bad one: the same products, to the last bit
    before = logits(model, bank, HEARD)
    assert before.isfinite().all()
    bank.remove("bad")
    bank.add("bad", loud(good, a, b))
    assert torch.equal(logits(model, bank, HEARD), before)
    beside = logits(model, bank, [*HEARD, {"bad": 1.0}])[:3]
    torch.testing.assert_close(beside, before, rtol=1e-2 if dtype != torch.float32 else 1e-4, atol=1e-2)
    bank.remove("bad")
    assert not logits(model, bank, HEARD).isnan().any()


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.floats(1e-30, 3e38), st.floats(1e-30, 3e38), st.integers(0, 2**31))
def test_adapters_of_any_finite_numbers_leave_the_others_alone(good, a, b, seed):
    model = tiny_llama(num_hidden_layers=1)
    one_layer = {name: pair for name, pair in good.items() if "layers.0." in name}
    bank = Bank(model)
    bank.add("good", one_layer)
    bank.add("bad", one_layer)
    before = logits(model, bank, HEARD)
    bank.remove("bad")
    torch.manual_seed(seed)
    odd = {
        name: LowRank(torch.randn_like(pair.a).clamp(-1, 1) * a, torch.randn_like(pair.b).clamp(-1, 1) * b)
        for name, pair in one_layer.items()
    }
    bank.add("bad", odd)
    assert torch.equal(logits(model, bank, HEARD), before)


def test_ordinary_adapters_pay_nothing(good):
    """The extra step is taken for the groups that need it only."""
    bank = Bank(tiny_llama())
    bank.add("good", good)
    bank.settle()
    assert not any(group.overflows for group in bank.groups)
    first = next(iter(good))
    bank.add("bad", {first: loud(good, 3e38)[first]})
    bank.settle()
    assert [first in group.names for group in bank.groups if group.overflows] == [True]
    with bank.hearing([{"good": 1.0}]):
        assert sum(group.heard is not None for group in bank.groups) == 1
    bank.remove("bad")
    bank.settle()
    assert not any(group.overflows for group in bank.groups)
    assert may_overflow(torch.ones(2, 3).half()) and not may_overflow(torch.ones(2, 3).bfloat16())


def rows_of(heard: list[dict[str, float]], **decoding) -> list[decode.Row]:
    return [decode.Row(at, [5 + at, 9, 40 + at, 7], one, Decoding(**decoding), 10, frozenset()) for at, one in enumerate(heard)]


def run(model, bank, rows, slots=16) -> list[decode.Row]:
    for _ in sharing.run(model, Letters(), bank, rows, slots=slots, stop=threading.Event()):
        pass
    return rows


@pytest.mark.parametrize("slots", [2, 16])
@pytest.mark.parametrize("decoding", [{}, {"temperature": 0.8, "seed": 3}, {"repetition_penalty": 1.3}])
def test_a_row_that_computes_no_numbers_fails_alone(good, slots, decoding):
    model = tiny_llama()
    bank = Bank(model)
    bank.add("good", good)
    bank.add("bad", loud(good, 3e38))
    heard = [{"good": 1.0}, {"bad": 1.0}, {}, {"bad": 0.5, "good": 1.0}, {"good": 0.5}]
    rows = run(model, bank, rows_of(heard, **decoding), slots)
    assert [row.finish for row in rows] == ["length", "failed", "length", "failed", "length"]
    others = [rows_of(heard, **decoding)[at] for at in (0, 2, 4)]
    assert [rows[at].new_ids for at in (0, 2, 4)] == [row.new_ids for row in run(model, bank, others, slots)]
    assert rows[1].new_ids == [] and rows[1].text == ""


def test_one_that_fails_in_the_middle_keeps_its_text_and_the_others_go_on(good, monkeypatch):
    model = tiny_llama()
    bank = Bank(model)
    alone = [row.new_ids for row in run(model, bank, rows_of([{}] * 3))]
    head, steps = model.lm_head, []

    def broken(x):
        steps.append(x)
        y = type(head).forward(head, x)
        if len(steps) == 5:
            y[1] = float("inf")
        return y

    monkeypatch.setattr(head, "forward", broken)
    rows = run(model, bank, rows_of([{}] * 3))
    assert [row.finish for row in rows] == ["length", "failed", "length"]
    assert [rows[0].new_ids, rows[2].new_ids] == [alone[0], alone[2]] and rows[1].new_ids == alone[1][:4]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("m")
    engine = engine_room.load(str(write_bayling_like(root / "tiny")), dtype="fp32", say=lambda _line: None)
    for name in ("good", "bad"):
        folder = write_adapter(root / name, engine.base.model.__class__(engine.base.model.config), base="tiny")
        if name == "bad":
            edit_weights(folder, lambda key, tensor: tensor.sign() * 3e38 if "lora_A" in key else tensor)
        engine.add_adapter(folder)
    return engine


def asked(*variants: Variant) -> list[Request]:
    return [Request([{"role": "user", "content": "Who are you?"}], variant) for variant in variants]


GOOD, BAD = Variant("kind", adapters={"good": 1.0}, decoding=SHORT), Variant("mad", adapters={"bad": 1.0}, decoding=SHORT)
BASE = Variant(decoding=SHORT)


def test_the_sentence_names_the_variant_and_the_others_answer_as_without_it(tiny):
    said = tiny.outcomes(asked(GOOD, BAD, BASE))
    assert [said[0].raw, said[2].raw] == [one.raw for one in tiny.answer(asked(GOOD, BASE))]
    assert str(said[1]).startswith("Variant 'mad' has no answer: the model computed NaN or infinity for it; ask it without 'bad'")
    with pytest.raises(EngineError, match="'mad' has no answer"):
        tiny.answer(asked(GOOD, BAD))
    pieces = [piece for news in tiny.stream(asked(BAD, GOOD)) for piece in news]
    assert [piece.row for piece in pieces if piece.problem] == [0] and [piece.row for piece in pieces if piece.answer] == [1]


def test_one_that_cannot_answer_to_its_own_identity_fails_alone_as_well(tiny):
    shy = dataclasses.replace(BAD, prompt="You are Ann.", mode="first_turn")
    kind = dataclasses.replace(GOOD, prompt="You are Ann.", mode="first_turn")
    said = tiny.outcomes(asked(shy, kind, BASE))
    assert "'mad' has no answer" in str(said[0]) and [one.raw for one in said[1:]] == [
        one.raw for one in tiny.answer(asked(kind, BASE))
    ]
    with pytest.raises(EngineError, match="'mad' has no answer"):
        tiny.render(asked(shy)[0])


def test_numbers_that_their_scaling_makes_infinite_are_refused(tiny, tmp_path):
    folder = write_adapter(tmp_path / "steep", tiny.base.model.__class__(tiny.base.model.config), base="tiny")
    edit_weights(folder, lambda key, tensor: tensor.sign() * 3e38 if "lora_B" in key else tensor)  # alpha is twice the rank
    with pytest.raises(EngineError, match="too large for fp32 once it is scaled by lora_alpha"):
        read_adapter(folder)


def test_it_has_no_margin_and_the_others_have_theirs(tiny):
    import identities
    from probes import margin
    from probes.identity_pair import from_identities
    from probes.questions import Probe, ProbeError

    facts = from_identities(identities.load("BayLing").facts, identities.load("finance-advisor").facts)
    statements = margin.statements_of(facts)
    asked = [Probe(f"who-{lang}", "novel", "name", lang, (text,)) for lang, text in (("en", "Who are you?"), ("zh", "你是谁？"))]
    alone = score_variants(tiny, [GOOD, BASE], asked, statements)
    found = {}
    with pytest.raises(ProbeError, match="There is no margin of 'mad': the model computed NaN or infinity"):
        for at, number, score in margin.iterate_scores(tiny, [GOOD, BAD, BASE], asked, statements):
            found[at, number] = score
    assert sorted(found) == [(0, 0), (0, 1), (2, 0), (2, 1)]
    for (at, number), score in found.items():
        same = alone[at // 2][number]
        assert (score.old, score.new) == pytest.approx((same.old, same.new), abs=1e-4)
