"""What people chose, as files for training: the form below the votes. No Gradio."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from common.errors import UserError
from probes import training_rows
from probes.training_rows import LEFT_OUT, TrainingRows
from probes.verdicts.rules import CLEAN, FORGOTTEN, FORMED, NOT_FORGOTTEN
from ui import temp_files
from ui.context import App
from ui.html import paragraph
from ui.tabs.results.source import RUN
from ui.words import say

GOOD = {"new": FORMED, "old": NOT_FORGOTTEN, "neither": FORGOTTEN}  # who is to speak -> the label of such answers
CHOSEN, ALL = "chosen", "all"
SCOPES = (CHOSEN, ALL)


def make_files(app: App, lang: str, sources: Sequence[str], scope: str, speaker: str) -> tuple[str, list[str]]:
    """(what they hold and what was left out, HTML; the files). sources: of the form above. Raises UserError."""
    made = training_rows.collect(app.db, **_scope(lang, sources, scope), good=(GOOD[speaker], CLEAN))
    if not made.pairs and not made.answers:
        return _described(lang, made, "results_train_none"), []
    written = training_rows.write_files(made, temp_files.new_folder())
    return _described(lang, made, "results_train_made"), [str(path) for path in written]


def _scope(lang: str, sources: Sequence[str], scope: str) -> dict[str, list[int]]:
    if scope == ALL:
        return {}
    chosen = [source.split() for source in sources]
    if not chosen:
        raise UserError(say(lang, "results_train_nothing_chosen"))
    return {
        "runs": [int(number) for kind, number in chosen if kind == RUN],
        "queues": [int(number) for kind, number in chosen if kind != RUN],
    }


def _described(lang: str, made: TrainingRows, head: str) -> str:
    lines = [say(lang, head, pairs=len(made.pairs), answers=len(made.answers))]
    lines += [say(lang, f"results_train_{key}", count=made.left_out[key]) for key in LEFT_OUT if made.left_out[key]]
    lines += [say(lang, "results_train_prompted", count=made.prompted)] if made.prompted else []
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines[1:])
    warned = paragraph(say(lang, "results_train_probes", count=made.probes), "mt-note mt-note-warn") if made.probes else ""
    return f'<div role="status">{paragraph(lines[0], "mt-train-made")}<ul class="mt-settle">{listed}</ul>{warned}</div>'
