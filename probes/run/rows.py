"""The answers of a run as plain rows, one per probe, variant and sample: what the answers file holds.

Suggestions, labels and exports read `question`, `answer`, `raw` and `lang`; the rest is what it takes to make the answer
again. Earlier turns of the same probe stand under `before`; the whole prompt stands under `prompt`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from engine.thoughts import split_thoughts
from probes.questions import Probe, check_answer, from_dict
from probes.run import plan
from store import runs
from store.runs import Place

PLAIN = ("raw", "prompt", "format", "finish", "prompt_tokens", "new_tokens", "mean_logprob", "dropped_turns", "timings", "hashes")


def rows_of(db: str | Path, run_id: int) -> list[dict]:
    """What is there so far, probe by probe; a place without an answer but with a problem has `answer` null. Raises StoreError."""
    run, there = runs.get(db, run_id), runs.answers_by_place(db, run_id)
    places = itertools.product(map(from_dict, run["probes"]), range(len(run["variants"])), range(run["samples"]))
    return _rows(run, there, runs.margins(db, run_id), places)


def news_of(db: str | Path, run: Mapping, since: int) -> tuple[int, list[dict]]:
    """(what to ask with next time, the rows that have come since, in the order in which they came). run: as `runs.get` gives it.
    Raises StoreError."""
    last, there = runs.news_by_place(db, run["id"], since)
    if not there:
        return last, []
    probes = {one["id"]: one for one in run["probes"]}
    asked = dict.fromkeys((probe, at, sample) for at, sample, probe, _ in there)
    places = [(from_dict(probes[probe]), at, sample) for probe, at, sample in asked]
    return last, _rows(run, there, runs.margins(db, run["id"]), places)


def _rows(run: Mapping, there: Mapping[Place, Mapping], margins: Mapping, places: Iterable[tuple[Probe, int, int]]) -> list[dict]:
    """places: probe, variant and sample."""
    script = run["settings"].get("script")
    found = []
    for probe, at, sample in places:
        *before, last = [there.get((at, sample, probe.id, turn)) for turn in range(plan.judged_turn(probe, script) + 1)]
        if last is not None:
            margin = margin_of(margins.get((at, probe.id)))
            found.append(answer_row(run, probe, run["variants"][at], sample, before, last, script) | margin)
    return found


def answer_row(
    run: Mapping,
    probe: Probe,
    variant: Mapping,
    sample: int,
    before: Sequence[Mapping | None],
    last: Mapping,
    script: plan.Script | None,
) -> dict:
    """before, last: the answers to all the probe's turns; the last one is judged."""
    turns = plan.turns_of(probe, script)
    at = plan.checked_turn(probe, script)
    checked = None if at is None else [*before, last][at]
    decoding = last["variant"]["decoding"] if "variant" in last else variant["decoding"]
    return {
        "run": run["id"],
        "probe_id": probe.id,
        "variant": variant["name"],
        "lang": probe.lang,
        "question": turns[-1],
        "answer": last.get("shown"),
        "raw": last.get("raw"),
        "prompt": last.get("prompt"),
        "group": probe.group,
        "category": probe.category,
        "pair": probe.pair,
        "held_out": probe.held_out,
        "sample": sample,
        "mode": run["mode"],
        "before": [
            {"question": turn, "answer": answer.get("shown"), "raw": answer.get("raw")}
            for turn, answer in zip(turns[:-1], before, strict=True)
            if answer
        ],
        "check": _check(probe, checked) if checked else None,
        "expect": dict(probe.expect) if probe.expect else None,
        "identity": variant["identity"],
        "identity_mode": variant["mode"],
        "adapters": variant["adapters"],
        "temperature": decoding["temperature"],
        "seed": decoding["seed"] if decoding["temperature"] else None,
        "decoding": decoding,
        "base": run["base"],
        "set": run["set_name"],
        "set_hash": run["set_hash"],
        "reused": last["reused"],
        "problem": last["problem"],
        "answer_id": last.get("id"),
        "created": last.get("created"),
    } | {name: last.get(name) for name in PLAIN}


def _check(probe: Probe, answer: Mapping) -> bool | None:
    """Right or wrong is what was said; None where a thought never ended, so that nobody knows what would have been."""
    said = split_thoughts(answer.get("raw") or "", answer.get("prompt") or "")
    return check_answer(probe, said.answer) if said.finished else None


def margin_of(sides: tuple[float, float] | None) -> dict:
    """The identity margin's columns, null where it was not measured."""
    if sides is None:
        return {"margin": None, "margin_old": None, "margin_new": None}
    old, new = sides
    return {"margin": new - old, "margin_old": old, "margin_new": new}
