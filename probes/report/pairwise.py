"""Two variants compared probe by probe (`probes.verdicts.paired`), in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from common.errors import UserError, nearest
from probes.report.wording import language, say, term
from probes.verdicts import paired
from probes.verdicts.paired import FIRST, SECOND, Comparison
from probes.verdicts.rules import UNDETERMINED

COLUMNS = (
    "first", "second", "lang", "what", "by", "probes", "share_first", "share_second", "first_only", "second_only", "difference",
    "p", "word",
)  # fmt: skip
ALL_UP_TO = 3  # variants; of more than these only the pairs with the base are compared unless others are asked for


def default_pairs(variants: Sequence[str], base: str | None) -> list[tuple[str, str]]:
    """What is compared where nobody says what: of a few variants every two, of more everybody with the base, if there is one."""
    if len(variants) > ALL_UP_TO:
        return [(name, str(base)) for name in variants if name != base] if base in variants else []
    return [(two, one) for one, two in combinations(variants, 2)]


def check_pairs(pairs: Iterable[Sequence[str]], known: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs that somebody named. Raises UserError for a variant that has not answered."""
    found = []
    for first, second in pairs:
        for name in (first, second):
            if name not in known:
                near = nearest(name, known)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}."
                raise UserError(f"No variant here is called {name!r}; {hint}")
        if first == second:
            raise UserError(f"{first!r} is compared with itself; name two variants.")
        found.append((first, second))
    return found


def compare(
    rows: Sequence[Mapping], labels: Mapping[int, Sequence[Mapping]], pairs: Sequence[tuple[str, str]], source: str = "best"
) -> list[Comparison]:
    """`paired.compare_pairs` of all rows with an answer."""
    return paired.compare_pairs([row for row in rows if row.get("answer") is not None], labels, pairs, source)


def cells(one: Comparison, lang: str = "en") -> dict[str, str]:
    """The row in words, by column of COLUMNS."""
    shares = (one.both + one.first_only) / one.probes, (one.both + one.second_only) / one.probes
    left = say(lang, "pairs_left_out", count=one.left_out) if one.left_out else ""
    return {
        "first": one.first,
        "second": one.second,
        "lang": language(lang, one.lang),
        "what": say(lang, f"pairs_what_{one.what.replace(' ', '_')}"),
        "by": say(lang, f"pairs_by_{one.source}"),
        "probes": f"{one.probes:,}{left}",
        "share_first": f"{100 * shares[0]:.0f} %",
        "share_second": f"{100 * shares[1]:.0f} %",
        "first_only": f"{one.first_only:,}",
        "second_only": f"{one.second_only:,}",
        "difference": _points(one),
        "p": _p(one),
        "word": describe_word(one, lang),
    }


def _points(one: Comparison) -> str:
    points = [round(100 * value) for value in (one.difference, one.low, one.high)]
    middle, low, high = (f"{value:+d}".replace("-", "−") if value else "0" for value in points)
    return f"{middle} [{low} … {high}]"


def _p(one: Comparison) -> str:
    return "<0.001" if one.adjusted < 0.001 else f"{one.adjusted:.3f}"


def describe_word(one: Comparison, lang: str = "en") -> str:
    """Of whom it holds more often, or that it is open and what would settle it, or that no probe tells them apart."""
    if one.word in (FIRST, SECOND):
        return say(lang, "pairs_more_often", name=one.first if one.word == FIRST else one.second)
    if not one.first_only and not one.second_only:
        return say(lang, "pairs_same")
    word = term(lang, UNDETERMINED)
    if one.more is None:
        return say(lang, "pairs_never", word=word)
    return say(lang, "more_one" if one.more == 1 else "more_many", word=word, count=one.more)


def headings(lang: str = "en") -> dict[str, str]:
    return {key: say(lang, f"pairs_{key}") for key in COLUMNS}


def csv_rows(found: Sequence[Comparison]) -> list[dict]:
    """Rows for CSV: every number by itself."""
    return [
        {
            "first": one.first, "second": one.second, "lang": one.lang, "what": one.what, "source": one.source,
            "probes": one.probes, "both": one.both, "first_only": one.first_only, "second_only": one.second_only,
            "neither": one.neither, "left_out": one.left_out, "difference": one.difference, "difference_low": one.low,
            "difference_high": one.high, "p": one.p, "p_holm": one.adjusted, "verdict": one.word, "more_probes": one.more,
        }
        for one in found
    ]  # fmt: skip
