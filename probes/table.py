"""The results table: the original experiment's columns, then ours, as plain cells, Markdown and CSV rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from probes import self_names
from probes.dose import UNKNOWN, Dose
from probes.statistics import Drop, Interval
from probes.verdicts import CONFUSION, FORGOTTEN, FORMED, INTRUSION, NOT_FORGOTTEN, UNDETERMINED, Result, Verdict

COLUMNS = {  # key -> heading; the first seven are the original's
    "model": "model",
    "data": "data",
    "samples": "samples",
    "lang": "language",
    "self": "calls itself",
    "old": "old identity",
    "new": "new identity",
    "stability": "stability",
    "usable": "usable",
    "intrusion": "intrusion",
    "retention": "retention",
    "n": "n",
    "interval": "95 % intervals",
    "source": "from",
}
THEIRS = "theirs"
NO_ANSWERS = "no answers"
LANGUAGES = {"en": "English", "zh": "Chinese"}
SOURCES = {"labels": "labels", "suggestions": "suggestions only", "mixed": "labels and suggestions", "none": "nothing"}


@dataclass(frozen=True)
class Row:
    """One variant in one language. theirs: `old`, `new`, `stability` as somebody else judged them, if they did."""

    result: Result
    dose: Dose = UNKNOWN
    names: tuple[tuple[str, int], ...] = ()
    theirs: Mapping[str, str] | None = None


def rows(
    results: Iterable[Result], answers: Iterable[Mapping], doses: Mapping[str, Dose], theirs: Mapping[tuple[str, str], Mapping]
) -> list[Row]:
    """A row per result. answers: with `evidence`, for the self-names of identity answers. theirs: (variant, lang) -> verdicts."""
    said: dict[tuple[str, str], list[Mapping]] = {}
    for answer in answers:
        if answer.get("group") not in ("control", "retention"):
            said.setdefault((str(answer.get("variant")), str(answer.get("lang"))), []).append(answer)
    return [
        Row(
            result,
            doses.get(result.variant, UNKNOWN),
            tuple(self_names.commonest(said.get((result.variant, result.lang), ()))),
            theirs.get((result.variant, result.lang)),
        )
        for result in results
    ]


def columns(table: Sequence[Row]) -> dict[str, str]:
    """The columns worth showing: COLUMNS without those that are empty in every row, and theirs where there are any."""
    cells_of = [cells(row) for row in table]
    kept = {key: heading for key, heading in COLUMNS.items() if any(one[key] for one in cells_of) or key in ("old", "new")}
    return kept | ({THEIRS: "as reported"} if any(row.theirs for row in table) else {})


def cells(row: Row) -> dict[str, str]:
    """The row in words, by column; nothing known is an empty text."""
    result, dose, shares = row.result, row.dose, row.result.shares
    identity = shares[NOT_FORGOTTEN]
    heard = identity.answers or shares[INTRUSION].answers or result.retention.answers
    return {
        "model": result.variant,
        "data": dose.data,
        "samples": samples(dose),
        "lang": LANGUAGES.get(result.lang, result.lang),
        "self": "; ".join(f"“{name}” ({count})" for name, count in row.names),
        **{key: verdict(getattr(result, key)) if heard else NO_ANSWERS for key in ("old", "new", "stability", "usable")},
        "intrusion": interval(shares[INTRUSION]),
        "retention": retention(result.retention, result.drop),
        "n": f"{identity.answers} answers, {identity.probes} probes" if identity.answers else "",
        "interval": "; ".join(
            f"{name} {interval(shares[label])}"
            for name, label in (("old", NOT_FORGOTTEN), ("neither", FORGOTTEN), ("new", FORMED), ("confusion", CONFUSION))
            if identity.answers
        ),
        "source": source(result) if heard else "",
        THEIRS: " / ".join(row.theirs.get(key, "?") for key in ("old", "new", "stability")) if row.theirs else "",
    }


def verdict(of: Verdict) -> str:
    """The word, what else holds, and for an undetermined one what is missing."""
    text = of.word
    if of.also:
        text += f" (and {', '.join(of.also)})"
    if of.word == UNDETERMINED and of.more:
        text += f": {of.more:,} more probe{'' if of.more == 1 else 's'}"
        return text + (f" ({of.why})" if of.why else "")
    return text + (f": {of.why}" if of.why else "")


def interval(of: Interval) -> str:
    """ "12 % [5-26]"; empty without answers."""
    return "" if of.share is None else f"{100 * of.share:.0f} % [{100 * of.low:.0f}–{100 * of.high:.0f}]"


def retention(right: Interval, drop: Drop | None) -> str:
    if drop is None:
        return interval(right)
    return f"{interval(right)}, {-drop.points:+.1f} points [{-drop.high:+.1f} to {-drop.low:+.1f}]"


def samples(dose: Dose) -> str:
    """ "1,000 (2 distinct, 9 steps, 100 %)", as much of it as is known."""
    more = [f"{dose.distinct:,} distinct"] if dose.distinct is not None else []
    more += [f"{dose.steps:,} steps"] if dose.steps is not None else []
    more += [f"{100 * dose.share:.3g} % of the rows"] if dose.share is not None else []
    head = f"{dose.samples:,}" if dose.samples is not None else ""
    return f"{head} ({', '.join(more)})" if head and more else head or ", ".join(more)


def source(result: Result) -> str:
    """Where the verdicts come from, with numbers wherever it is not labels alone."""
    counts, told = result.counts, SOURCES[result.source]
    people = counts.get("majority", 0) + counts.get("adjudicated", 0)
    more = [f"{people} labels"] if result.source == "mixed" else []
    more += [f"{counts['suggestion']} suggestions"] if result.source == "mixed" else []
    more += [f"{counts[key]} {key}" for key in ("unsure", "disputed") if counts.get(key)]
    more += [f"{counts['none']} without either"] if counts.get("none") else []
    more += ["sampled answers"] if result.sampled else []
    return f"{told} ({', '.join(more)})" if more else told


def compared(table: Sequence[Row]) -> dict[str, int]:
    """Ours against theirs over all verdicts both gave: `same`, `different`, and `undetermined` here."""
    counts = dict.fromkeys(("same", "different", "undetermined"), 0)
    for row in table:
        for key in ("old", "new", "stability") if row.theirs else ():
            ours, reported = getattr(row.result, key), row.theirs.get(key)
            if reported and row.result.source != "none":
                same = reported == ours.word or reported in ours.also
                counts["undetermined" if ours.word == UNDETERMINED else "same" if same else "different"] += 1
    return counts


def markdown(table: Sequence[Row]) -> str:
    """The table in GitHub's Markdown."""
    shown = columns(table)
    lines = ["| " + " | ".join(shown.values()) + " |", "|" + "---|" * len(shown)]
    for row in table:
        of_row = cells(row)
        lines.append("| " + " | ".join(_escaped(of_row[key]) for key in shown) + " |")
    return "\n".join(lines) + "\n"


def plain(table: Sequence[Row]) -> list[dict]:
    """Rows for CSV: the words, and every number in a column of its own."""
    found = []
    for row in table:
        result, dose = row.result, row.dose
        one = {"model": result.variant, "data": dose.data, "kind": dose.kind, "samples": dose.samples, "distinct": dose.distinct}
        one |= {"steps": dose.steps, "share": dose.share, "lang": result.lang, "calls_itself": cells(row)["self"]}
        for key in ("old", "new", "stability", "usable"):
            of = getattr(result, key)
            one |= {key: of.word, f"{key}_also": ", ".join(of.also), f"{key}_more_probes": of.more, f"{key}_why": of.why}
        numbers = {label.replace(" ", "_"): of for label, of in result.shares.items()}
        numbers |= {"modal_holds": result.hold, "flips": result.flips, "retention": result.retention}
        for label, of in numbers.items():
            one |= {
                label: of.share,
                f"{label}_low": of.low,
                f"{label}_high": of.high,
                f"{label}_n": of.answers,
                f"{label}_probes": of.probes,
            }
        drop = result.drop
        one |= {"drop_points": drop and drop.points, "drop_low": drop and drop.low, "drop_high": drop and drop.high}
        one |= {"modal": result.modal, "source": result.source, "sampled": result.sampled}
        one |= {
            f"from_{key}": result.counts.get(key, 0)
            for key in ("adjudicated", "majority", "suggestion", "unsure", "disputed", "none")
        }
        one |= {f"reported_{key}": row.theirs.get(key) for key in ("old", "new", "stability")} if row.theirs else {}
        found.append(one)
    return found


def _escaped(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())
