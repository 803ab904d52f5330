"""The results table: the original experiment's columns, then ours, as plain cells, Markdown and CSV rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from probes.answers.dose import UNKNOWN, Dose
from probes.report.wording import language, reason, say, term
from probes.suggest import self_names
from probes.verdicts.rules import CONFUSION, FORGOTTEN, FORMED, INTRUSION, NOT_FORGOTTEN, UNDETERMINED, Result, Verdict
from probes.verdicts.statistics import Drop, Interval
from store.labels import CONTROL_GROUPS

# The first eight are the original's.
COLUMNS = (
    "model", "data", "samples", "lang", "self", "old", "new", "stability",
    "usable", "intrusion", "retention", "n", "interval", "source",
)  # fmt: skip
THEIRS = "theirs"
VERDICTS = ("old", "new", "stability", "usable")
# Beside a verdict's word, so that colour is never all there is.
MARKS = {
    "not forgotten": "●", "partly forgotten": "◐", "forgotten": "○", "formed": "●", "not formed": "○", "confusion": "≠",
    "stable": "=", "unstable": "≈", "yes": "✓", "no": "✗", "undetermined": "?",
}  # fmt: skip


@dataclass(frozen=True)
class TableRow:
    """One variant in one language. theirs: `old`, `new`, `stability` as somebody else judged them, if they did."""

    result: Result
    dose: Dose = UNKNOWN
    names: tuple[tuple[str, int], ...] = ()
    theirs: Mapping[str, str] | None = None


def build_rows(
    results: Iterable[Result], answers: Iterable[Mapping], doses: Mapping[str, Dose], theirs: Mapping[tuple[str, str], Mapping]
) -> list[TableRow]:
    """A row per result. answers: with `evidence`, for the self-names of identity answers. theirs: (variant, lang) -> verdicts."""
    said: dict[tuple[str, str], list[Mapping]] = {}
    for answer in answers:
        if answer.get("group") not in CONTROL_GROUPS:
            said.setdefault((str(answer.get("variant")), str(answer.get("lang"))), []).append(answer)
    return [
        TableRow(
            result,
            doses.get(result.variant, UNKNOWN),
            tuple(self_names.commonest_names(said.get((result.variant, result.lang), ()))),
            theirs.get((result.variant, result.lang)),
        )
        for result in results
    ]


def columns(table: Sequence[TableRow], lang: str = "en") -> dict[str, str]:
    """Key -> heading of those worth showing: COLUMNS without those that are empty in every row, and theirs if there are any."""
    cells_of = [cells(row) for row in table]
    kept = [key for key in COLUMNS if any(one[key] for one in cells_of) or key in ("old", "new")]
    kept += [THEIRS] if any(row.theirs for row in table) else []
    return {key: say(lang, f"column_{key}") for key in kept}


def has_answers(row: TableRow) -> bool:
    """Whether the variant has answered anything that counts."""
    shares = row.result.shares
    return bool(shares[NOT_FORGOTTEN].answers or shares[INTRUSION].answers or row.result.retention.answers)


def cells(row: TableRow, lang: str = "en") -> dict[str, str]:
    """The row in words, by column; nothing known is an empty text."""
    result, dose, shares = row.result, row.dose, row.result.shares
    identity, known = shares[NOT_FORGOTTEN], has_answers(row)
    speaking = (("old", NOT_FORGOTTEN), ("neither", FORGOTTEN), ("new", FORMED), ("confused", CONFUSION))
    return {
        "model": result.variant,
        "data": dose.data,
        "samples": describe_samples(dose, lang),
        "lang": language(lang, result.lang),
        "self": "; ".join(say(lang, "quoted", name=name, count=count) for name, count in row.names),
        **{key: describe_verdict(getattr(result, key), lang) if known else say(lang, "no_answers") for key in VERDICTS},
        "intrusion": format_interval(shares[INTRUSION]),
        "retention": describe_retention(result.retention, result.drop, lang),
        "n": say(lang, "n", answers=identity.answers, probes=identity.probes) if identity.answers else "",
        "interval": "; ".join(
            say(lang, f"speaks_{name}", interval=format_interval(shares[label])) for name, label in speaking if identity.answers
        ),
        "source": describe_source(result, lang) if known else "",
        THEIRS: " / ".join(term(lang, row.theirs.get(key, "?")) for key in VERDICTS[:3]) if row.theirs else "",
    }


def lines(row: TableRow, key: str, lang: str = "en") -> list[str]:
    """A cell line by line, to be set below each other: what counts first, what belongs to it after it."""
    result, of_row = row.result, cells(row, lang)
    if key in VERDICTS and has_answers(row):
        of = getattr(result, key)
        return [term(lang, of.word), *verdict_details(of, lang)]
    if key == "samples":
        head, more = _samples(row.dose, lang)
        return [head, *more] if head else more
    if key == "source" and has_answers(row):
        head, more = _source(result, lang)
        return [head, *more]
    if key == "n" and of_row[key]:
        identity = result.shares[NOT_FORGOTTEN]
        return [say(lang, "n_answers", answers=identity.answers), say(lang, "n_probes", probes=identity.probes)]
    return of_row[key].split("; ") if of_row[key] else []


def sort_keys(row: TableRow) -> dict[str, float | None]:
    """What a column sorts by where its words would sort wrongly; None, for nothing known, comes last."""
    result = row.result
    ranks = {word: number for number, word in enumerate(MARKS)}
    keys: dict[str, float | None] = {key: ranks.get(getattr(result, key).word) if has_answers(row) else None for key in VERDICTS}
    of_share = {"intrusion": result.shares[INTRUSION], "retention": result.retention, "interval": result.shares[FORMED]}
    keys |= {key: of.share for key, of in of_share.items()}
    return keys | {"samples": row.dose.samples, "n": result.shares[NOT_FORGOTTEN].answers or None}


def describe_verdict(of: Verdict, lang: str = "en") -> str:
    """The word, what else holds, and for an undetermined one what is missing."""
    text, why = term(lang, of.word), reason(lang, of.why)
    if of.also:
        text = say(lang, "also", word=text, also=say(lang, "and").join(term(lang, word) for word in of.also))
    if of.word == UNDETERMINED and of.more:
        text = say(lang, "more_one" if of.more == 1 else "more_many", word=text, count=of.more)
        return text + (say(lang, "in_brackets", why=why) if why else "")
    return say(lang, "why", word=text, why=why) if why else text


def verdict_details(of: Verdict, lang: str = "en") -> list[str]:
    """What else holds, what is missing, and why, each on its own."""
    told = []
    if of.also:
        told.append(say(lang, "detail_also", words=say(lang, "and").join(term(lang, word) for word in of.also)))
    if of.word == UNDETERMINED and of.more:
        told.append(say(lang, "detail_more_one" if of.more == 1 else "detail_more", count=of.more))
    return [*told, reason(lang, of.why)] if of.why else told


def format_interval(of: Interval) -> str:
    """ "12 % [5–26]"; empty without answers."""
    return "" if of.share is None else f"{100 * of.share:.0f} % [{100 * of.low:.0f}–{100 * of.high:.0f}]"


def describe_retention(right: Interval, drop: Drop | None, lang: str = "en") -> str:
    if drop is None:
        return format_interval(right)
    change, low, high = (f"{-points + 0.0:+.1f}" for points in (drop.points, drop.high, drop.low))
    return say(lang, "points", share=format_interval(right), change=change, low=low, high=high)


def describe_samples(dose: Dose, lang: str = "en") -> str:
    """ "1,000 (2 distinct, 9 steps, 100 % of rows)", as much of it as is known."""
    head, more = _samples(dose, lang)
    return say(lang, "in_all", head=head, more=", ".join(more)) if head and more else head or ", ".join(more)


def _samples(dose: Dose, lang: str) -> tuple[str, list[str]]:
    more = [say(lang, key, count=getattr(dose, key)) for key in ("distinct", "steps") if getattr(dose, key) is not None]
    more += [say(lang, "share_of_rows", percent=f"{100 * dose.share:.3g}")] if dose.share is not None else []
    return f"{dose.samples:,}" if dose.samples is not None else "", more


def describe_source(result: Result, lang: str = "en") -> str:
    """Where the verdicts come from, with numbers wherever it is not labels alone."""
    head, more = _source(result, lang)
    return say(lang, "in_all", head=head, more=", ".join(more)) if more else head


def _source(result: Result, lang: str) -> tuple[str, list[str]]:
    counts = result.counts
    people = counts.get("majority", 0) + counts.get("adjudicated", 0)
    more = [say(lang, "count_labels", count=people)] if result.source == "mixed" else []
    more += [say(lang, "count_suggestions", count=counts["suggestion"])] if result.source == "mixed" else []
    more += [say(lang, f"count_{key}", count=counts[key]) for key in ("unsure", "disputed") if counts.get(key)]
    more += [say(lang, "count_neither", count=counts["none"])] if counts.get("none") else []
    more += [say(lang, "sampled_answers")] if result.sampled else []
    return say(lang, f"from_{result.source}"), more


def compare_verdicts(table: Sequence[TableRow]) -> dict[str, int]:
    """Ours against theirs over all verdicts both gave: `same`, `different`, and `undetermined` here."""
    counts = dict.fromkeys(("same", "different", "undetermined"), 0)
    for row in table:
        theirs = row.theirs or {}
        for key in ("old", "new", "stability"):
            ours, reported = getattr(row.result, key), theirs.get(key)
            if reported and row.result.source != "none":
                same = reported == ours.word or reported in ours.also
                counts["undetermined" if ours.word == UNDETERMINED else "same" if same else "different"] += 1
    return counts


def render_markdown(table: Sequence[TableRow], lang: str = "en") -> str:
    """The table in GitHub's Markdown."""
    shown = columns(table, lang)
    lines = ["| " + " | ".join(shown.values()) + " |", "|" + "---|" * len(shown)]
    for row in table:
        of_row = cells(row, lang)
        lines.append("| " + " | ".join(escape_cell(of_row[key]) for key in shown) + " |")
    return "\n".join(lines) + "\n"


def csv_rows(table: Sequence[TableRow]) -> list[dict]:
    """Rows for CSV: the words, and every number in a column of its own."""
    found = []
    for row in table:
        result, dose = row.result, row.dose
        one: dict[str, object] = {
            "model": result.variant,
            "data": dose.data,
            "kind": dose.kind,
            "samples": dose.samples,
            "distinct": dose.distinct,
        }
        one |= {"steps": dose.steps, "share": dose.share, "lang": result.lang, "calls_itself": cells(row)["self"]}
        for key in VERDICTS:
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


def escape_cell(text: str) -> str:
    """For a cell of a Markdown table."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())
