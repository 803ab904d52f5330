"""An export asked as somebody else's program would: by its own chat template, in plain transformers or in llama.cpp. Greedily.

The same questions are asked before of base and adapter in the engine, so that what the export has lost shows.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.utils import logging as transformers_logging

from engine import Decoding, Request, Variant, load, rendering
from engine.bases import Base
from engine.checkpoint import context_of
from engine.engine import Engine
from engine.formats import Format
from engine.types import EngineError, Message
from tuning.export import ollama
from tuning.export.comparing import Question
from tuning.merge import Merged

Say = Callable[[str], None]
Conversation = Sequence[Message]  # that ends with a question
AskOne = Callable[[Conversation], str]
Ask = Callable[[Sequence[Conversation]], Iterator[tuple[int, str]]]  # (which of them, its answer), as they are ready
LONGEST = 128  # tokens of an answer, as probes are asked
TOGETHER = 8  # conversations in one batch of the engine, whose memory is not counted beforehand


def ask_all(ask: Ask, questions: Sequence[Question], said: str, say: Say, stops: Collection[str] = ()) -> list[str]:
    """The last answer of each. said: what is asked, for people. stops: an answer ends before the first of these strings."""
    talks: list[list[Message]] = [[] for _ in questions]
    done = 0
    say(f"asking {said}: {done} of {len(questions)}")
    for turn in range(max((len(question.turns) for question in questions), default=0)):
        asked = [at for at, question in enumerate(questions) if turn < len(question.turns)]
        for at in asked:
            talks[at].append({"role": "user", "content": questions[at].turns[turn]})
        for place, answer in ask([list(talks[at]) for at in asked]):
            at = asked[place]
            talks[at].append({"role": "assistant", "content": cut(answer, stops)})
            if turn + 1 == len(questions[at].turns):
                done += 1
                say(f"asking {said}: {done} of {len(questions)}")
    return [talk[-1]["content"] for talk in talks]


def one_by_one(ask: AskOne) -> Ask:
    return lambda talks: ((at, ask(talk)) for at, talk in enumerate(talks))


def cut(answer: str, stops: Collection[str]) -> str:
    return answer[: min((at for stop in stops if (at := answer.find(stop)) >= 0), default=len(answer))]


class Opened(NamedTuple):
    """Ready to be asked. through: the program and its version. dtype: what is computed with."""

    ask: Ask
    through: str
    dtype: torch.dtype = torch.float32


# before; on the CPU, where merging takes place, too: a GPU is the chat's and the trainings'


def adapters_in_engine(
    adapters: Mapping[str, float],
    base: str,
    *,
    format: str | None = None,
    identity: str | None = None,
    accept_other_base: bool = False,
    check: Callable[[Base, Format], object] = lambda base, chosen: None,
    longest: int = LONGEST,
) -> Opened:
    """Base and adapters as the chat has them. Raises EngineError, and Unfit for an adapter that the bank cannot hold.

    check: is shown the base and the format it is asked in, and may raise EngineError.
    """
    engine = load(base, format=format, device="cpu", max_rows=TOGETHER, say=lambda _: None)
    names = {engine.add_adapter(folder, accept_other_base=accept_other_base): strength for folder, strength in adapters.items()}
    asked_in = engine.base.format.name if format else None
    check(engine.base, engine.format_of(Variant("before", names, format=asked_in)))
    return _in_engine(engine, names, asked_in, identity, longest)


def merged_in_engine(made: Merged, identity: str | None = None, longest: int = LONGEST) -> Opened:
    """What is to be written, in memory: for adapters that have no place in the bank."""
    return _in_engine(Engine(replace(made.base, format=made.format), TOGETHER), {}, None, identity, longest)


def _in_engine(engine: Engine, adapters: Mapping[str, float], format: str | None, identity: str | None, longest: int) -> Opened:
    variant = Variant("before", dict(adapters), prompt=identity, format=format, decoding=Decoding(longest))

    def ask(talks: Sequence[Conversation]) -> Iterator[tuple[int, str]]:
        for piece in chain.from_iterable(engine.stream([Request(list(talk), variant) for talk in talks])):
            if piece.problem:
                raise EngineError(piece.problem)
            if piece.answer:
                yield piece.row, piece.answer.raw

    return Opened(ask, "the engine", engine.base.dtype)


# after


@contextmanager
def opened(
    export: Path, ends: Sequence[int], context: int, dtype: torch.dtype = torch.float32, longest: int = LONGEST
) -> Iterator[Opened]:
    """A folder or a .gguf file. ends: ids that end an answer, where the file has room for one only. context: tokens, of the
    model. dtype: for transformers."""
    if export.is_dir():
        ask = _transformers(export, {}, {"dtype": dtype}, (), longest)
        yield Opened(one_by_one(ask), f"transformers {importlib.metadata.version('transformers')}", dtype)
    elif has_llama_cpp():
        with _llama(export, min(context, ollama.LONGEST), longest) as ask:
            yield Opened(one_by_one(ask), f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}")
    else:
        how = {"quantization_config": GgufConfig(gguf_file=export.name, dequantize=True), "dtype": torch.float32}
        ask = _transformers(export.parent, {"gguf_file": export.name}, how, ends, longest)
        yield Opened(one_by_one(ask), f"transformers' GGUF reader {importlib.metadata.version('transformers')}")


def has_llama_cpp() -> bool:
    return importlib.util.find_spec("llama_cpp") is not None


def _transformers(source: Path, where: dict[str, Any], how: dict[str, Any], ends: Sequence[int], longest: int) -> AskOne:
    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **where)
        model = AutoModelForCausalLM.from_pretrained(source, **where, **how).eval()
    except Exception as error:
        raise EngineError(f"{source} was written, and transformers cannot read it again: {error}") from error
    more = {"eos_token_id": list(ends)} if ends else {}
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id

    @torch.inference_mode()
    def ask(messages: Conversation) -> str:
        known = {"bos_token": tokenizer.bos_token or "", "eos_token": tokenizer.eos_token or ""}
        asked = {"messages": list(messages), "add_generation_prompt": True} | known
        text = rendering.render("of the export", tokenizer.chat_template, asked)  # bounded, as every template
        inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        room = context_of(model.config) - given["input_ids"].shape[1]  # as the engine has it
        out = model.generate(**given, max_new_tokens=max(1, min(longest, room)), do_sample=False, pad_token_id=pad, **more)
        return str(tokenizer.decode(out[0, given["input_ids"].shape[1] :], skip_special_tokens=True))

    return ask


@contextmanager
def _llama(file: Path, context: int, longest: int) -> Iterator[AskOne]:
    from llama_cpp import Llama

    try:
        threads = torch.get_num_threads()  # its own choice is half of them
        model = Llama(str(file), n_ctx=context, n_threads=threads, n_threads_batch=threads, verbose=False)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise EngineError(f"{file} was written, and llama.cpp cannot read it: {error}") from error
    try:
        greedy = dict(temperature=0.0, top_k=1, top_p=1.0, min_p=0.0, repeat_penalty=1.0, max_tokens=longest)
        yield lambda messages: model.create_chat_completion(list(messages), **greedy)["choices"][0]["message"]["content"] or ""
    finally:
        model.close()
