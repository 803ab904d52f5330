"""A conversation is fitted to the context as it was one exchange at a time, and costs the same however long it is."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import ClassVar

import pytest
from field_templates import form
from hypothesis import given, settings, strategies as st

from engine import EngineError, Request, Variant, formats, prompts
from engine.prompts import LEAST_ANSWER, Prompt, fit, identity_messages, least_that_fits, render
from engine.types import Decoding

CONTEXT = 200


class Characters:
    """A token a character, which makes every prompt's length plain to see; counts what it is given."""

    bos_token, eos_token, eos_token_id, unk_token_id = "<s>", "</s>", 2, 0
    all_special_tokens = ()  # nothing that is typed can be one
    added_tokens_decoder: ClassVar = {}

    def __init__(self) -> None:
        self.calls, self.read = 0, 0

    def __len__(self) -> int:
        return 0x110000

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict:
        self.calls, self.read = self.calls + 1, self.read + len(text)
        return {"input_ids": [ord(letter) for letter in text]}


def base(context: int = CONTEXT) -> SimpleNamespace:
    return SimpleNamespace(tokenizer=Characters(), context=context)


def slowly(base, chosen, request: Request, first_reply: str | None = None) -> Prompt:
    """The meaning of it: the oldest exchange goes until the rest fits."""
    fixed = identity_messages(request.variant, first_reply)
    turns = list(request.messages)
    if turns[0]["role"] == "system":
        fixed, turns = turns[:1], turns[1:]
    wanted = request.variant.decoding.max_new_tokens
    needed, dropped = min(wanted, base.context // 2), 0
    while True:
        text, ids = render(base.tokenizer, chosen, [*fixed, *turns])
        room = base.context - len(ids)
        if room >= needed:
            return Prompt(chosen, text, ids, dropped, min(wanted, room))
        later = next((at for at, turn in enumerate(turns) if at > 0 and turn["role"] == "user"), None)
        if later is None:
            break
        turns, dropped = turns[later:], dropped + 1
    if room < LEAST_ANSWER:
        raise EngineError("too long")
    return Prompt(chosen, text, ids, dropped, room)


def outcome(how, *given) -> Prompt | str:
    try:
        return how(*given)
    except EngineError as error:
        assert "too long" in str(error)
        return "too long"


TEXTS = st.text("ab \n", min_size=1, max_size=60).filter(str.strip)
EXCHANGES = st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from(["", "", "more", "x" * 30])), max_size=9)
ALL_KINDS = ["bayling", "alpaca", "chatglm", "chatml", "llama2"]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    EXCHANGES,
    TEXTS,
    st.sampled_from(ALL_KINDS),
    st.sampled_from([None, "You are Ann."]),
    st.sampled_from(["system", "first_turn"]),
    st.integers(1, 400),
    st.integers(60, 700),
    st.booleans(),
)
def test_the_prompt_is_the_one_that_dropping_one_by_one_finds(said, last, name, identity, mode, new, context, system):
    messages = [one for question, answer, more in said for one in exchange(question, answer, more)]
    messages += [{"role": "user", "content": last}]
    if system and identity is None:
        messages = [{"role": "system", "content": "Be brief."}, *messages]
    request = Request(messages, Variant(prompt=identity, mode=mode, decoding=Decoding(max_new_tokens=new)))
    chosen, reply = formats.get(name), "I am." if mode == "first_turn" else None
    assert outcome(fit, base(context), chosen, request, reply) == outcome(slowly, base(context), chosen, request, reply)


def exchange(question: str, answer: str, more: str = "") -> list[dict]:
    asked = {"role": "user", "content": question} | ({"input": more} if more else {})
    return [asked, {"role": "assistant", "content": answer}]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.integers(-20, 400), st.data())
def test_the_search_finds_the_least_that_fits_from_any_guess(sizes, most, data):
    """Whatever the first guess: lengths that become less with every exchange that goes, and a preamble that comes and goes."""
    odd = [prompts.JITTER * (size % 2) for size in sizes]
    over = [sum(sizes[at:]) + odd[at] - most for at in range(len(sizes))]
    expected = next((at for at, value in enumerate(over) if value <= 0), len(sizes))
    guess = data.draw(st.integers(0, len(sizes) - 1))
    found = least_that_fits(over.__getitem__, guess, len(sizes))
    near = sum(value > 0 and value <= prompts.JITTER for value in over)
    assert found == expected or near > prompts.LOOKED_BACK


LONG = [one for at in range(10_000) for one in exchange(f"Fact {at}: the sky is blue today.", f"Yes, that is fact {at}.")]


@pytest.mark.parametrize("kind", ["texts", "empty texts", "one huge", "in a template that drops what was said"])
def test_20000_messages_cost_a_few_prompts_of_the_contexts_length(kind, monkeypatch):
    messages, chosen = LONG, formats.get("chatml")
    if kind == "empty texts":
        messages = [{**one, "content": ""} for one in LONG]
    if kind == "one huge":
        messages = [*LONG[:-2], *exchange("x" * 300_000, "Yes.")]
    if kind.startswith("in a template"):
        chosen = formats.Format("last", "{{ messages[-1].content }}|")
    request = Request([*messages, {"role": "user", "content": "Who are you?"}], Variant(decoding=Decoding(max_new_tokens=64)))
    rendered = []
    renders = formats.Format.render
    monkeypatch.setattr(
        formats.Format, "render", lambda self, some, **more: rendered.append(len(some)) or renders(self, some, **more)
    )
    model = base(2048)
    prompt = fit(model, chosen, request)
    assert model.tokenizer.calls == len(rendered) <= 40
    assert sum(rendered) <= 3 * len(messages)
    assert model.tokenizer.read <= 40 * 4096 + 600_000 * (kind == "one huge")
    assert prompt.max_new_tokens == 64 and len(prompt.ids) + 64 <= 2048
    if kind == "texts":
        assert 9_900 < prompt.dropped_turns < 10_000 and prompt.text.endswith("Who are you?<|im_end|>\n<|im_start|>assistant\n")
        assert f"Fact {prompt.dropped_turns}:" in prompt.text and f"Fact {prompt.dropped_turns - 1}:" not in prompt.text


def test_a_conversation_that_fits_is_rendered_once():
    model = base(2048)
    fit(model, form("qwen2"), Request([*LONG[:20], {"role": "user", "content": "Who are you?"}]))
    assert model.tokenizer.calls == 1


def test_fitting_and_rendering_hold_nobody_up(tmp_path, monkeypatch):
    """While one conversation is fitted, however long that takes, another thread has the engine's answers."""
    from tiny import write_bayling_like

    import engine as engine_room
    from engine import engine as inner

    tiny = engine_room.load(str(write_bayling_like(tmp_path / "tiny")), dtype="fp32", say=lambda _line: None)
    asked = [Request([{"role": "user", "content": "Who are you?"}], Variant(decoding=Decoding(max_new_tokens=3)))]
    fitting, go_on = threading.Event(), threading.Event()
    fits = inner.fit

    def waits(base, chosen, request, reply):
        if request.variant.name == "slow":
            fitting.set()
            go_on.wait(60)
        return fits(base, chosen, request, reply)

    monkeypatch.setattr(inner, "fit", waits)
    slow = threading.Thread(target=tiny.answer, args=([Request(asked[0].messages, Variant("slow", decoding=Decoding(3)))],))
    slow.start()
    assert fitting.wait(60)
    assert tiny.answer(asked)[0].raw and slow.is_alive()
    go_on.set()
    slow.join()
