"""What the board's script asks of the server: runs, their cells, one cell, exports and queues, as plain data."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import gradio as gr
from pydantic import Field

from common import outside
from common.outside import Shape
from probes.questions import ProbeError
from probes.run import background
from probes.run.background import BackgroundRun
from store import runs
from store.labels import LABELS
from ui.access import roles
from ui.access.gate import visitor
from ui.context import App, sentence
from ui.html import paragraph
from ui.tabs.probes import cell, exports, judged as probes_judged, summary as probes_summary
from ui.tabs.probes.judged import JudgedRun, RunCache
from ui.words import LANGUAGES, WORDS, say

LISTED = 60  # runs in the list
SHOWN_WORDS = ("pb_", "seed", "greedy", "raw", "prompt", "finish_stop", "finish_length", "cancel")

Number = Annotated[int, Field(ge=0, lt=outside.INT64)]


class MatrixRequest(Shape):
    """What the board's script sends to any of its functions."""

    run: Number | None = None
    other: Number | None = None
    variant: Number = 0
    since: Number = 0
    overlap: Number | None = None
    act: str | None = None
    probe: str = ""
    stamp: str = ""
    kind: str | None = None
    name: str | None = None
    words: Any = None
    samples: bool | None = None
    blind: bool | None = None
    keys: list | None = None


@dataclass(frozen=True)
class Board:
    """What the functions below work on; each takes it, the page's language and the checked fields of a MatrixRequest."""

    app: App
    ongoing: BackgroundRun
    cache: RunCache

    @property
    def active(self) -> int | None:
        """The run under way."""
        return self.ongoing.run if background.is_busy(self.ongoing) else None

    def judged(self, given: Mapping) -> JudgedRun:
        """The run that is asked about. Raises StoreError."""
        return self.cache.of(self.app, int(given["run"]))


def pb_open(board: Board, lang: str, given: dict) -> dict:
    """A run with all its cells; without `run` the list alone, and which run is under way."""
    payload: dict[str, Any] = {"runs": list_runs(board.ongoing), "active": board.active, "word_order": LABELS}
    if given.get("words"):
        words = WORDS[lang if lang in LANGUAGES else "en"]
        payload["words"] = {key: text for key, text in words.items() if key.startswith(SHOWN_WORDS)}
    if given.get("run") is None:
        return payload
    run = int(given["run"])
    return payload | probes_judged.run_payload(board.app, board.cache, run, lang) | new_cells(board, lang, run, "", 0)


def pb_news(board: Board, lang: str, given: dict) -> dict:
    """What a page that has the first `since` cells of the stamp does not have yet, how the run is, and what else goes on."""
    payload = {"active": board.active}
    if given.get("run") is None:
        return payload
    return payload | new_cells(board, lang, int(given["run"]), given.get("stamp", ""), int(given.get("since", 0)))


def pb_act(board: Board, lang: str, given: dict) -> dict:
    """pause, stop or continue."""
    run = int(given["run"])
    acts = {"pause": background.pause_run, "stop": background.stop_run, "continue": background.resume_run}
    act = acts.get(given.get("act", ""))
    if act is None:
        raise ProbeError(f"There is nothing called {given.get('act')!r} to do with a run.")
    act(board.ongoing, run)
    return {"state": background.state_of(board.ongoing, runs.get(board.app.db, run))}


def pb_cell(board: Board, lang: str, given: dict) -> dict:
    other = None if given.get("other") is None else int(given["other"])
    return cell.cell_payload(board.app, board.cache, int(given["run"]), str(given["probe"]), int(given["variant"]), other)


def pb_opinion(board: Board, lang: str, given: dict) -> dict:
    """Asks the judge about a cell's first answer; all that judges have said of it."""
    return {"opinions": cell.ask_judge(board.app, board.judged(given), str(given["probe"]), int(given["variant"]))}


def pb_compare(board: Board, lang: str, given: dict) -> dict:
    """The first answers of another run, by probe and variant's name: [text, suggestion's place in WORDS or -1, check]."""
    words = LABELS
    found = cell.headlines_of(board.cache.of(board.app, int(given["other"])))
    return {
        "cells": [
            [probe, name, row["answer"] or "", words.index(row["suggestion"]) if row.get("suggestion") in words else -1]
            for (probe, name), row in found.items()
        ]
    }


def pb_export(board: Board, lang: str, given: dict) -> dict:
    """The rows that the page shows as one file: its name and its text."""
    judged_run = board.judged(given)
    rows = probes_judged.chosen_rows(judged_run, given.get("keys"))
    stamp = time.strftime("%Y%m%d-%H%M")
    kind = str(given.get("kind"))
    return {"name": f"run-{int(given['run'])}-{stamp}.{kind}", "text": exports.file_text(judged_run, rows, kind)}


def pb_send(board: Board, lang: str, given: dict) -> dict:
    """A queue of what the page shows."""
    rows = probes_judged.chosen_rows(board.judged(given), given.get("keys"), samples=bool(given.get("samples")))
    overlap = max(1, int(given.get("overlap") or 1))
    name, blind = str(given.get("name") or ""), bool(given.get("blind", True))
    made = exports.make_queue(board.app, rows, name, overlap=overlap, blind=blind)
    left = say(lang, "pb_left_out", number=made["left_out"]) if made["left_out"] else ""
    return made | {"said": say(lang, "pb_sent", name=made["name"], answers=made["answers"]) + left}


FUNCTIONS = (pb_open, pb_news, pb_act, pb_cell, pb_opinion, pb_compare, pb_export, pb_send)
WITHOUT_RUN = (pb_open, pb_news, pb_compare)  # may be asked without saying of which run


def board_functions(app: App, ongoing: BackgroundRun, cache: RunCache) -> list[Callable]:
    """What the board's script calls, each with one object and the request; a mistake comes back as {"error": sentence}."""
    board = Board(app, ongoing, cache)
    return [_server_function(board, act) for act in FUNCTIONS]


def _server_function(board: Board, act: Callable[[Board, str, dict], dict]) -> Callable:
    def guard(given: dict, request: gr.Request) -> dict:
        lang = board.app.language(request)
        if why := roles.refusal(board.app, lang, visitor(request), act):
            return {"error": why}
        try:
            asked = outside.check_bounds(given if given is not None else {}, "The request", ProbeError)
            outside.check(MatrixRequest, asked, "The request", ProbeError, "load the page again")
            if act not in WITHOUT_RUN and asked.get("run") is None:
                raise ProbeError("The request names no run; load the page again.")
            return act(board, lang, dict(asked))
        except Exception as error:
            return {"error": sentence(lang, error)}

    return roles.name_after(guard, act)


def list_runs(ongoing: BackgroundRun) -> list[dict]:
    """The latest runs, newest first, as the list shows them."""
    found = []
    for row in runs.recent(ongoing.db, LISTED):
        state = background.state_of(ongoing, row)
        found.append(
            {key: row[key] for key in ("id", "name", "set_name", "created")}
            | {key: state[key] for key in ("status", "done", "total")}
            | {"variants": [one["name"] for one in row["variants"]]}
        )
    return found


def first_shown_run(ongoing: BackgroundRun) -> dict:
    """What the board begins with: the run under way, else the newest one."""
    newest = next(iter(runs.recent(ongoing.db, 1)), None)
    run = ongoing.run if background.is_busy(ongoing) else newest and newest["id"]
    return {"run": run, "at": time.time()}


def new_cells(board: Board, lang: str, run: int, stamp: str, since: int) -> dict:
    """The cells of a run that a page does not have: all of them where its stamp is another one, else those from `since` on."""
    row, judged_run = runs.get(board.app.db, run), board.cache.of(board.app, run)
    whole = stamp != judged_run.stamp
    payload = {"state": background.state_of(board.ongoing, row), "stamp": judged_run.stamp, "whole": whole}
    payload["cells"] = probes_judged.cells(judged_run, 0 if whole else since)
    if payload["cells"]:
        payload["summary"] = run_summary_html(lang, row, judged_run)
    return payload


def run_summary_html(lang: str, row: Mapping, judged_run: JudgedRun) -> str:
    """The table above the matrix, or that there is none without facts."""
    if judged_run.facts is None:
        return paragraph(say(lang, "pb_no_facts"))
    base = next((one["name"] for one in row["variants"] if not one["adapters"] and one.get("prompt") is None), None)
    variants = [one["name"] for one in row["variants"]]
    return probes_summary.summary_html(lang, probes_judged.results_of(judged_run, variants, base))
