"""What leaves the Probes tab: files for people and programs, and queues for those who label. No Gradio."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape

import store
from probes.answers import exchange, sources
from probes.questions import ProbeError
from ui.answer_html import split_shown
from ui.context import App
from ui.tabs.probes.judged import JudgedRun

COLUMNS = (
    "answer_id", "run", "variant", "lang", "probe_id", "group", "category", "sample", "question", "answer", "raw", "suggestion",
    "sure", "tags", "check", "margin", "finish", "new_tokens", "temperature", "seed", "reused", "problem", "set", "set_hash",
)  # fmt: skip
KINDS = ("csv", "jsonl", "md")


def file_text(judged_run: JudgedRun, rows: Sequence[Mapping], kind: str) -> str:
    """The rows as one file's text. Raises ProbeError for a kind there is not."""
    if kind == "csv":
        return "\ufeff" + exchange.as_csv([{key: row.get(key) for key in COLUMNS} for row in rows], COLUMNS)
    if kind == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if kind == "md":
        return render_markdown(judged_run, rows)
    raise ProbeError(f"There is no export {kind!r}; there are {', '.join(KINDS)}.")


def render_markdown(judged_run: JudgedRun, rows: Sequence[Mapping]) -> str:
    """A table, probes down, variants across, first samples only; suggestions are called that."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    probes: dict[str, dict[str, Mapping]] = {}
    for row in rows:
        if row["sample"] == 0:
            probes.setdefault(row["probe_id"], {})[row["variant"]] = row
    first = next(iter(rows), {})
    old, new = judged_run.names
    head = f"# Run {first.get('run', '')}: {first.get('set', '')}\n\n"
    head += f"Old identity: {old or '-'}; new identity: {new or '-'}. Words in brackets are suggestions, not labels.\n\n"
    lines = ["| probe | question | " + " | ".join(map(_plain, variants)) + " |", "|---|---|" + "---|" * len(variants)]
    for probe, said in probes.items():
        question = next(iter(said.values()))["question"]
        lines.append(
            f"| {_plain(probe)} | {_plain(question)} | " + " | ".join(_cell(said.get(variant)) for variant in variants) + " |"
        )
    return head + "\n".join(lines) + "\n"


def _cell(row: Mapping | None) -> str:
    if row is None:
        return ""
    if row["answer"] is None:
        return f"*failed: {_plain(row['problem'] or '')}*"
    told = [f"suggested: {row['suggestion']}{'' if row['sure'] else ', unsure'}"] if row.get("suggestion") else []
    told += [] if row["check"] is None else ["right" if row["check"] else "wrong"]
    return _plain(split_shown(row["answer"], row["prompt"]).answer) + (f" *[{'; '.join(told)}]*" if told else "")


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    lines = [" ".join(line.split()) for line in str(text).strip().splitlines()]
    kept = escape("\n".join(lines), quote=False).replace("\\", "\\\\")
    for mark in "|`*_[]#~":
        kept = kept.replace(mark, f"\\{mark}")
    return kept.replace("\n", "<br>")


def make_queue(app: App, rows: Sequence[Mapping], name: str, *, overlap: int = 1, blind: bool = True) -> dict:
    """Makes a queue of these rows: its id, how many answers are in it, and how many rows were left out.

    Left out are answers that failed and retention probes, which a check judges. Raises StoreError or ProbeError.
    """
    items = sources.queue_items(rows)
    if not items:
        raise ProbeError("None of these answers can be labelled: checks judge retention probes, and failed ones are empty.")
    name = name.strip() or "queue"
    queue = store.queues.create(app.db, name, items, overlap=overlap, blind=blind, strategy="stratified")
    made = len({item["answer"] for item in items})
    return {"queue": queue, "name": name, "answers": made, "left_out": len(rows) - made}
