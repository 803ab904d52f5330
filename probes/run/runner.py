"""Asking a probe set of many variants: batched, stored as the answers come, resumed without asking anything twice.

`run` yields what happens; nothing computes unless somebody iterates. It may be iterated from several threads in turn,
as a page does: no connection and no lock is held between two events.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from engine import Answer, Engine, EngineError, Message, Request, Variant, limits, thoughts
from probes.questions import Probe, ProbeError, as_dict, from_dict
from probes.run import plan
from probes.run.line import Line, request_size
from probes.run.plan import Conversation, PlannedTurn
from probes.run.settings import Reply, RunProgress, RunSettings, Switches
from store import answers, owners, runs
from store.db import StoreError, connected
from store.runs import Entry, Status

EVENT_S = 0.5  # at the latest there is news this often, if only of the time left
BATCHES_AT_ONCE = 8  # engine batches handed over together: rows refill within them, and others' rows come between them
BESIDE_SETTINGS = ("about", "base_spec")  # what a run's row keeps under `settings` beside them
Settled = tuple[Conversation, Mapping[str, Any] | None, str | None]  # whose turn, its answer, or why there is none
PLAIN = ("raw", "shown", "prompt", "format", "finish", "prompt_tokens", "new_tokens", "mean_logprob", "dropped_turns")


def run(
    engine: Engine,
    variants: Sequence[Variant],
    probes: Sequence[Probe],
    settings: RunSettings | None = None,
    *,
    db: str | Path | None = None,
    run_id: int | None = None,
    name: str = "",
    set_name: str = "",
    reuse: bool = True,
    at_once: int | None = None,
    switches: Switches | None = None,
    about: Mapping | None = None,
) -> Iterator[RunProgress]:
    """Ask every probe (placeholders filled) of every variant; events until the last one says stopped or done.

    With `db` answers are stored as they come, and a request that was answered before is taken from there (unless `reuse` is
    False). run_id continues that run: `read_run` gives what belongs to it. Closing the generator stops the run. about: plain data
    kept in the run's row under `settings`, such as the facts that its suggestions compare with.
    Raises ProbeError and, from the engine, EngineError; the run is then marked as failed and can be continued.
    """
    settings, switches = settings or RunSettings(), switches or Switches()
    if not probes or not variants:
        raise ProbeError("A run needs at least one probe and one variant.")
    if settings.script is not None:
        plan.check_script(settings.script, probes)
    variants = [dataclasses.replace(one, name=engine.base.named(one.name)) for one in variants]
    open_ = plan.plan_conversations(probes, len(variants), settings.samples, settings.mode, settings.script)
    total = sum(len(conversation.turns) for conversation in open_)
    claim = owners.Claim()
    if db is not None and run_id is None:
        run_id = runs.start(
            db,
            variants=[describe_variant(engine, variant) for variant in variants],
            probes=[as_dict(probe) for probe in probes],
            set_hash=plan.set_hash(probes),
            total=total,
            mode=settings.mode,
            samples=settings.samples,
            name=name,
            set_name=set_name,
            base={"name": engine.base.name, "hash": engine.base.hash, "dtype": engine.base.number_format},
            settings=dataclasses.asdict(settings) | {"base_spec": engine.base.spec} | ({"about": dict(about)} if about else {}),
            owner=claim.text,
        )
    line = Line(open_)
    asking = Asking(engine, variants, settings, db, run_id if db is not None else None, reuse, switches, total, line, claim)
    return asking.events(min(at_once or BATCHES_AT_ONCE * engine.max_rows, limits.ROWS))


class SavedRun(NamedTuple):
    """What `run` needs to continue a run, and its row (`variants` in it also hold `hashes` and the adapters' `paths`)."""

    variants: list[Variant]
    probes: list[Probe]
    settings: RunSettings
    row: dict[str, Any]


def read_run(db: str | Path, run_id: int) -> SavedRun:
    """A run from the store, to be continued. Raises StoreError."""
    row = runs.get(db, run_id)
    names = {f.name for f in dataclasses.fields(Variant)}
    variants = [Variant.from_dict({key: value for key, value in one.items() if key in names}) for one in row["variants"]]
    settings = {key: value for key, value in row["settings"].items() if key not in BESIDE_SETTINGS}
    return SavedRun(variants, [from_dict(probe) for probe in row["probes"]], RunSettings(**settings), row)


def check_same(engine: Engine, row: Mapping) -> None:
    """Raises ProbeError unless base and adapters are those that the run began with; half a run of each would be neither."""
    wrong = []
    ours = {"base_hash": engine.base.hash, "dtype": engine.base.number_format}
    for key, value in ours.items():
        if row[key] != value:
            wrong.append(f"its {key.replace('_hash', '')} was {row[key]} ({row['base']}), the one loaded is {value}")
    for one in row["variants"]:
        for adapter, hash_ in one["hashes"]["adapters"].items():
            if adapter not in engine.adapters or engine.adapters[adapter].hash != hash_:
                wrong.append(f"adapter {adapter!r} is not loaded as it was ({hash_})")
    if wrong:
        raise ProbeError(f"Run {row['id']} cannot be continued: {'; '.join(dict.fromkeys(wrong))}.")


def describe_variant(engine: Engine, variant: Variant) -> dict:
    paths = {name: str(Path(engine.adapters[name].path).resolve()) for name in variant.adapters}
    return variant.as_dict() | {"hashes": engine.resolve(variant).hashes, "paths": paths}


@dataclass(eq=False)
class Asking:
    """One run under way: what is open, what is done, and the clock."""

    engine: Engine
    variants: Sequence[Variant]
    settings: RunSettings
    db: str | Path | None
    run: int | None
    reuse: bool
    switches: Switches
    total: int
    line: Line
    claim: owners.Claim
    done: int = 0
    reused: int = 0
    failed: int = 0
    asked: int = 0
    hashes: list[dict] = field(default_factory=list)  # per variant
    begun: dict[int, bool] = field(default_factory=dict)  # row of the chunk -> finished
    busy_s: float = 0.0
    since: float = 0.0
    started: float = 0.0
    beaten: float = 0.0

    def events(self, at_once: int) -> Iterator[RunProgress]:
        self.started = self.beaten = time.monotonic()
        if self.run is not None:
            runs.take_over(self.db, self.run, self.claim.text)
        status: Status = "stopped"
        message = ""
        try:
            self.hashes = [self.engine.resolve(variant).hashes for variant in self.variants]
            self.replay()
            self.mark("running")
            yield self.progress("running")
            while self.line.open and not self.switches.stop.is_set():
                self.beat()
                if self.switches.pause.is_set():
                    yield from self.paused()
                    continue
                replies = self.from_store()
                if replies:
                    yield self.progress("running", replies)
                    continue
                yield from self.ask(self.chunk(at_once))
            status = "done" if not self.line.open else "stopped"
        except Exception as error:
            status, message = "failed", str(error)
            raise
        finally:
            try:
                self.mark(status, message)
            except StoreError:
                if status != "failed":  # else that is what is told, be it that the run is somebody else's by now
                    raise
            finally:
                self.claim.release()
        yield self.progress(status)

    def replay(self) -> None:
        """Go on from where the run was left."""
        there = runs.answers_by_place(self.db, self.run) if self.run is not None else {}
        for conversation in list(self.line.open) if there else ():
            while conversation.turns and (found := there.get(conversation.turns[0].place)):
                self.reused += found["reused"]
                self.advance(conversation, None if found["problem"] else found, found["problem"])
            self.line.moved(conversation)

    def paused(self) -> Iterator[RunProgress]:
        self.mark("paused")
        while self.switches.pause.is_set() and not self.switches.stop.is_set():
            self.beat()
            yield self.progress("paused")
            self.switches.stop.wait(EVENT_S)
        self.mark("running")

    def from_store(self) -> list[Reply]:
        """Every open conversation's next turn that was answered before, in this run or anywhere else."""
        if self.db is None or not self.reuse:
            return []
        new, self.line.unlooked = list(self.line.unlooked), {}
        if not new:
            return []
        found = []
        with connected(self.db) as db:
            for conversation in new:
                if known := answers.find(db, self.key(conversation)):
                    found.append((conversation, known))
        return self.settle([(conversation, known, None) for conversation, known in found], reused=True)

    def chunk(self, at_once: int) -> list[Conversation]:
        """What to ask next, each request once, in the line's order. The engine then batches by length in tokens; here
        characters do."""
        chosen: dict[object, Conversation] = {}
        twins = []
        room = limits.ALL_CHARACTERS // 2  # of one call; what is chosen has its question yet to come
        for conversation in self.line.taken():
            key = self.key(conversation) if self.db is not None and self.reuse else None
            if chosen.setdefault(key or id(conversation), conversation) is not conversation:
                twins.append(conversation)
            room -= request_size(conversation) + len(self.variants[conversation.variant].prompt or "")
            if len(chosen) == at_once or room < 0:
                break
        for conversation in twins:
            self.line.moved(conversation)  # it will be in the store when the other one is answered
        return list(chosen.values())

    def ask(self, chunk: list[Conversation]) -> Iterator[RunProgress]:
        requests = [self.request(conversation) for conversation in chunk]
        self.begun, self.since = {}, time.monotonic()
        told = 0.0
        stream = None
        try:
            stream = self.engine.stream(requests, owner=None if self.run is None else f"run {self.run}")
            for pieces in stream:
                begun = [piece for piece in pieces if not piece.before]
                self.begun |= {piece.row: piece.answer is not None or bool(piece.problem) for piece in begun}
                finished: list[Settled] = [
                    (chunk[piece.row], self.plain(requests[piece.row], piece.answer, chunk[piece.row]), None)
                    for piece in pieces
                    if piece.answer is not None and piece.answer.finish != "stopped"
                ]
                finished += [(chunk[piece.row], None, piece.problem) for piece in pieces if piece.problem]
                replies = self.settle(finished)
                self.asked += len(replies)
                if replies or time.monotonic() - told >= EVENT_S:
                    told = time.monotonic()
                    self.beat()
                    yield self.progress("running", replies)
                if self.switches.stop.is_set() or self.switches.pause.is_set():
                    return
        except EngineError as error:
            refused = self.refused(chunk, requests)
            if not refused:
                raise error
            yield self.progress("running", self.settle(refused))
        finally:
            if stream is not None:
                stream.close()
            for conversation in chunk:
                self.line.moved(conversation)
            self.busy_s, self.since, self.begun = self.busy(), 0.0, {}

    def refused(self, chunk: list[Conversation], requests: list[Request]) -> list[Settled]:
        """Those that the engine will not even render, such as a probe longer than the context: the others can be asked."""
        if getattr(self.engine, "away", ""):  # all of them, and only for now
            return []
        found: list[Settled] = []
        for conversation, request in zip(chunk, requests, strict=True):
            if not conversation.turns or self.request(conversation) != request:  # answered before the others were refused
                continue
            try:
                self.engine.render(request)
            except EngineError as error:
                found.append((conversation, None, str(error)))
        return found

    def settle(self, finished: Sequence[Settled], reused: bool = False) -> list[Reply]:
        """Store what came, link it, and let the conversations go on."""
        if not finished:
            return []
        ids: Sequence[int | None] = [None] * len(finished)
        if self.run is not None:
            entries = [
                Entry(
                    one.turns[0].place, None if reused else answer, answer["id"] if reused and answer else None, reused, problem
                )
                for one, answer, problem in finished
            ]
            dropped = [
                Entry(turn.place, problem=problem) for one, _, problem in finished if problem for turn in rest_of_probe(one)
            ]
            ids = runs.record(self.db, self.run, entries + dropped, self.claim.text)[: len(entries)]
        replies = []
        for (conversation, answer, problem), id_ in zip(finished, ids, strict=True):
            turn = conversation.turns[0]
            kept = None if answer is None else {**answer, "id": id_}
            replies.append(Reply(turn.place, turn.probe, kept, reused, problem))
            self.reused += reused
            self.advance(conversation, answer, problem)
            self.line.moved(conversation)
        return replies

    def advance(self, conversation: Conversation, answer: Mapping | None, problem: str | None) -> None:
        turn = conversation.turns.pop(0)
        self.done += 1
        if answer is not None:
            reply = thoughts.spoken_text(answer["raw"], answer.get("prompt") or "")  # templates leave out what was thought before
            conversation.said += [{"role": "user", "content": turn.text}, {"role": "assistant", "content": reply}]
            return
        dropped = len(rest_of_probe(conversation, turn))
        del conversation.turns[:dropped]
        self.done, self.failed = self.done + dropped, self.failed + 1 + dropped

    def request(self, conversation: Conversation) -> Request:
        turn = conversation.turns[0]
        variant = self.variants[conversation.variant]
        decoding = variant.decoding
        if conversation.sample and not decoding.temperature:
            decoding = dataclasses.replace(decoding, temperature=self.settings.temperature)
        if decoding.temperature:
            seed = plan.seed_of(variant.decoding.seed or self.settings.seed, turn.probe.id, conversation.sample, turn.place[-1])
            decoding = dataclasses.replace(decoding, seed=seed)
        messages: list[Message] = [*conversation.said, {"role": "user", "content": turn.text}]
        return Request(messages, dataclasses.replace(variant, decoding=decoding), goes_on=len(conversation.turns) > 1)

    def key(self, conversation: Conversation) -> str | None:
        request = self.request(conversation)
        return answers.request_key(request.variant.as_dict(), request.messages, self.hashes[conversation.variant])

    def plain(self, request: Request, answer: Answer, conversation: Conversation) -> dict:
        """An answer in the form in which it is stored."""
        return {name: getattr(answer, name) for name in PLAIN} | {
            "variant": request.variant.as_dict(),
            "messages": list(request.messages),
            "timings": dataclasses.asdict(answer.timings),
            "hashes": answer.hashes,
            "source": "probes",
            "lang": conversation.turns[0].probe.lang,
        }

    def mark(self, status: Status, message: str = "") -> None:
        if self.run is not None:
            runs.set_status(self.db, self.run, status, message, self.claim.text)

    def beat(self) -> None:
        """So that a program on another machine knows that somebody is at it."""
        if self.run is not None and time.monotonic() - self.beaten >= owners.BEAT_S:
            self.beaten = time.monotonic()
            runs.beat(self.db, self.run, self.claim.text)

    def busy(self) -> float:
        return self.busy_s + (time.monotonic() - self.since if self.since else 0.0)

    def progress(self, status: Status, new: Sequence[Reply] = ()) -> RunProgress:
        half = sum(not finished for finished in self.begun.values()) / 2  # rows in flight are half done on average
        left, rate = self.total - self.done, (self.asked + half) / self.busy() if self.busy() else 0.0
        left_s = max(0.0, left - half) / rate if rate and self.asked else None
        return RunProgress(
            run=self.run,
            status=status,
            done=self.done,
            total=self.total,
            reused=self.reused,
            failed=self.failed,
            elapsed_s=time.monotonic() - self.started,
            left_s=0.0 if not left else left_s,
            new=tuple(new),
        )


def rest_of_probe(conversation: Conversation, after: PlannedTurn | None = None) -> list[PlannedTurn]:
    """The further turns of the same probe: without an answer to this one they would be asked out of their context."""
    turns = conversation.turns if after else conversation.turns[1:]
    probe = (after or conversation.turns[0]).probe
    return list(itertools.takewhile(lambda turn: turn.probe == probe, turns))
