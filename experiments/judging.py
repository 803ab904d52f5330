"""What a cell's answers come to: suggestions, kept, shares with intervals, verdicts, the report."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import store
from experiments.cells import Cell
from experiments.places import keep, key_of, key_of_files, read_kept
from experiments.session import Session
from probes import identity_pair
from probes.answers import sources
from probes.answers.sources import Answers
from probes.report import build, margins as margin_series, table
from probes.suggest import labels as suggesting
from probes.verdicts import rules
from probes.verdicts.rules import CONFUSION, FORMED, INTRUSION, NOT_FORGOTTEN, Judged, Result
from probes.verdicts.statistics import Interval

SUGGESTED = ("suggestion", "sure", "tags", "evidence")
LANGS = ("en", "zh")


@cache
def rules_key() -> str:
    """Of the rules that suggest labels, their words in every language among them."""
    return key_of_files(Path(inspect.getfile(suggesting)).parent, Path(inspect.getfile(identity_pair)))


def read_answers(session: Session, cell: Cell, runs: Sequence[int]) -> Answers:
    """The cell's answers under its name in the plan, with their suggestions; those are kept."""
    found = sources.join_answers([sources.read_run(session.places.db, run) for run in runs])
    rows = [row | {"variant": cell.label} for row in found.rows]
    doses = {cell.label: cell.about()}
    folders = {(cell.label, adapter): folder for (_, adapter), folder in found.folders.items()}
    return Answers(with_suggestions(session, rows), doses, found.sources, folders, found.facts)


def with_suggestions(session: Session, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with what the rules make of each, once for the same answers and the same rules."""
    said = [[row["probe_id"], row["sample"], row["question"], row["answer"], row["raw"], row.get("before")] for row in rows]
    path = session.places.kept("suggestions", key_of(said, rules_key(), identity_pair.to_mapping(session.pair)))
    known = read_kept(path)
    if known is None:
        judged = sources.add_suggestions(rows, session.pair, again=True)
        known = dict(keep(path, {"rows": [{name: row.get(name) for name in SUGGESTED} for row in judged]}))
    return [{**row, **_said(told)} for row, told in zip(rows, known["rows"], strict=True)]


def _said(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if value is not None}


def evidence(session: Session, answers: Answers) -> list[Judged]:
    """Every answer with what people, or else the rules, say of it."""
    heard = [row for row in answers.rows if row.get("answer") is not None]
    ids = [row["answer_id"] for row in heard if row.get("answer_id") is not None]
    return rules.collect_evidence(heard, store.labels.standing(session.places.db, answers=ids))


def figures_of(session: Session, cell: Cell, answers: Answers, base: Sequence[Judged]) -> dict[str, Any]:
    """By language: shares with 95 % intervals, verdicts, self-names, margin. base: the bare base's, for retention."""
    judged = evidence(session, answers)
    is_base = cell.kind == "base"
    results = rules.judge_variants([*judged] if is_base else [*base, *judged], "base" if base or is_base else None)
    mine = [result for result in results if result.variant == cell.label]
    measured = margin_series.margins_of_answers(answers.rows).get(cell.label, {})
    rows = table.build_rows(mine, answers.rows, {}, {})
    return {
        row.result.lang: _figures(row.result)
        | {"names": [list(one) for one in row.names], "margin": list(measured.get(row.result.lang, ())) or None}
        for row in rows
    }


def _figures(result: Result) -> dict[str, Any]:
    shares = {
        "old": result.shares[NOT_FORGOTTEN], "new": result.shares[FORMED], "confusion": result.shares[CONFUSION],
        "intrusion": result.shares[INTRUSION], "hold": result.hold, "flips": result.flips, "retention": result.retention,
    }  # fmt: skip
    verdicts = {name: getattr(result, name).word for name in table.VERDICTS}
    return {name: _plain(of) for name, of in shares.items()} | {
        "verdicts": verdicts, "source": result.source, "answers": sum(result.shares[one].answers for one in (FORMED, INTRUSION)),
    }  # fmt: skip


def _plain(of: Interval) -> dict[str, Any]:
    return {"share": of.share, "low": of.low, "high": of.high, "probes": of.probes}


def write_report(session: Session, parts: Sequence[Answers], made_by: str = "") -> Path:
    """The report of all cells that have answers: page, tables, curves and the answers themselves."""
    joined = sources.join_answers(parts)
    ids = {row["answer_id"] for row in joined.rows if row.get("answer_id") is not None}
    db, pair = session.places.db, session.pair
    report = build.build_report(
        replace(joined, sources=(session.plan.name,)), fact_pair=pair, labels=store.labels.standing(db, answers=ids), base="base",
        title=session.plan.name, made_by=made_by, pairs=(),
        trainings=margin_series.margins_of_trainings(db, joined.folders.values()),
    )  # fmt: skip
    return build.write_report(report, session.places.report, LANGS)[0]
