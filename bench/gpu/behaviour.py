"""What a person meets beside numbers: seeds, a batch that finds no memory, a base that makes room, a conversation that goes on, a
card that torch lacks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench.gpu.session import Session
from engine import engine as engine_room
from engine.device import check_arch
from engine.engine import Engine
from engine.sharing import layers
from engine.types import Decoding, EngineError, Message, Request, Variant

QUESTIONS = ("Who are you?", "你是谁？", "Who made you, and what for?", "Please introduce yourself.")
ADAPTERS = (None, "v0", "v1", "v2", "v3")
MEBIBYTES_LEFT = 48  # of the process's share of the GPU, while a batch is asked that takes several times as much
LONG_ROWS, LONG_TOKENS = 32, 1500
FEW_LONG_ROWS, FEW_LONG_TOKENS = 6, 100


def asked(text: str, adapter: str | None, **decoding: Any) -> Request:
    message: Message = {"role": "user", "content": text}
    heard = {adapter: 1.0} if adapter else {}
    decoding = {"max_new_tokens": 24} | decoding
    return Request([message], Variant(adapters=heard, format="bayling", decoding=Decoding(**decoding)), goes_on=False)


def texts(engine: Engine, requests: Sequence[Request]) -> list[str]:
    return [answer.raw for answer in engine.answer(requests)]


def check_sampling(engine: Engine, exact: bool, new: int) -> dict[str, Any]:
    """The same seeds give the same answers; exact: alone as well as in a batch, but for one answer of eight at most.

    Two of 2,000 tokens may be equally likely to the last bit; which of them a draw falls on is then the order of the sums.
    """
    long = {"max_new_tokens": new}
    requests = [asked(QUESTIONS[at % 4], ADAPTERS[at % 5], temperature=0.8, top_p=0.95, seed=at, **long) for at in range(8)]
    texts(engine, requests)  # whatever is made ready in the first run, such as a CUDA graph
    first, second = texts(engine, requests), texts(engine, requests)
    alone = [texts(engine, [request])[0] for request in requests]
    others = texts(engine, [asked(QUESTIONS[0], None, temperature=0.8, seed=seed, **long) for seed in range(4)])
    same = sum(one == other for one, other in zip(first, alone, strict=True))
    found = {
        "repeated": first == second,
        "alone_as_in_the_batch": f"{same} of {len(alone)}",
        "seeds_differ": len(set(others)) > 1,
    }
    return found | {"ok": found["repeated"] and found["seeds_differ"] and (same >= len(alone) - 1 or not exact)}


def check_behaviour(session: Session, folder: Path, adapters: Path) -> dict[str, Any]:
    """Each in a try of its own, one after another with the same engine; in fp32, where answers before and after are the same."""
    engine = engine_room.load(str(folder), format="bayling", device=str(session.device), dtype="fp32", say=lambda _line: None)
    for path in sorted(adapters.iterdir()):
        if path.is_dir():
            engine.add_adapter(path, accept_other_base=True)
    found: dict[str, Any] = {}
    session.attempt(found, "out_of_memory", lambda: out_of_memory(session, engine))
    session.attempt(found, "parking", lambda: parking(session, engine))
    session.attempt(found, "conversation", lambda: conversation(engine))
    session.attempt(found, "refusal", lambda: refusal(session))
    return found | {"ok": all(part.get("ok") is True for part in list(found.values()))}


# --- out of memory


def out_of_memory(session: Session, engine: Engine) -> dict[str, Any]:
    """A batch that does not fit is told so in one sentence, and the next request is answered as before, under the same limit."""
    small = [asked(QUESTIONS[at % 4], ADAPTERS[at % 5]) for at in range(3)]
    before = texts(engine, small)
    long = QUESTIONS[0] + " "
    rows, tokens = (LONG_ROWS, LONG_TOKENS) if session.on_gpu else (FEW_LONG_ROWS, FEW_LONG_TOKENS)
    long *= tokens // max(1, len(engine.base.tokenizer(long * 10)["input_ids"]) // 10)
    many = [asked(long, ADAPTERS[at % 5]) for at in range(rows)]
    sentence = ""
    with little_room(session) if session.on_gpu else thrown(engine, rows=4):
        try:
            engine.answer(many)
        except EngineError as error:
            sentence = str(error)
        after = texts(engine, small)
    return {
        "how": f"{MEBIBYTES_LEFT} MiB left to the process" if session.on_gpu else "thrown in the middle of a pass; no GPU here",
        "sentence": sentence,
        "next_request_answered": after == before,
        "ok": sentence.startswith("Out of memory on") and after == before,
    }


@contextmanager
def little_room(session: Session) -> Iterator[None]:
    """The process may allocate little more than it holds now."""
    session.tidy()
    total = torch.cuda.get_device_properties(session.device).total_memory
    allowed = torch.cuda.memory_reserved(session.device) + MEBIBYTES_LEFT * 2**20
    torch.cuda.set_per_process_memory_fraction(min(1.0, allowed / total), session.device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, session.device)


@contextmanager
def thrown(engine: Engine, rows: int) -> Iterator[None]:
    """Where there is no GPU memory to run out of: a layer says so for more rows than this."""

    def hook(_module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        if len(args[0]) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory (thrown by the benchmark)")

    handle = layers(engine.base.model)[0].register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


# --- parking


def parking(session: Session, engine: Engine) -> dict[str, Any]:
    """The base goes to CPU memory, gives its room back, says why it cannot be asked, and answers as before once it is back."""
    requests = [asked(QUESTIONS[at % 4], ADAPTERS[at % 5]) for at in range(5)]
    texts(engine, requests)
    before, size = texts(engine, requests), engine.bank.size()
    session.tidy()
    held = session.allocated()
    began = time.perf_counter()
    engine.park("The base is parked by the benchmark.")
    parked_s, freed = time.perf_counter() - began, held - session.allocated()
    refused = ""
    try:
        engine.answer(requests)
    except EngineError as error:
        refused = str(error)
    began = time.perf_counter()
    engine.unpark()
    unparked_s = time.perf_counter() - began
    after = texts(engine, requests)
    after_again = texts(engine, requests)
    found = {
        "park_s": parked_s,
        "unpark_s": unparked_s,
        "bytes": size,
        "freed": freed,
        "refused": refused,
        "same_answers": after_again == before,
        "first_answers_the_same": after == before,
    }
    room = freed >= 0.9 * size or not session.on_gpu
    return found | {"ok": found["same_answers"] and refused == "The base is parked by the benchmark." and room}


# --- what is computed of a conversation is kept


def conversation(engine: Engine) -> dict[str, Any]:
    """Later turns go on from what is kept, and say what they say when all is computed anew (but for a tie: see sampling)."""

    def third_turns() -> tuple[list[str], int]:
        said: list[list[Message]] = [[] for _ in ADAPTERS]
        for turn in range(3):
            requests = []
            for before, adapter in zip(said, ADAPTERS, strict=True):
                before.append({"role": "user", "content": QUESTIONS[turn]})
                requests.append(replace(asked("", adapter), messages=list(before), goes_on=True))
            answers = engine.answer(requests)
            for before, answer in zip(said, answers, strict=True):
                before.append({"role": "assistant", "content": answer.raw})
        return [answer.raw for answer in answers], sum(answer.timings.kept_tokens for answer in answers)

    engine.forget()
    ours, kept = third_turns()
    most, engine.kept.most = engine.kept.most, lambda _held: 0
    engine.forget()
    plain, none = third_turns()
    engine.kept.most = most
    same = sum(one == other for one, other in zip(ours, plain, strict=True))
    return {
        "same_answers": f"{same} of {len(ours)}",
        "kept_tokens": kept,
        "ok": same >= len(ours) - 1 and kept > 0 and not none,
    }


# --- an architecture that torch was not built for


def refusal(session: Session) -> dict[str, Any]:
    """A V100 under a CUDA 13 build is refused with the line that helps; this device is not."""
    sentence = ""
    try:
        check_arch("Tesla V100-SXM2-16GB", (7, 0), ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "compute_120"])
    except EngineError as error:
        sentence = str(error)
    if session.on_gpu:  # raises where this build lacks it
        name, capability = torch.cuda.get_device_name(session.device), torch.cuda.get_device_capability(session.device)
        check_arch(name, capability, torch.cuda.get_arch_list())
    return {"sentence": sentence, "ok": "sm_70" in sentence and "pip install" in sentence}
