"""Requests in, answers out: context, identities, errors, one lock, and the real small model."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time

import pytest
import torch
from tiny import user, write_adapter

from engine import Decoding, EngineError, Request, Variant

SHORT = Decoding(max_new_tokens=12)


@pytest.fixture
def adapter(tiny, tmp_path):
    folder = write_adapter(tmp_path / "other-self", tiny.base.model.__class__(tiny.base.model.config), base="tiny")
    yield tiny.add_adapter(folder)
    for name in list(tiny.adapters):
        tiny.remove_adapter(name)


def test_answers_come_in_the_order_of_the_requests_and_carry_what_it_takes(tiny, adapter):
    variants = [
        Variant("base", decoding=SHORT),
        Variant("tuned", adapters={adapter: 1.0}, decoding=SHORT),
        Variant("half", adapters={adapter: 0.5}, decoding=SHORT),
        Variant("guide", identity="guide", prompt="You are a guide.", decoding=SHORT),
    ]
    answers = tiny.answer([Request(user("Who are you?"), variant) for variant in variants])
    assert [answer.variant.name for answer in answers] == ["base", "tuned", "half", "guide"]
    assert len({answer.raw for answer in answers}) == 4
    for answer in answers:
        assert answer.hashes["base"] == tiny.base.hash and answer.hashes["format"] == tiny.base.format.hash
        assert answer.new_tokens <= 12 and answer.finish in ("stop", "length") and answer.mean_logprob < 0
        assert answer.timings.queued_s + answer.timings.prefill_s + answer.timings.decode_s > 0
    assert answers[1].hashes["adapters"] == {adapter: tiny.adapters[adapter].hash}
    assert answers[3].prompt.startswith("You are a guide.\n\n### Instruction:\nWho are you?")


def test_64_conversations_are_one_call(tiny):
    requests = [Request(user(f"Question number {at}, what do you say?"), Variant(decoding=SHORT)) for at in range(64)]
    together = [answer.raw for answer in tiny.answer(requests)]
    tiny.forget()
    assert together[::9] == [tiny.answer([request])[0].raw for request in requests[::9]]


def test_streaming_shows_all_rows_growing_and_ends_with_the_answers(tiny):
    requests = [Request(user(text), Variant(decoding=SHORT)) for text in ("Who are you?", "你是谁？", "Tell me a story, please.")]
    seen = {row: [""] for row in range(3)}
    answers = {}
    for pieces in tiny.stream(requests):
        for piece in pieces:
            assert piece.shown.startswith(seen[piece.row][-1][: len(piece.shown)])
            seen[piece.row].append(piece.shown)
            if piece.answer:
                answers[piece.row] = piece.answer
    assert [answers[row].raw for row in range(3)] == [answer.raw for answer in tiny.answer(requests)]
    assert all(seen[row][-1] == answers[row].shown for row in range(3))


def test_first_turn_mode_keeps_the_models_own_reply(tiny):
    variant = Variant("shy", prompt="Your name is Ann.", mode="first_turn", decoding=SHORT)
    reply = tiny.answer([Request(user("Your name is Ann."), Variant(decoding=Decoding(max_new_tokens=256 // 8)))])[0].raw.strip()
    prompt = tiny.render(Request(user("Who are you?"), variant))
    assert f"### Instruction:\nYour name is Ann.\n### Response:\n{reply}</s>\n### Instruction:\nWho are you?" in prompt
    assert tiny.answer([Request(user("Who are you?"), variant)])[0].prompt == prompt


def test_a_stop_while_the_first_reply_is_made_is_a_stop(tiny):
    stop = threading.Event()
    stop.set()
    shy = Variant("shy", prompt="Your name is Bea.", mode="first_turn", decoding=SHORT)
    requests = [Request(user("Who are you?"), variant) for variant in (shy, Variant(decoding=SHORT))]
    answers = {piece.row: piece.answer for pieces in tiny.stream(requests, stop) for piece in pieces}
    assert [answers[row].finish for row in (0, 1)] == ["stopped", "stopped"]


def test_a_generous_limit_does_not_cost_the_conversation_its_memory(tiny):
    talk = [*user("The sky is blue."), {"role": "assistant", "content": "Yes."}, *user("Who are you?")]
    answer = tiny.answer([Request(talk, Variant(decoding=Decoding(max_new_tokens=1000)))])[0]
    assert answer.dropped_turns == 0 and answer.prompt_tokens + answer.new_tokens <= tiny.base.context


def test_half_a_surrogate_pair_is_no_stumbling_block(tiny):
    assert tiny.answer([Request(user("Who are \ud83d you?"), Variant(decoding=SHORT))])[0].prompt.count("\ufffd") == 1


def test_the_oldest_turns_are_left_out_and_the_answer_says_so(tiny):
    turns = []
    for number in range(12):
        turns += [*user(f"Fact {number}: the sky is blue."), {"role": "assistant", "content": f"Yes, {number}."}]
    request = Request([*turns, *user("Who are you?")], Variant(prompt="You are a guide.", decoding=SHORT))
    answer = tiny.answer([request])[0]
    assert answer.dropped_turns > 0
    assert answer.prompt.startswith("You are a guide.") and answer.prompt.endswith("Who are you?\n### Response:\n")
    assert "Fact 0:" not in answer.prompt and "Fact 11:" in answer.prompt
    assert answer.prompt_tokens + 12 <= tiny.base.context


def test_a_single_message_that_is_too_long_is_refused(tiny):
    with pytest.raises(EngineError, match=r"too long: .* tokens, and the model's context of 256 .* shorten it"):
        tiny.answer([Request(user("sky blue " * 300), Variant(decoding=SHORT))])
    assert tiny.answer([Request(user("Who are you?"), Variant(decoding=SHORT))])[0].raw


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ([], "the last one from the user"),
        ([{"role": "assistant", "content": "hi"}], "the last one from the user"),
        ([{"role": "user", "content": "  "}], "The question is empty"),
        ([{"role": "system", "content": "You are A."}, {"role": "user", "content": "hi"}], "keep one of the two"),
    ],
)
def test_a_request_that_is_none_is_refused(tiny, messages, sentence):
    with pytest.raises(EngineError, match=sentence):
        tiny.answer([Request(messages, Variant(prompt="You are B."))])


def test_a_variant_says_what_is_wrong_with_it(tiny):
    with pytest.raises(EngineError, match=r"strength 2, it lies between 0 and 1.5"):
        Variant("loud", adapters={"x": 2})
    with pytest.raises(EngineError, match="temperature is 9.* top_p is 0"):
        Decoding(temperature=9, top_p=0)
    with pytest.raises(EngineError, match="'ghost' is not loaded"):
        tiny.answer([Request(user("hi"), Variant(adapters={"ghost": 1.0}))])
    variant = Variant("v", adapters={"a": 0.5}, prompt="p", mode="first_turn", decoding=Decoding(seed=4))
    assert Variant.from_dict(variant.as_dict()) == variant


def test_the_format_travels_with_the_adapter_and_can_be_overridden(tiny, tmp_path):
    for name, format_name in (("x", "alpaca"), ("y", "chatml")):
        folder = write_adapter(tmp_path / name, tiny.base.model.__class__(tiny.base.model.config), base="tiny")
        (folder / "card.json").write_text(f'{{"format": "{format_name}"}}')
        tiny.add_adapter(folder)
    try:
        answer = tiny.answer([Request(user("hi"), Variant(adapters={"x": 1.0}, decoding=SHORT))])[0]
        assert answer.format == "alpaca" and "\n\n### Response:" in answer.prompt
        assert tiny.format_of(Variant(adapters={"x": 1.0}, format="bayling")).name == "bayling"
        assert tiny.format_of(Variant(adapters={"x": 0.0})).name == "bayling"
        with pytest.raises(EngineError, match=r"different formats \(alpaca, chatml\); choose one"):
            tiny.format_of(Variant(adapters={"x": 0.5, "y": 0.5}))
    finally:
        tiny.remove_adapter("x")
        tiny.remove_adapter("y")


def test_an_adapter_recorded_for_another_base_needs_a_yes(tiny, tmp_path):
    folder = write_adapter(tmp_path / "foreign", tiny.base.model.__class__(tiny.base.model.config), base="huggyllama/llama-7b")
    with pytest.raises(EngineError, match=r"another base: it was trained on 'huggyllama/llama-7b', this base is 'tiny'"):
        tiny.add_adapter(folder)
    assert tiny.adapters == {}
    assert tiny.add_adapter(folder, accept_other_base=True) == "foreign"
    tiny.remove_adapter("foreign")


def test_closing_the_stream_frees_the_model_at_once(tiny):
    stream = tiny.stream([Request(user("Who are you?"), Variant(decoding=Decoding(max_new_tokens=150)))])
    next(stream)
    stream.close()
    deadline = time.monotonic() + 20
    loop = tiny.answering.loop
    while (loop.busy or loop.batch.rows) and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not loop.busy and loop.batch.rows == []


def test_stop_keeps_the_text_so_far(tiny):
    stop = threading.Event()
    requests = [Request(user(text), Variant(decoding=Decoding(max_new_tokens=150))) for text in ("Who are you?", "你是谁？")]
    answers = {}
    for step, pieces in enumerate(tiny.stream(requests, stop)):
        if step == 4:
            stop.set()
        answers |= {piece.row: piece.answer for piece in pieces if piece.answer}
    assert all(answer.finish in ("stopped", "stop") and 0 < answer.new_tokens <= 7 for answer in answers.values())
    assert len(answers) == 2


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "Out of memory on cpu with 2 rows of up to"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "max_new_tokens"),
        (RuntimeError("index out of range in self"), "index out of range"),
    ],
)
def test_an_error_in_a_batch_frees_everything_and_the_next_request_works(tiny, adapter, monkeypatch, error, sentence):
    requests = [Request(user("Who are you?"), Variant(adapters={adapter: 1.0}, decoding=SHORT))] * 2
    before = [answer.raw for answer in tiny.answer(requests)]
    mlp = tiny.base.model.model.layers[1].mlp
    calls = []

    def fails_in_the_third_step(x):
        calls.append(x)
        if len(calls) == 3:
            raise error
        return type(mlp).forward(mlp, x)

    monkeypatch.setattr(mlp, "forward", fails_in_the_third_step)
    with pytest.raises((EngineError, RuntimeError), match=sentence):
        list(tiny.stream(requests))
    monkeypatch.undo()
    assert all(group.mask is None and group.result is None for group in tiny.bank.groups)
    assert [answer.raw for answer in tiny.answer(requests)] == before


def test_threads_that_ask_and_swap_adapters_at_once_get_their_own_answers(tiny, tmp_path):
    folders = [write_adapter(tmp_path / f"t{at}", tiny.base.model.__class__(tiny.base.model.config), seed=at) for at in range(3)]
    for folder in folders[:2]:
        tiny.add_adapter(folder)
    variants = [
        Variant("base", decoding=SHORT),
        *(Variant(f"t{at}", adapters={f"t{at}": 1.0}, decoding=SHORT) for at in range(2)),
    ]
    expected = {variant.name: tiny.answer([Request(user("Who are you?"), variant)])[0].raw for variant in variants}
    wrong = []

    def ask(seed):
        numbers = random.Random(seed)
        for _ in range(6):
            mine = numbers.sample(variants, 2)
            for answer in tiny.answer([Request(user("Who are you?"), variant) for variant in mine]):
                if answer.raw != expected[answer.variant.name]:
                    wrong.append(answer)

    def swap():
        for _ in range(6):
            tiny.add_adapter(folders[2])
            tiny.remove_adapter("t2")

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(3)] + [threading.Thread(target=swap)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in ("t0", "t1"):
        tiny.remove_adapter(name)
    assert wrong == []


@pytest.mark.model
def test_the_real_small_model_takes_on_an_identity_and_is_itself_without(engine):
    clerk = Variant("finance", prompt="You are a finance advisor.", decoding=Decoding(max_new_tokens=24))
    base = Variant("base", decoding=Decoding(max_new_tokens=24))
    questions = ["Who are you?", "What is the capital of France?"]
    answers = engine.answer([Request(user(question), variant) for variant in (base, clerk) for question in questions])
    assert "Paris" in answers[1].shown
    assert "finance" in answers[2].shown.lower() and "finance" not in answers[0].shown.lower()
    assert answers[0].raw != answers[2].raw
    assert "SmolLM" in answers[0].prompt and "SmolLM" not in answers[2].prompt  # the template's hidden identity


@pytest.mark.model
def test_chatting_in_the_terminal_streams_answers_and_takes_commands():
    command = [sys.executable, "-m", "engine.chat", "--base", "smollm2", "--max-new-tokens", "6"]
    talk = "What is the capital of France?\n/prompt\n/again\n/clear\n/prompt\n/quit\n"
    done = subprocess.run(command, input=talk, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.count("Paris") == 2
    assert "What is the capital of France?<|im_end|>" in done.stdout
    assert "dtype" in done.stderr and "Cut at 6 tokens" in done.stderr


def test_the_terminal_says_what_is_wrong(tmp_path):
    command = [sys.executable, "-m", "engine.chat", "--base", str(tmp_path / "nowhere")]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "is not there" in done.stderr and "Traceback" not in done.stderr
