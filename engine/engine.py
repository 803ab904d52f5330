"""The engine: one base, its bank, one lock, one running batch. Everything that asks the model goes through here."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, cast

import torch

from engine import limits
from engine.adapters import AdapterInfo, find_misfit, read_adapter
from engine.answering import Answering
from engine.asked import Asked, no_numbers_sentence, piece
from engine.bank import Bank
from engine.bases import DEFAULT_BASE, Base, load_base
from engine.card import ModelCard
from engine.decode import Row
from engine.formats import Format
from engine.kept import Kept
from engine.memory import bytes_to_keep, give_back, is_out_of_memory, rows_that_fit
from engine.prompts import Prompt, end_ids, fit, identity_messages, render
from engine.resolved import ReplyKey, Resolved, format_of, heard_by, info_of, resolve
from engine.sharing import Loop, longest_reach
from engine.thoughts import spoken_text
from engine.types import Answer, Decoding, EngineError, Message, Piece, Request, Variant

MAX_ROWS = 32  # rows decoded at once; more gain little on a CPU, and the cache grows with them
T = TypeVar("T")
FIRST_REPLY_TOKENS = 128  # at most, and an eighth of the context: it stands before every conversation in first-turn mode


def load(
    base: str = DEFAULT_BASE,
    *,
    format: str | None = None,
    card: ModelCard | None = None,
    device: str | None = None,
    dtype: str | None = None,
    context: int | None = None,
    trust_remote_code: bool = False,
    quantize: str | None = None,
    max_rows: int = MAX_ROWS,
    threads: int | None = None,
    say: Callable[[str], None] = print,
) -> Engine:
    """Load a base (`smollm2`, a folder, a .gguf file, a Hub id) and make it ready to answer."""
    if threads:
        torch.set_num_threads(threads)
    loaded = load_base(
        base,
        format=format,
        card=card,
        device=device,
        dtype=dtype,
        context=context,
        trust_remote_code=trust_remote_code,
        quantize=quantize,
        say=say,
    )
    return Engine(loaded, max_rows=max_rows)


class Engine:
    """Answers requests of mixed variants in one batch, which all who ask share (`engine.sharing`). For calls from any thread."""

    def __init__(self, base: Base, max_rows: int = MAX_ROWS) -> None:
        self.base = base
        if max_rows < 1:
            raise EngineError(f"max_rows is {max_rows}; at least one row is needed.")
        self.max_rows = max_rows
        self.bank = Bank(base.model)
        self.adapters: dict[str, AdapterInfo] = {}
        self.first_replies: dict[ReplyKey, str] = {}
        self.parked = ""  # why the base is away from its device; "" when it is there
        self.leaving = ""  # why it is about to be, as soon as the answers in progress have ended
        self.moving = threading.Lock()  # one park or unpark at a time; taken before `lock`
        self.limit: int | None = None  # bytes that this process may hold on the GPU in all; None: what there is
        self.kept = Kept(lambda held: bytes_to_keep(base.device, self.limit, held))
        self.answering = Answering(Loop(base.model, base.tokenizer, self.bank, self.slots, self.problem, self.kept))
        # Guards the model, the bank's masks and blocks, the loop, what is kept, and first_replies. Always taken in the thread
        # that computes, and held for one pass of the model: who waits for it comes between two steps, in the order of asking.
        self.lock = self.answering.lock
        self.give_way = self.answering.give_way

    # the device

    def park(self, why: str) -> None:
        """Moves the base and its adapters to CPU memory. Until `unpark`, asking raises EngineError(why): a sentence for people.

        Waits for the answers in progress. A base that lives on the CPU, or is parked already, stays where it is. One that is
        quantised on a GPU raises EngineError: its codes lie in bitsandbytes' own order for that device.
        """
        if self.base.quantized and self.base.device.type != "cpu":
            raise EngineError(f"The base is in {self.base.quantized} and stays on {self.base.device}; start without --quantize.")
        with self.moving:
            if self.parked:
                self.parked = why
                return
            with self.lock:
                self.leaving = why  # from here on no row begins
            try:
                with self.answering.without():
                    self.kept.clear()
                    self.move(torch.device("cpu"))
                    self.parked = why
            finally:
                self.leaving = ""

    def unpark(self) -> None:
        """Brings the base back. Raises EngineError if there is no room for it; it stays parked then."""
        with self.moving, self.lock:
            if not self.parked:
                return
            try:
                self.move(self.base.device)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            else:
                self.parked = ""
                return
            # outside the except block: the traceback would keep tensors alive
            self.move(torch.device("cpu"))
            self.parked = f"The base is in CPU memory and does not fit on {self.base.device} yet; free some memory there."
            raise EngineError(self.parked)

    def move(self, device: torch.device) -> None:
        if self.base.device.type == "cpu":
            return
        self.answering.loop.batch.forget_graphs()
        self.bank.move(device)
        gc.collect()
        torch.cuda.empty_cache()

    def forget(self) -> None:
        """Gives back the memory of what was computed for earlier turns; the next ones compute all of their prompts."""
        with self.lock:
            self.kept.clear()
        give_back(self.base.device)

    def settle(self) -> None:
        """Lays out the adapters that have come and gone, which otherwise the next question waits for: seconds on a CPU."""
        with self.lock:
            self.bank.settle()

    @property
    def away(self) -> str:
        """Why no row may begin; "" when any may."""
        return self.parked or self.leaving

    def ready(self) -> None:
        """Raises EngineError, with the reason, while the base is parked."""
        if why := self.away:
            raise EngineError(why)

    # adapters

    def add_adapter(self, path: str | Path, name: str | None = None, *, accept_other_base: bool = False) -> str:
        """Make a PEFT folder resident and return its name. Raises EngineError, one sentence; nothing changes then."""
        info, weights = read_adapter(path, name)
        misfit = find_misfit(info, self.base.name, self.base.hash, self.base.names)
        with self.lock:
            if misfit and not accept_other_base:
                # a shape that does not fit says more than a name that differs
                self.bank.check(info.name, weights)
                raise EngineError(
                    f"Adapter {info.name!r} belongs to another base: {misfit}; if it is the same model under another name, "
                    "load it with accept_other_base."
                )
            self.kept.drop(info.name)
            try:
                self.bank.add(info.name, weights)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise EngineError(
                    f"There is no room on {self.base.device} for adapter {info.name!r}; remove another one."
                ) from None
            self.adapters = self.adapters | {info.name: info}  # a new dict: readers hold no lock
        return info.name

    def remove_adapter(self, name: str) -> None:
        """Once no row that has begun hears it any more. Those that have not are refused. Raises EngineError."""
        with self.lock:
            if name not in self.adapters:
                raise EngineError(f"No adapter named {name!r} is loaded; there is {', '.join(self.adapters) or 'none'}.")
            info = self.adapters[name]
            self.adapters = {other: info for other, info in self.adapters.items() if other != name}
        with self.answering.without(name):
            self.kept.drop(name)
            try:
                self.bank.remove(name)
            except (RuntimeError, MemoryError):
                self.adapters = self.adapters | {name: info}
                raise
            self.first_replies = {key: reply for key, reply in self.first_replies.items() if name not in dict(key[0])}

    # prompts

    def resolve(self, variant: Variant) -> Resolved:
        """What the variant means now. Raises EngineError."""
        return resolve(variant, self.adapters, self.base)

    def format_of(self, variant: Variant) -> Format:
        """The format a variant is asked in: its own override, else its adapters' recorded one, else the base's."""
        return format_of(variant, self.adapters, self.base)

    def info(self, name: str) -> AdapterInfo:
        return info_of(name, self.adapters)

    def render(self, request: Request) -> str:
        """The exact prompt of a request as people read it, without answering it."""
        return self.prompt(request).text

    def prompt(self, request: Request) -> Prompt:
        """The exact prompt of a request, without answering it (in first-turn mode the model's reply is made if need be)."""
        if request.variant.mode == "system" or request.variant.prompt is None:
            return fit(self.base, self.format_of(request.variant), request)  # nothing to compute, also while the base is parked
        failed, [asked] = run_to_end(self.prepared([request], threading.Event(), object(), 0.0))
        if asked is None:
            raise EngineError(failed[0])
        return asked.prompt

    def make_first_replies(
        self, asked: Sequence[Resolved], stop: threading.Event, owner: Hashable
    ) -> Generator[list[Piece], None, tuple[dict[ReplyKey, str], dict[ReplyKey, str]]]:
        """First-turn mode: what each variant answers to its own identity, greedily, once. Yields while it takes.

        Returns reply key -> reply, and reply key -> sentence of those that the model computes no numbers for.
        """
        wanted = {one.reply_key: one for one in asked if one.variant.mode == "first_turn" and one.variant.prompt is not None}
        heard = heard_by(wanted.values())
        known = {key: reply for key, reply in self.first_replies.items() if key in wanted}
        missing = {key: one for key, one in wanted.items() if key not in known}
        decoding = Decoding(max_new_tokens=min(FIRST_REPLY_TOKENS, self.base.context // 8))
        rows, prompts = [], []
        for at, one in enumerate(missing.values()):
            prompt, ids = render(self.base.tokenizer, one.format, identity_messages(one.variant, None))
            prompts.append(prompt)
            if len(ids) + decoding.max_new_tokens > self.base.context:
                raise EngineError(
                    f"The identity of variant {one.variant.name!r} takes {len(ids)} tokens, too many for the context."
                )
            rows.append(self.row(at, ids, one, decoding, decoding.max_new_tokens))
        if not rows:
            return known, {}
        yield from self.run(rows, heard, stop, owner, lambda _news: [])
        made, failed = {}, {}
        for (key, one), row, prompt in zip(missing.items(), rows, prompts, strict=True):
            if row.finish == "failed":
                failed[key] = no_numbers_sentence(one.variant)
            elif row.finish != "stopped":
                made[key] = spoken_text(row.text, prompt).strip()
        with self.lock:
            if all(self.adapters.get(name) is info for name, info in heard.items()):  # a removed one took its replies along
                self.first_replies = self.first_replies | made
        return known | made, failed

    # answers

    def answer(self, requests: Sequence[Request], owner: Hashable = None) -> list[Answer]:
        """All answers, in the order of the requests. Raises EngineError, also where a single row has failed."""
        answers = []
        for one in self.outcomes(requests, owner):
            if isinstance(one, EngineError):
                raise one
            answers.append(one)
        return answers

    def outcomes(self, requests: Sequence[Request], owner: Hashable = None) -> list[Answer | EngineError]:
        """The same, with an error in the place of a row that failed alone. Raises EngineError for what concerns them all."""
        found: dict[int, Answer | EngineError] = {}
        for pieces in self.stream(requests, owner=owner):
            found |= {piece.row: piece.answer or EngineError(piece.problem) for piece in pieces if piece.answer or piece.problem}
        return [found[row] for row in range(len(requests))]

    def stream(
        self, requests: Sequence[Request], stop: threading.Event | None = None, owner: Hashable = None
    ) -> Generator[list[Piece], None, None]:
        """After every step, the news of the rows that took part; a row's last piece carries its answer.

        Now and then an empty list, so that whoever iterates can look around; and as long as no row has begun, pieces without
        a word that say how many are before them. Setting `stop`, or closing this generator, ends the computation within one
        step; unfinished rows then finish as "stopped" with the text so far. The generator may be resumed from any thread.
        owner: a person or a run; the engine is shared between owners, row by row. None: nobody else's request is this one's.
        """
        return self.streamed(copy_requests(requests), stop or threading.Event(), object() if owner is None else owner)

    def streamed(self, requests: list[Request], stop: threading.Event, owner: Hashable) -> Generator[list[Piece], None, None]:
        asked_at = time.perf_counter()
        try:
            failed, asked = yield from self.prepared(requests, stop, owner, asked_at)
            if failed:
                yield [Piece(at, "", "", None, problem) for at, problem in failed.items()]
            there = {at: one for at, one in enumerate(asked) if one is not None}
            rows = [
                self.row(at, one.prompt.ids, one.by, one.by.variant.decoding, one.prompt.max_new_tokens, requests[at].goes_on)
                for at, one in there.items()
            ]
            heard = heard_by(one.by for one in there.values())

            def pieces(news: list[Row]) -> list[Piece]:
                return [piece(self.base.card, row, there[row.index]) for row in news]

            yield from self.run(rows, heard, stop, owner, pieces)
        finally:
            stop.set()

    def prepared(
        self, requests: Sequence[Request], stop: threading.Event, owner: Hashable, asked_at: float
    ) -> Generator[list[Piece], None, tuple[dict[int, str], list[Asked | None]]]:
        """(row -> sentence of those that failed already, what every other row is asked). All of it in the asker's own thread,
        but for first replies: templates and long conversations keep nobody waiting.
        """
        self.ready()
        resolved = [self.resolve(request.variant) for request in requests]
        replies, failed = yield from self.make_first_replies(resolved, stop, owner)
        lost = {at: failed[one.reply_key] for at, one in enumerate(resolved) if one.reply_key in failed}
        asked: list[Asked | None] = []
        for at, (request, one) in enumerate(zip(requests, resolved, strict=True)):
            # in first-turn mode only a stop leaves no reply behind, and then nothing is answered any more
            reply = replies.get(one.reply_key, "")
            asked.append(None if at in lost else Asked(one, fit(self.base, one.format, request, reply), asked_at))
        return lost, asked

    def row(self, at: int, ids: list[int], by: Resolved, decoding: Decoding, room: int, goes_on: bool = True) -> Row:
        ends, stops = end_ids(self.base, by.format), by.format.stop
        return Row(at, ids, by.variant.adapters, decoding, room, ends, stops, goes_on=goes_on)

    def run(
        self,
        rows: list[Row],
        heard: Mapping[str, AdapterInfo],
        stop: threading.Event,
        owner: Hashable,
        pieces: Callable[[list[Row]], list[Piece]],
    ) -> Iterator[list[Piece]]:
        """Has the rows answered beside everybody else's, and yields what comes of it. heard: adapters as they were asked for."""

        def check() -> None:
            self.ready()
            for name, info in heard.items():
                if self.info(name) is not info:
                    raise EngineError(f"Adapter {name!r} was loaded anew meanwhile; ask again.")

        return self.answering.news(rows, stop, owner, check, pieces)

    def problem(self, error: Exception, rows: Sequence[Row]) -> Exception:
        """What askers are given; out of memory becomes a sentence, and what is free goes back to the device."""
        if not is_out_of_memory(error):
            return error
        longest = max(map(longest_reach, rows), default=0)
        return EngineError(
            f"Out of memory on {self.base.device} with {len(rows)} rows of up to {longest} tokens; "
            "ask fewer columns at once, shorten the conversation or max_new_tokens, or start with a smaller --max-rows."
        )

    def slots(self, longest: int) -> int:
        """How many rows of up to `longest` tokens to decode at once; what is kept makes room where a row would have to wait."""
        loop = self.answering.loop
        held = loop.batch.cache_bytes()
        fit = rows_that_fit(self.base, longest, self.max_rows, self.limit, held)
        if fit < self.max_rows and fit <= len(loop.of) and self.kept.bytes:
            self.kept.clear()
            fit = rows_that_fit(self.base, longest, self.max_rows, self.limit, held)
        return fit


def run_to_end(generator: Generator[object, None, T]) -> T:
    """What a generator returns."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            found: T = end.value
            return found


def copy_requests(requests: Sequence[Request]) -> list[Request]:
    """The requests as they are now: a conversation that goes on while they wait for the lock is not theirs. Raises TooMuch."""
    limits.check(requests)
    copies: dict[int, Message] = {}  # variants that are asked the same question share its messages

    def copy(message: Message) -> Message:
        return copies.setdefault(id(message), cast(Message, dict(message)) if isinstance(message, dict) else message)

    return [replace(request, messages=[copy(message) for message in request.messages]) for request in requests]
