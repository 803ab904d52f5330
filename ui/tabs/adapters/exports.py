"""Models that were or are being exported, as the page lists them: how far, and what became of their answers. HTML only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from store.jobs import ACTIVE
from tuning.export import comparing
from tuning.jobs.progress import tail
from ui.html import fold, paragraph, row, table
from ui.words import say

BUSY = (*ACTIVE, "queued")
# what the program's last line says, and under which key the page says it
STAGES = {
    re.compile(r"asking before: (\d+) of (\d+)"): "export_asking_before",
    re.compile(r"asking the export: (\d+) of (\d+)"): "export_asking_after",
    re.compile(r"writing .*: tensor (\d+) of (\d+)"): "export_writing",
}


def exports_html(lang: str, jobs: Sequence[Mapping]) -> str:
    """The latest first."""
    rows = "".join(f"<li>{''.join(export_html(lang, job))}</li>" for job in jobs)
    return f'<h3>{escape(say(lang, "exports"))}</h3><ul class="mt-exports">{rows}</ul>' if rows else ""


def export_html(lang: str, job: Mapping) -> Iterator[str]:
    target = Path(argument(job, "--output_dir"))
    busy, failed = job["status"] in BUSY, job["status"] in ("failed", "died")
    kind = "bad" if failed else "done" if job["status"] == "done" else "busy"
    status = "merging" if job["status"] == "running" else "stopped" if job["status"] == "discarded" else job["status"]
    state = escape(say(lang, f"status_{status}"))
    yield f'<strong>{escape(job["name"])}</strong><span class="mt-state mt-state-{kind}">{state}</span> '
    yield f"<code>{escape(str(target))}</code>"
    if busy:
        last = tail(job["log"], 1) if job["status"] != "queued" else job["message"]
        words, share = stage(lang, "" if last.startswith("$") else last)
        yield f'<div class="mt-progress"><i style="width:{share:.0%}"></i></div>' if share else MOVING
        yield paragraph(words, "mt-by") if words else ""
    elif job["status"] == "discarded":
        yield paragraph(say(lang, "export_stopped_whole" if target.exists() else "export_stopped"), "mt-by")
    else:
        yield paragraph(job["message"], "mt-by") if job["message"] else ""
        yield outcome_html(lang, target)


MOVING = '<div class="mt-progress mt-moving"><i></i></div>'


def argument(job: Mapping, flag: str) -> str:
    words = job["arguments"]
    return words[words.index(flag) + 1] if flag in words else ""


def stage(lang: str, line: str) -> tuple[str, float]:
    """(what is going on, how much of it is done); 0 where nobody knows."""
    for known, key in STAGES.items():
        if found := known.fullmatch(line):
            done, total = int(found[1]), int(found[2])
            return say(lang, key, done=done, total=total), min(1.0, done / max(1, total))
    return line, 0.0


def outcome_html(lang: str, target: Path) -> str:
    """What became of the answers, and those that changed side by side; "" where it was not asked."""
    kept = comparing.read_kept(target)
    if kept is None:
        return ""
    answered, about = kept
    changed = [one for one in answered if not one.same]
    count = dict(same=len(answered) - len(changed), all=len(answered), through=about["through"])
    lines = [say(lang, "export_same", **count)]
    for tongue, (before, after, known) in comparing.kept(answered).items():
        lines.append(say(lang, "export_kept", tongue=say(lang, f"pb_lang_{tongue}"), before=before, after=after, all=known))
    said = "".join(paragraph(line, "mt-by") for line in lines)
    if not changed:
        return said
    rows = [row([escape(text) for text in (one.question, one.before, one.after)]) for one in changed]
    heads = [say(lang, key) for key in ("export_question", "export_before", "export_after")]
    return said + fold(say(lang, "export_changed", count=len(changed)), table(heads, rows, "mt-changed"))
