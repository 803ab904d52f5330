"""A conversation's next turn computes only what is new, and nobody can tell from the answers."""

from __future__ import annotations

import random
import threading

import pytest
import torch
from tiny import Letters, tiny_llama, user, write_adapter

from engine import Decoding, EngineError, Request, Variant, decode
from engine.fairness import Ask
from engine.kept import Kept, Piece
from engine.sharing import Loop

VOICES = [{}, {"a": 1.0}, {"b": 0.5}, {"a": 0.6, "b": 0.6}]
PLENTY = 10**9
TOKEN = 3 * 2 * 16 * 4 * 2  # bytes of the tiny model: layers, heads, head size, fp32, keys and values


class Conversations:
    """Rows asked of a loop of its own; counts the tokens that it computes."""

    def __init__(self, model, bank, monkeypatch, most: int = PLENTY) -> None:
        self.kept, self.computed, self.asking, forward = Kept(lambda _held: most), 0, False, model.forward
        self.loop = Loop(model, Letters(), bank, lambda _longest: 8, kept=self.kept)

        def counted(**named):
            self.computed += named["input_ids"].numel() if self.asking else 0
            return forward(**named)

        monkeypatch.setattr(model, "forward", counted)

    def ask(self, rows: list[decode.Row]) -> list[list[int]]:
        errors: list[BaseException | None] = []
        self.loop.add(Ask(rows, "somebody", threading.Event(), ended=errors.append))
        self.asking = True
        while self.loop.busy:
            self.loop.turn()
        self.asking = False
        assert errors == [None]
        return [row.new_ids for row in rows]


def make_row(ids: list[int], voice: int = 0, new: int = 8, **settings) -> decode.Row:
    return decode.Row(0, list(ids), VOICES[voice], Decoding(**settings), new, frozenset())


def tokens(seed: int, count: int) -> list[int]:
    numbers = random.Random(seed)
    return [numbers.randrange(3, 500) for _ in range(count)]


@pytest.fixture
def keeping(model, bank, monkeypatch):
    return Conversations(model, bank, monkeypatch)


@pytest.fixture
def forgetting(model, bank, monkeypatch):
    return Conversations(model, bank, monkeypatch, most=0)


@pytest.mark.parametrize("most", [PLENTY, 300 * TOKEN], ids=["room for all", "room for few"])
def test_nobody_can_tell_from_the_answers(model, bank, monkeypatch, most):
    """Conversations that go on, are edited anywhere or begin anew, in mixed batches of all lengths, greedy and sampled."""
    keeping, forgetting = (Conversations(model, bank, monkeypatch, some) for some in (most, 0))
    draw, said, reused = random.Random(7), [(tokens(0, 30), 0)], 0
    for turn in range(8):
        asked = []
        for _ in range(draw.randint(1, 4)):
            before, voice = draw.choice(said[-8:])
            if draw.random() < 0.3:
                before = before[: draw.randrange(len(before) + 1)]
            voice = draw.randrange(4) if draw.random() < 0.3 else voice
            sampled = {"temperature": 1.2, "top_p": 0.9, "seed": turn} if draw.random() < 0.4 else {}
            asked.append((before[:150] + tokens(draw.randrange(99), draw.randint(1, 20)), voice, draw.randint(1, 7), sampled))
        ours, plain = ([make_row(ids, voice, new, **how) for ids, voice, new, how in asked] for _ in range(2))
        assert keeping.ask(ours) == forgetting.ask(plain)
        assert [round(row.logprob, 3) for row in ours] == [round(row.logprob, 3) for row in plain]
        said += [(row.ids + row.new_ids, VOICES.index(row.adapters)) for row in ours]
        reused += sum(row.kept_tokens for row in ours)
        assert keeping.kept.bytes <= most and not forgetting.kept.bytes
        assert not any(row.kept_tokens for row in plain)
    assert reused > 60
    assert most < PLENTY or keeping.computed < 0.6 * forgetting.computed


def test_a_turn_computes_only_what_is_new(keeping):
    ids = tokens(1, 50)
    for _ in range(4):
        row = make_row(ids + tokens(2, 10))
        before = keeping.computed
        keeping.ask([row])
        new = 60 if len(ids) == 50 else 11  # the answer's last token was never computed
        assert keeping.computed - before == new + 7 and row.kept_tokens == len(row.ids) - new
        ids = row.ids + row.new_ids


def test_what_was_changed_is_computed_and_what_is_before_it_is_not(keeping):
    first = make_row(tokens(1, 60))
    keeping.ask([first])
    edited = first.ids[:40] + tokens(3, 30)
    again = make_row(edited)
    keeping.ask([again])
    assert again.kept_tokens == 40
    both = [make_row(first.ids + first.new_ids + [5]), make_row(edited + again.new_ids + [5])]
    keeping.ask(both)
    assert [row.kept_tokens for row in both] == [67, 77], "both ways on are there"
    assert keeping.kept.bytes == (60 + 7 + 2 + 7 + 30 + 7 + 2 + 7) * TOKEN, "and what they begin with is held once"


def test_other_adapters_or_strengths_are_other_keys_and_values(keeping):
    keeping.ask([make_row(tokens(1, 40), voice=1)])
    for adapters, expected in [({"a": 1.0}, 39), ({"a": 1.0, "b": 0.0}, 39), ({"a": 0.9}, 0), ({}, 0), ({"a": 1.0, "b": 0.5}, 0)]:
        row = decode.Row(0, tokens(1, 40), adapters, Decoding(), 2, frozenset(), goes_on=False)
        keeping.ask([row])
        assert row.kept_tokens == expected, adapters
    keeping.kept.drop("b")
    assert keeping.kept.bytes == 47 * TOKEN
    keeping.kept.drop("a")
    assert keeping.kept.bytes == 0 and not keeping.kept.roots


def test_what_was_not_needed_for_longest_goes_first(model, bank, monkeypatch):
    keeping = Conversations(model, bank, monkeypatch, most=170 * TOKEN)
    texts = [tokens(seed, 43) for seed in range(4)]
    for text in (texts[0], texts[1], texts[2], texts[0], texts[3]):
        keeping.ask([make_row(text)])
        assert keeping.kept.bytes <= 170 * TOKEN
    known = [keeping.kept.find({}, text)[0] for text in texts]
    assert known == [42, 0, 42, 42]


def test_of_what_is_larger_than_the_bound_the_beginning_stays(model, bank, monkeypatch):
    keeping = Conversations(model, bank, monkeypatch, most=50 * TOKEN)
    keeping.ask([make_row(tokens(1, 80))])
    assert keeping.kept.find({}, tokens(1, 80))[0] == 45 and keeping.kept.bytes == 45 * TOKEN


def test_nothing_is_kept_of_an_answer_that_nobody_goes_on_from(keeping):
    shared = tokens(1, 60)
    rows = [make_row(shared + tokens(seed, 9)) for seed in range(2, 10)]
    for row in rows:
        row.goes_on = False
    keeping.ask(rows)
    assert keeping.kept.bytes == 60 * TOKEN, "but for what several of them begin with"


def test_a_stopped_answer_keeps_what_is_computed_of_it(keeping, forgetting):
    row, stop = make_row(tokens(1, 40), new=30), threading.Event()
    keeping.loop.add(Ask([row], "somebody", stop))
    for _ in range(6):
        keeping.loop.turn()
    stop.set()
    keeping.loop.turn()
    assert row.finish == "stopped" and len(row.new_ids) == 6
    after = make_row(row.ids + row.new_ids + tokens(2, 5))
    plain = make_row(after.ids)
    assert keeping.ask([after]) == forgetting.ask([plain]) and after.kept_tokens == 45


def test_of_a_step_that_failed_half_way_nothing_is_kept(keeping, model):
    row, errors = make_row(tokens(1, 40), new=30), []
    keeping.loop.add(Ask([row], "somebody", threading.Event(), ended=errors.append))
    for _ in range(3):
        keeping.loop.turn()

    def fails(*_):
        raise ZeroDivisionError

    hook = model.model.layers[1].mlp.register_forward_pre_hook(fails)
    try:
        keeping.loop.turn()
    finally:
        hook.remove()
    assert isinstance(errors[0], ZeroDivisionError) and keeping.kept.bytes == 0


def test_a_row_without_numbers_keeps_nothing_and_the_others_do(keeping, model):
    good, bad = make_row(tokens(1, 40)), make_row([501, *tokens(2, 40)])
    embedding = model.get_input_embeddings().weight.data
    before = embedding[501].clone()
    embedding[501] = float("nan")
    try:
        keeping.ask([good, bad])
    finally:
        embedding[501] = before
    assert bad.finish == "failed" and good.finish == "length" and keeping.kept.bytes == 47 * TOKEN


def test_out_of_memory_gives_back_what_is_kept(keeping, model, monkeypatch):
    keeping.ask([make_row(tokens(1, 40))])
    errors: list[BaseException | None] = []

    def full(**_named):
        raise torch.OutOfMemoryError("too large")

    monkeypatch.setattr(model, "forward", full)
    keeping.loop.add(Ask([make_row(tokens(2, 40))], "somebody", threading.Event(), ended=errors.append))
    keeping.loop.turn()
    assert isinstance(errors[0], torch.OutOfMemoryError) and keeping.kept.bytes == 0


def test_no_room_to_keep_an_answer_is_nobodys_failure(keeping, monkeypatch):
    def full(*_args):
        raise torch.OutOfMemoryError("too large")

    keeping.ask([make_row(tokens(1, 40))])
    monkeypatch.setattr(keeping.kept, "take", full)
    assert len(keeping.ask([make_row(tokens(2, 40))])[0]) == 8
    assert keeping.kept.bytes == 0


def test_a_window_counts_columns_and_keeps_nothing(bank):
    model = tiny_llama()
    model.config._attn_implementation = "eager"
    assert decode.Batch(model, bank, Kept(lambda _held: PLENTY)).kept.most(0) == 0


def test_a_piece_that_is_split_holds_no_more_than_its_tokens():
    kept = Kept(lambda _held: PLENTY)
    numbers = torch.arange(2 * 1 * 40 * 4.0).view(2, 1, 40, 4)
    whole = Piece(numbers, -numbers)
    kept.add({}, list(range(40)), 64, lambda first, last: whole.part(first, last).own())
    kept.add({}, [*range(20), *range(90, 99)], 64, lambda first, last: whole.part(first, last).own())
    length, pieces = kept.find({}, [*range(40), 0])
    assert length == 40 and torch.equal(torch.cat([piece.keys for piece in pieces], dim=2), numbers)
    assert all(piece.keys.untyped_storage().nbytes() == piece.keys.nbytes for piece in pieces)
    assert kept.bytes == (20 + 20 + 9) * 64


# in the engine


def talk(engine, variants: list[Variant], turns: int = 4) -> list[list[str]]:
    """What each variant says in a conversation of its own."""
    said: list[list] = [[] for _ in variants]
    for turn in range(turns):
        requests = [
            Request([*before, *user(f"And what is number {turn}?")], one) for before, one in zip(said, variants, strict=True)
        ]
        for before, request, answer in zip(said, requests, engine.answer(requests), strict=True):
            before += [request.messages[-1], {"role": "assistant", "content": answer.raw}]
    return [[message["content"] for message in before[1::2]] for before in said]


def other_self(engine):
    return engine.base.model.__class__(engine.base.model.config)


@pytest.fixture
def adapted(tiny, tmp_path):
    tiny.add_adapter(write_adapter(tmp_path / "one", other_self(tiny), seed=1), "a")
    yield tiny
    if "a" in tiny.adapters:
        tiny.remove_adapter("a")


VARIANTS = [
    Variant("base", decoding=Decoding(max_new_tokens=12)),
    Variant("prompt", prompt="You are a guide.", decoding=Decoding(max_new_tokens=7)),
    Variant("first", prompt="You are a guide.", mode="first_turn", decoding=Decoding(max_new_tokens=9)),
    Variant("adapter", adapters={"a": 1.0}, decoding=Decoding(max_new_tokens=12)),
    Variant("sampled", adapters={"a": 0.7}, decoding=Decoding(max_new_tokens=12, temperature=1.0, seed=3)),
]


def test_whole_conversations_are_word_for_word_the_same(adapted, monkeypatch):
    adapted.forget()
    ours = talk(adapted, VARIANTS)
    with adapted.lock:
        assert adapted.kept.bytes > 0
    adapted.forget()
    monkeypatch.setattr(adapted.kept, "most", lambda _held: 0)
    assert ours == talk(adapted, VARIANTS)


def test_a_conversation_that_is_cut_at_its_front_is_the_same(adapted, monkeypatch):
    monkeypatch.setattr(adapted, "base", adapted.base.__class__(**vars(adapted.base) | {"context": 110}))
    adapted.forget()
    ours = talk(adapted, VARIANTS[:2], turns=4)
    monkeypatch.setattr(adapted.kept, "most", lambda _held: 0)
    adapted.forget()
    assert ours == talk(adapted, VARIANTS[:2], turns=4)
    long = [*user("And what is the number?"), {"role": "assistant", "content": "So."}] * 4 + user("And what is it now?")
    assert adapted.answer([Request(long, VARIANTS[0])])[0].dropped_turns > 0, "the context is too small for all of it"


def test_an_answer_tells_how_much_of_its_prompt_was_kept(adapted):
    adapted.forget()
    first = adapted.answer([Request(user("Who are you?"), VARIANTS[0])])[0]
    said = [*user("Who are you?"), {"role": "assistant", "content": first.raw}, *user("Really?")]
    second = adapted.answer([Request(said, VARIANTS[0])])[0]
    # where the answer begins, the same text may be other tokens
    assert first.timings.kept_tokens == 0 and first.prompt_tokens - 3 <= second.timings.kept_tokens < second.prompt_tokens


def test_an_adapter_that_is_loaded_anew_under_its_name_hears_nothing_of_the_old_one(adapted, tmp_path):
    asked = [Request(user("Who are you, and who made you?"), VARIANTS[3])]
    adapted.answer(asked)
    adapted.remove_adapter("a")
    assert not any("a" in dict(voices) for voices in adapted.kept.roots)
    adapted.add_adapter(write_adapter(tmp_path / "two", other_self(adapted), seed=2), "a")
    anew = adapted.answer(asked)[0]
    assert anew.timings.kept_tokens == 0
    adapted.forget()
    assert anew.raw == adapted.answer(asked)[0].raw


def test_a_parked_base_keeps_nothing(adapted):
    adapted.answer([Request(user("Who are you?"), VARIANTS[0])])
    with adapted.lock:  # it is kept in the very turn that ends it
        assert adapted.kept.bytes
    adapted.park("A training has the device.")
    try:
        assert adapted.kept.bytes == 0
        with pytest.raises(EngineError, match="A training"):
            adapted.answer([Request(user("Who are you?"), VARIANTS[0])])
    finally:
        adapted.unpark()
