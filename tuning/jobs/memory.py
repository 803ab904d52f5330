"""One device, two needs: whether a job fits beside the chat's base, and parking the base in CPU memory if it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from sqlite_utils import Database

from engine import device as device_room
from engine.room import BESIDE, choose_dtype, configured_bytes, folder_of, free_bytes, gib, weights_of
from engine.types import EngineError
from store import jobs as stored
from tuning.train.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from engine import Engine

MARGIN = 4 / 3  # the estimate leaves out fragments and passing copies
# beside tensors, measured with torch 2.13: a process that has imported torch and transformers; a CUDA context with its libraries
PROCESS_BYTES = {"cpu": 700 * 2**20, "cuda": 600 * 2**20}


@dataclass(frozen=True)
class Sketch:
    """A base as far as its cost depends on it; the model has shapes without numbers."""

    model: PreTrainedModel
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True)
class Room:
    """Bytes on `device`. beside: free with the chat's base in its place; parked: free with the base in CPU memory."""

    device: str
    needed: int
    beside: int
    parked: int

    @property
    def fits(self) -> bool:
        return self.needed <= self.beside

    @property
    def fits_parked(self) -> bool:
        return self.needed <= self.parked

    @property
    def sentence(self) -> str:
        """For a person, before they start."""
        need = f"The run needs about {gib(self.needed)} on {self.device}"
        if self.fits:
            return f"{need}, and {gib(self.beside)} are free."
        if self.fits_parked:
            return f"{need}, and {gib(self.beside)} are free; {gib(self.parked)} with the chat's base parked in CPU memory."
        advice = "use a smaller --pack_tokens or --load_in_4bit, or free some memory"
        also = ", even with the chat's base parked in CPU memory" if self.parked > self.beside else ""
        return f"{need}, and only {gib(self.parked)} are free{also}; {advice}."


def needed_bytes(settings: Settings) -> int:
    """Bytes that a run of these settings takes on its device, about; nothing is loaded. Raises EngineError for an unknown base.

    The base's weights in its number format; 16 bytes per adapter parameter, whose number is the rank times the layers' widths;
    activations of one pack (tuning.train.run_memory.estimate_memory has the formula); a margin; the process itself.
    """
    from tuning.train import run_memory

    base = sketch_base(settings)
    tokens = settings.pack_tokens or run_memory.pack_budget(base) if settings.packing else settings.cutoff_len
    return int(run_memory.memory_bytes(base, settings, tokens) * MARGIN) + PROCESS_BYTES.get(base.device.type, 0)


def sketch_base(settings: Settings) -> Sketch:
    """What the trainer would load."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from engine.bases import find

    source, _ = find(settings.base_model, say=lambda _: None)
    device, _ = device_room.choose_device(settings.device or None)
    trust = settings.trust_remote_code
    config = AutoConfig.from_pretrained(source, trust_remote_code=trust)
    with torch.device("meta"):
        # in fp32 whatever the base is stored in: transformers sets the whole process' default dtype meanwhile, and two forms
        # that ask at once would leave it at half
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=trust)
    return Sketch(model=model, device=device, dtype=dtype_of(source, device, settings.dtype))


def dtype_of(source: str, device: torch.device, asked: str) -> torch.dtype:
    """What the trainer would choose at this moment; where nothing fits now, what it would choose with room enough."""
    try:
        return choose_dtype(source, device, asked or None)[0]
    except EngineError:
        return device_room.choose_dtype(device, asked or None)[0]


def needed_to_merge(spec: str, asks: bool = False) -> int | None:
    """Bytes that writing an adapter into this base takes, about; None if that cannot be told. Raises EngineError.

    asks: it is asked before and after, one model at a time, in fp32 where the CPU has nothing narrower.
    """
    from engine.bases import find

    source, _ = find(spec, say=lambda _: None)
    weights, folder = weights_of(source), folder_of(source)
    if weights is None or folder is None:
        return None
    stored = configured_bytes(folder) or 4  # tuning.merge keeps the base's format, fp32 where it names none
    stored = max(stored, 4) if asks else stored
    return int((weights.numbers * stored + weights.fixed) * BESIDE) + PROCESS_BYTES["cpu"]


def find_room(needed: int, device: str, engine: Engine | None = None) -> Room:
    """Whether so much fits on a device, and whether parking the chat's base would help."""
    now = int(free_bytes(device))
    if engine is not None and where_is(engine) == device:
        now += engine.kept.bytes  # it gives that back when the job starts
    # quantised weights stay where they are (`Engine.park`)
    if engine is None or device == "cpu" or where_is(engine) != device or engine.base.quantized:
        return Room(device, needed, now, now)
    base = engine.bank.size()
    return Room(device, needed, now - base, now) if engine.parked else Room(device, needed, now, now + base)


def where_is(engine: Engine) -> str:
    """The name under which jobs know the engine's device."""
    return "cuda:0" if str(engine.base.device) == "cuda" else str(engine.base.device)


def admission(engine: Engine | None, where: str | Path | Database) -> Callable[[dict], str | None]:
    """`may_start` for `tuning.jobs.queue.tick`: a job starts when it fits; parks the base where the job allows it and needs it.

    That it did stands in the job (`parked`), for `settle_admission` and for an app that is started later. A job of which
    nobody knows how much it needs starts when no other runs, so that it is the only one that suffers if it is too large.
    """

    def may_start(job: dict) -> str | None:
        if not job["needs_bytes"]:
            return reason_to_wait(job, stored.active(where))
        found = find_room(job["needs_bytes"], job["device"], engine)
        if engine and where_is(engine) == job["device"] and found.needed > found.beside - engine.kept.bytes:
            engine.forget()
        if found.fits:
            stored.change(where, job, parked=0)
            return None
        if engine and job["park"] and found.fits_parked:
            stored.change(where, job, parked=1)  # first, so that `settle_admission` in another thread leaves it parked
            engine.park(parked_sentence(job))
            found = find_room(job["needs_bytes"], job["device"], engine)
            if found.fits_parked:
                return None
        stored.change(where, job, parked=0)
        return f"Waiting for memory: {found.sentence[0].lower()}{found.sentence[1:]}"

    return may_start


def reason_to_wait(job: dict, running: list[dict]) -> str | None:
    """Why a job without an estimate has to wait, if so."""
    if not running:
        return None
    first = f"job {running[0]['id']} ({running[0]['name']})"
    why = job["unestimated"] or "nobody made an estimate."
    return f"Waiting until {first} has ended, as it cannot be told how much memory this one needs: {why}"


def settle_admission(engine: Engine, where: str | Path | Database) -> None:
    """After a tick: the base is parked as long as a job needs that, and comes back by itself; a chat beside a job leaves the job
    its memory, and runs into its own limit (an EngineError) before the job runs out."""
    if engine.base.device.type == "cpu":
        return
    here = [job for job in stored.unfinished(where) if job["device"] == where_is(engine)]
    needing = [job for job in here if job["parked"] and not engine.base.quantized]
    if needing:
        engine.park(parked_sentence(needing[0]))
    elif engine.parked:
        try:
            engine.unpark()
        except EngineError:
            return  # the chat says so; the next tick tries again
    limit_gpu_memory(engine, sum(job["needs_bytes"] or 0 for job in here if job["status"] != "queued"))


def limit_gpu_memory(engine: Engine, others: int) -> None:
    """Keeps this process from taking the GPU memory that `others` bytes of jobs were promised."""
    total = torch.cuda.mem_get_info(engine.base.device)[1]
    wanted = total - others if others else None
    if wanted == engine.limit:
        return
    with engine.lock:
        engine.limit = wanted
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(max(0.0, min(1.0, (wanted or total) / total)), engine.base.device)


def parked_sentence(job: dict) -> str:
    """Why the base is parked, for the chat."""
    return (
        f"The base is parked in CPU memory while job {job['id']} ({job['name']}) trains on {job['device']}; "
        "it comes back by itself when the job has ended."
    )
