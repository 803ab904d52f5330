"""One cell enlarged: everything that is known of an answer, as plain data for the page. No Gradio."""

from __future__ import annotations

from collections.abc import Mapping

from probes.questions import ProbeError
from probes.second_opinion import JudgeError, second_opinion
from probes.suggest.labels import judged_text, suggest
from store import opinions, runs
from ui.answer_html import split_shown
from ui.context import App
from ui.tabs.probes.judged import JudgedRun, RunCache

HISTORY = 30


def cell_payload(app: App, cache: RunCache, run: int, probe: str, variant: int, other: int | None = None) -> dict:
    """samples (the headline first), history in other runs, and the same cell of the run that is compared with."""
    judged_run = cache.of(app, run)
    with judged_run.lock:
        samples = [dict(row) for key, row in judged_run.rows.items() if key[0] == probe and key[1] == variant]
    samples.sort(key=lambda row: row["sample"])
    name = runs.get(app.db, run)["variants"][variant]["name"]
    compared = None if other is None else headlines_of(cache.of(app, other)).get((probe, name))
    return {
        "samples": [sample_payload(row) for row in samples],
        "history": probe_history(app, judged_run, run, probe, name, samples[0]["group"]) if samples else [],
        "compared": sample_payload(compared) if compared else None,
        "judge": app.judge.name if app.judge and judged_run.facts else None,
        "opinions": opinions_on(app, samples[0]["answer_id"]) if samples else [],
    }


def opinions_on(app: App, answer: int | None) -> list[dict]:
    """What judges have said of an answer, the latest first."""
    return [] if answer is None else opinions.of_answer(app.db, answer)[::-1]


def ask_judge(app: App, judged_run: JudgedRun, probe: str, variant: int) -> list[dict]:
    """Asks the judge about the cell's headline answer and stores what it says. Raises JudgeError, EngineError, ProbeError."""
    with judged_run.lock:
        row = judged_run.rows.get((probe, variant, 0))
    if app.judge is None:
        raise JudgeError("No judge was named; start the app with --judge base, or --judge URL --judge-model NAME.")
    if row is None or row["answer_id"] is None or judged_run.facts is None:
        raise ProbeError("There is nothing to judge: this cell has no answer, or its run no identities to compare with.")
    said = second_opinion(row, judged_run.facts, app.judge.ask)
    opinions.add(app.db, row["answer_id"], judge=app.judge.name, **said)
    return opinions_on(app, row["answer_id"])


def headlines_of(judged_run: JudgedRun) -> dict[tuple[str, str], dict]:
    """(probe id, variant's name) -> its first sample: how the cells of two runs find each other."""
    with judged_run.lock:
        return {(key[0], row["variant"]): row for key, row in judged_run.rows.items() if key[2] == 0}


def sample_payload(row: Mapping) -> dict:
    """What the page shows of one sample. marked: the judged text in pieces, (text, what it was taken for or "")."""
    timings = row["timings"] or {}
    decoding = row["decoding"] or {}
    said = split_shown(row["answer"] or "", row["prompt"])
    return {
        "answer": None if row["answer"] is None else said.answer,
        "thoughts": "\n".join(one.strip() for one in said.thoughts),
        "unfinished": not said.finished,
        "raw": row["raw"],
        "prompt": row["prompt"],
        "problem": row["problem"],
        "question": row["question"],
        "before": [turn | {"answer": split_shown(turn["answer"] or "").answer} for turn in row["before"]],
        "suggestion": row.get("suggestion"),
        "sure": row.get("sure"),
        "tags": row.get("tags") or {},
        "marked": mark_evidence(judged_text(row), row.get("evidence") or ()) if row["answer"] is not None else [],
        "check": row["check"],
        "sample": row["sample"],
        "temperature": row["temperature"],
        "seed": row["seed"],
        "finish": row["finish"],
        "tokens": row["new_tokens"],
        "prompt_tokens": row["prompt_tokens"],
        "seconds": round(sum(timings.get(key) or 0 for key in ("prefill_s", "decode_s")), 2) if timings else None,
        "logprob": row["mean_logprob"],
        "dropped": row["dropped_turns"],
        "format": row["format"],
        "max_new_tokens": decoding.get("max_new_tokens"),
        "margin": row["margin"],
        "margin_old": row["margin_old"],
        "margin_new": row["margin_new"],
        "reused": bool(row["reused"]),
        "answer_id": row["answer_id"],
        "created": row["created"],
        "hashes": row["hashes"] or {},
    }


def mark_evidence(text: str, evidence) -> list[list[str]]:
    """The text in pieces, in order: [piece, what it was taken for]; where spans overlap, the one that begins first counts."""
    pieces, at = [], 0
    for span in sorted(evidence, key=lambda one: (one["start"], -one["end"])):
        start, end = max(span["start"], at), span["end"]
        if end <= at or start >= len(text):
            continue
        if start > at:
            pieces.append([text[at:start], ""])
        also = [one["what"] for one in evidence if one["start"] == span["start"] and one["end"] == span["end"]]
        pieces.append([text[start:end], "; ".join(dict.fromkeys(also))])
        at = end
    if at < len(text):
        pieces.append([text[at:], ""])
    return pieces


def probe_history(app: App, judged_run: JudgedRun, run: int, probe: str, name: str, group: str) -> list[dict]:
    """The first answers to a probe of this id in other runs, those of a variant of the same name first."""
    found = [one for one in runs.of_probe(app.db, probe) if one["run"] != run and one["sample"] == 0]
    found.sort(key=lambda one: (one["run_variant"] != name, -one["run"]))
    told = []
    for one in found[:HISTORY]:
        row = {key: one[key] for key in ("raw", "prompt", "question")} | {"answer": one["shown"], "group": group}
        told.append(
            {
                "run": one["run"],
                "run_name": one["run_name"],
                "set_name": one["set_name"],
                "created": one["run_created"],
                "variant": one["run_variant"],
                "same": one["run_variant"] == name,
                "question": one["question"],
                "answer": split_shown(one["shown"], one["prompt"]).answer,
                "suggestion": suggest(row, judged_run.facts)["suggestion"] if judged_run.facts else None,
            }
        )
    return told
