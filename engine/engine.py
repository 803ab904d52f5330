"""The engine: one base, its bank, one lock. Everything that asks the model goes through here."""

from __future__ import annotations

import gc
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from engine import decode, formats, limits
from engine.adapters import AdapterInfo, belongs_to, read_adapter
from engine.bank import Bank
from engine.bases import DEFAULT_BASE, Base, load_base
from engine.card import ModelCard
from engine.formats import Format
from engine.prompts import Prompt, end_ids, fit, identity_messages, render
from engine.thoughts import spoken
from engine.types import Answer, Decoding, EngineError, Piece, Request, Timings, Variant, short_hash

MAX_ROWS = 32  # rows decoded at once; more gain little on a CPU, and the cache grows with them
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
        say=say,
    )
    return Engine(loaded, max_rows=max_rows)


class Engine:
    """Answers requests of mixed variants in one batch. Safe to call from several threads; calls wait for each other."""

    def __init__(self, base: Base, max_rows: int = MAX_ROWS) -> None:
        self.base = base
        if max_rows < 1:
            raise EngineError(f"max_rows is {max_rows}; at least one row is needed.")
        self.max_rows = max_rows
        self.bank = Bank(base.model)
        self.adapters: dict[str, AdapterInfo] = {}
        self.first_replies: dict[tuple, str] = {}
        self.parked = ""  # why the base is away from its device; "" when it is there
        self.limit: int | None = None  # bytes that this process may hold on the GPU in all; None: what there is
        # Guards the model, the bank's masks and blocks, and first_replies. Always taken in the thread that
        # computes and held for a whole batch: a cancelled request's last step must end before the next begins.
        self.lock = threading.RLock()

    # the device

    def park(self, why: str) -> None:
        """Moves the base and its adapters to CPU memory. Until `unpark`, asking raises EngineError(why): a sentence for people.

        Waits for the answers in progress. A base that lives on the CPU, or is parked already, stays where it is.
        """
        with self.lock:
            if not self.parked:
                self.move(torch.device("cpu"))
            self.parked = why

    def unpark(self) -> None:
        """Brings the base back. Raises EngineError if there is no room for it; it stays parked then."""
        with self.lock:
            if not self.parked:
                return
            try:
                self.move(self.base.device)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
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
        self.bank.move(device)
        gc.collect()
        torch.cuda.empty_cache()

    def ready(self) -> None:
        """Raises EngineError, with the reason, while the base is parked."""
        if self.parked:
            raise EngineError(self.parked)

    # adapters

    def add_adapter(self, path: str | Path, name: str | None = None, *, accept_other_base: bool = False) -> str:
        """Make a PEFT folder resident and return its name. Raises EngineError, one sentence; nothing changes then."""
        info, weights = read_adapter(path, name)
        misfit = belongs_to(info, self.base.name, self.base.hash, self.base.names)
        with self.lock:
            if misfit and not accept_other_base:
                # a shape that does not fit says more than a name that differs
                self.bank.check(info.name, weights)
                raise EngineError(
                    f"Adapter {info.name!r} belongs to another base: {misfit}; if it is the same model under another name, "
                    "load it with accept_other_base."
                )
            try:
                self.bank.add(info.name, weights)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                raise EngineError(
                    f"There is no room on {self.base.device} for adapter {info.name!r}; remove another one."
                ) from None
            self.adapters = self.adapters | {info.name: info}  # a new dict: readers hold no lock
        return info.name

    def remove_adapter(self, name: str) -> None:
        with self.lock:
            self.bank.remove(name)
            self.adapters = {other: info for other, info in self.adapters.items() if other != name}
            self.first_replies = {key: reply for key, reply in self.first_replies.items() if name not in dict(key[0])}

    # prompts

    def format_of(self, variant: Variant) -> Format:
        """The format a variant is asked in: its own override, else its adapters' recorded one, else the base's."""
        found = {self.base.format.name: self.base.format}
        wanted = set()
        for name, strength in variant.adapters.items():
            info = self.info(name)
            if strength and info.format:
                wanted.add(info.format)
                if info.own_format:
                    found[info.format] = info.own_format
        if variant.format:
            wanted = {variant.format}
        if len(wanted) > 1:
            raise EngineError(
                f"Variant {variant.name!r} blends adapters trained in different formats "
                f"({', '.join(sorted(wanted))}); choose one format for it."
            )
        name = wanted.pop() if wanted else self.base.format.name
        if name in found:
            return found[name]
        # the checkpoint's own is looked at only where it is asked for: --format is there for one that is no good
        own = formats.from_tokenizer(self.base.tokenizer) if name == "checkpoint" else None
        return own or formats.get(name)

    def info(self, name: str) -> AdapterInfo:
        if name not in self.adapters:
            raise EngineError(f"Adapter {name!r} is not loaded; there is {', '.join(self.adapters) or 'none'}.")
        return self.adapters[name]

    def render(self, request: Request) -> str:
        """The exact prompt of a request, without answering it (in first-turn mode the model's reply is made if need be)."""
        if request.variant.mode == "system" or request.variant.prompt is None:
            return self.prompt(request).text  # nothing to compute: a preview need not wait for a running batch
        failed, [prompt] = self.prepared([request], threading.Event())
        if prompt is None:
            raise EngineError(failed[0])
        return prompt.text

    def prompt(self, request: Request) -> Prompt:
        # in first-turn mode only a stop leaves no reply behind, and then nothing is answered any more
        reply = self.first_replies.get(self.reply_key(request.variant), "")
        return fit(self.base, self.format_of(request.variant), request, reply)

    def reply_key(self, variant: Variant) -> tuple:
        return tuple(sorted(variant.adapters.items())), variant.prompt, self.format_of(variant).hash

    def make_first_replies(self, variants: Sequence[Variant], stop: threading.Event) -> dict[tuple, str]:
        """First-turn mode: what each variant answers to its own identity, greedily, once. Returns reply key -> sentence of those
        that the model computes no numbers for.
        """
        asked = [variant for variant in variants if variant.mode == "first_turn" and variant.prompt is not None]
        missing = {self.reply_key(variant): variant for variant in asked}
        missing = {key: variant for key, variant in missing.items() if key not in self.first_replies}
        decoding = Decoding(max_new_tokens=min(FIRST_REPLY_TOKENS, self.base.context // 8))
        rows, prompts = [], []
        for at, variant in enumerate(missing.values()):
            chosen = self.format_of(variant)
            prompt, ids = render(self.base.tokenizer, chosen, identity_messages(variant, None))
            prompts.append(prompt)
            if len(ids) + decoding.max_new_tokens > self.base.context:
                raise EngineError(f"The identity of variant {variant.name!r} takes {len(ids)} tokens, too many for the context.")
            rows.append(self.row(at, ids, variant, chosen, decoding, decoding.max_new_tokens))
        for _ in self.run(rows, stop):
            pass
        failed = {}
        for (key, variant), row, prompt in zip(missing.items(), rows, prompts, strict=True):
            if row.finish == "failed":
                failed[key] = no_numbers(variant)
            elif row.finish != "stopped":
                self.first_replies[key] = spoken(row.text, prompt).strip()
        return failed

    # answers

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """All answers, in the order of the requests. Raises EngineError, also where a single row has failed."""
        answers = self.outcomes(requests)
        if failed := [one for one in answers if isinstance(one, EngineError)]:
            raise failed[0]
        return answers

    def outcomes(self, requests: Sequence[Request]) -> list[Answer | EngineError]:
        """The same, with an error in the place of a row that failed alone. Raises EngineError for what concerns them all."""
        requests = copied(requests)
        found: dict[int, Answer | EngineError] = {}
        for pieces in self.compute(requests, threading.Event()):
            found |= {piece.row: piece.answer or EngineError(piece.problem) for piece in pieces if piece.answer or piece.problem}
        return [found[row] for row in range(len(requests))]

    def stream(self, requests: Sequence[Request], stop: threading.Event | None = None) -> Iterator[list[Piece]]:
        """After every step, the news of the rows that took part; a row's last piece carries its answer.

        Setting `stop`, or closing this generator, ends the computation within one step; unfinished rows then
        finish as "stopped" with the text so far. The computing thread is one of its own, so the generator may be
        resumed from any thread.
        """
        return self.streamed(copied(requests), stop or threading.Event())

    def streamed(self, requests: list[Request], stop: threading.Event) -> Iterator[list[Piece]]:
        pieces: queue.SimpleQueue = queue.SimpleQueue()

        def work() -> None:
            try:
                for news in self.compute(requests, stop):
                    pieces.put(news)
                pieces.put(None)
            except BaseException as error:
                pieces.put(error)

        worker = threading.Thread(target=work, name="answering", daemon=True)
        worker.start()
        try:
            while (news := pieces.get()) is not None:
                if isinstance(news, BaseException):
                    raise news
                yield news
        finally:
            stop.set()
            worker.join()

    def compute(self, requests: list[Request], stop: threading.Event) -> Iterator[list[Piece]]:
        """Answer in the calling thread, which must be the one that exhausts this generator: it holds the lock."""
        asked_at = time.perf_counter()
        failed, prompts = self.prepared(requests, stop)
        if failed:
            yield [Piece(at, "", "", None, problem) for at, problem in failed.items()]
        with self.lock:
            self.ready()
            rows = []
            for at, (request, prompt) in enumerate(zip(requests, prompts, strict=True)):
                if prompt is None:
                    continue
                variant = request.variant
                chosen = self.format_of(variant)
                rows.append(self.row(at, prompt.ids, variant, chosen, variant.decoding, prompt.max_new_tokens))
            for news in self.run(rows, stop):
                yield [self.piece(row, requests[row.index], prompts[row.index], asked_at) for row in news]

    def prepared(self, requests: Sequence[Request], stop: threading.Event) -> tuple[dict[int, str], list[Prompt | None]]:
        """(row -> sentence of those that failed already, a prompt for every other row). The lock is held only while first
        replies are computed: templates and long conversations keep nobody waiting.
        """
        self.ready()
        asked = [request.variant for request in requests]
        failed: dict[tuple, str] = {}
        if any(variant.mode == "first_turn" and variant.prompt is not None for variant in asked):
            with self.lock:
                self.ready()
                failed = self.make_first_replies(asked, stop)
        lost = {at: failed[key] for at, variant in enumerate(asked) if failed and (key := self.reply_key(variant)) in failed}
        return lost, [None if at in lost else self.prompt(request) for at, request in enumerate(requests)]

    def row(self, at: int, ids: list[int], variant: Variant, chosen: Format, decoding: Decoding, room: int) -> decode.Row:
        return decode.Row(at, ids, variant.adapters, decoding, room, end_ids(self.base, chosen), chosen.stop)

    def run(self, rows: list[decode.Row], stop: threading.Event) -> Iterator[list[decode.Row]]:
        """The loop; out of memory becomes a sentence, and after any failure everything it held is set free."""
        slots = self.slots(rows)
        try:
            yield from decode.run(self.base.model, self.base.tokenizer, self.bank, rows, slots=slots, stop=stop)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            longest = max(len(row.ids) + row.max_new_tokens for row in rows)
            problem = EngineError(
                f"Out of memory on {self.base.device} with {min(slots, len(rows))} rows of up to {longest} tokens; "
                "ask fewer columns at once, shorten the conversation or max_new_tokens, or start with a smaller --max-rows."
            )
        else:
            return
        # outside the except block: the traceback would keep the batch's tensors alive
        gc.collect()
        if self.base.device.type == "cuda":
            torch.cuda.empty_cache()
        raise problem

    def slots(self, rows: Sequence[decode.Row]) -> int:
        """How many rows to decode at once: max_rows, or fewer where the GPU's free memory holds fewer."""
        if self.base.device.type != "cuda" or not rows:
            return self.max_rows
        config = self.base.model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        per_token = 2 * config.num_hidden_layers * heads * size * self.base.dtype.itemsize
        longest = max(len(row.ids) + row.max_new_tokens for row in rows)
        free, _ = torch.cuda.mem_get_info(self.base.device)
        reserved = torch.cuda.memory_reserved(self.base.device)
        if self.limit is not None:
            free = max(0, min(free, self.limit - reserved))
        free += reserved - torch.cuda.memory_allocated(self.base.device)
        # twice: when rows join or leave, the old and the new cache stand side by side
        return max(1, min(self.max_rows, int(free * 0.9 / (2 * per_token * longest))))

    def piece(self, row: decode.Row, request: Request, prompt: Prompt, asked_at: float) -> Piece:
        if row.finish is None:
            raw = decode.text_so_far(row)
            return Piece(row.index, raw, self.base.card.show_so_far(raw).lstrip())
        variant, chosen = request.variant, self.format_of(request.variant)
        if row.finish == "failed":
            return Piece(row.index, row.text, self.base.card.show(row.text).strip(), None, no_numbers(variant))
        answer = Answer(
            variant=variant,
            raw=row.text,
            shown=self.base.card.show(row.text).strip(),
            prompt=prompt.text,
            format=chosen.name,
            finish=row.finish,
            prompt_tokens=len(row.ids),
            new_tokens=len(row.new_ids),
            mean_logprob=row.logprob / max(1, len(row.new_ids)),
            dropped_turns=prompt.dropped_turns,
            timings=Timings(
                queued_s=(row.started_at or row.finished_at) - asked_at,
                prefill_s=row.prefill_s,
                decode_s=row.finished_at - row.prefilled_at if row.prefilled_at else 0.0,
            ),
            hashes=self.hashes(variant, chosen),
        )
        return Piece(row.index, row.text, answer.shown, answer)

    def hashes(self, variant: Variant, chosen: Format) -> dict:
        """What it takes to know that an answer was made by the very same thing."""
        adapters: Mapping[str, str] = {name: self.adapters[name].hash for name in variant.adapters}
        identity = short_hash(variant.prompt) if variant.prompt is not None else None
        return {"base": self.base.hash, "adapters": adapters, "format": chosen.hash, "identity": identity}


def out_of_memory(error: BaseException) -> bool:
    """CUDA has an error type for it, but not for its libraries; the CPU allocator says it in a RuntimeError."""
    said = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(text in str(error) for text in said)


def no_numbers(variant: Variant) -> str:
    heard = [name for name, strength in variant.adapters.items() if strength]
    without = f"ask it without {' and '.join(map(repr, heard))}, or " if heard else ""
    return f"Variant {variant.name!r} has no answer: the model computed NaN or infinity for it; {without}start with --dtype fp32."


def copied(requests: Sequence[Request]) -> list[Request]:
    """The requests as they are now: a conversation that goes on while they wait for the lock is not theirs. Raises TooMuch."""
    limits.check(requests)
    copies: dict[int, object] = {}  # variants that are asked the same question share its messages

    def copy(message: object) -> object:
        return copies.setdefault(id(message), dict(message) if isinstance(message, dict) else message)

    return [replace(request, messages=[copy(message) for message in request.messages]) for request in requests]
