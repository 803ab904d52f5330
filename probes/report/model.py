"""A report before it is written: everything that stands in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from probes.report.board import BoardRow
from probes.report.preferences import Preference
from probes.report.table import TableRow
from probes.verdicts.basis import Pair
from probes.verdicts.paired import Comparison
from probes.verdicts.thresholds import Threshold


@dataclass(frozen=True)
class Report:
    """Everything that is written. sources: what was read, with the first digits of a file's SHA-256. judged: every answer with
    what is said of it. margins: per variant (`margin_series.margins_of_answers`); trainings: of the runs that made them.
    votes, board: of the database that the answers or their labels come from. pairs: variants compared probe by probe."""

    title: str
    rows: Sequence[TableRow]
    answers: Sequence[Mapping]
    judged: Sequence[Pair]
    labels: Mapping[int, Sequence[Mapping]]
    sources: Sequence[str]
    made_by: str
    base: str | None = None
    thresholds: Sequence[Threshold] = ()
    margins: Mapping = field(default_factory=dict)
    trainings: Mapping = field(default_factory=dict)
    votes: Sequence[Preference] = ()
    board: Sequence[BoardRow] = ()
    pairs: Sequence[Comparison] = ()
    source: str = "best"
