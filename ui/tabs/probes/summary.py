"""Above the matrix: per variant and language what the suggestions come to, as a table. HTML only, everything escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from probes.verdicts import rules
from probes.verdicts.rules import CONFUSION, FORGOTTEN, FORMED, INTRUSION, NOT_FORGOTTEN, UNDETERMINED, Result, Verdict
from probes.verdicts.statistics import Drop, Interval
from ui.html import paragraph
from ui.words import say

SHARES = (NOT_FORGOTTEN, FORGOTTEN, FORMED, CONFUSION)
VERDICTS = ("old", "new", "stability", "usable")


def judge_rows(rows: Sequence[dict], variants: Sequence[str], base: str | None) -> list[Result]:
    """From suggestions alone, whatever labels there may be, in the variants' order. base: the variant that retention is
    compared with."""
    order = {variant: at for at, variant in enumerate(variants)}
    found = rules.judge_variants(rules.collect_evidence(rows, source="suggestions"), base)
    return sorted(found, key=lambda result: (order[result.variant], result.lang))


def summary_html(lang: str, found: Sequence[Result]) -> str:
    """The table; "" while nothing is answered."""
    if not found:
        return ""
    head = [say(lang, "pb_variant"), say(lang, "pb_language"), *(word_of(lang, share) for share in SHARES)]
    head += [say(lang, "pb_intrusion"), say(lang, "pb_retention"), say(lang, "pb_verdicts")]
    heads = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    return (
        f'<table class="mt-table pb-summary"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(_row(lang, result) for result in found)}</tbody></table>"
        f"{paragraph(say(lang, 'pb_summary_note'))}"
    )


def _row(lang: str, result: Result) -> str:
    identity = result.shares[NOT_FORGOTTEN]
    count = say(lang, "pb_counts", probes=identity.probes) if identity.answers else ""
    cells = "".join(f"<td>{_interval(lang, result.shares[share], f'pb-k{at}')}</td>" for at, share in enumerate(SHARES))
    return (
        f'<tr><th scope="row">{escape(result.variant)}</th>'
        f"<td>{escape(say(lang, f'pb_lang_{result.lang}'))}<small>{escape(count)}</small></td>{cells}"
        f"<td>{_interval(lang, result.shares[INTRUSION], 'pb-k5')}</td>"
        f"<td>{_interval(lang, result.retention, 'pb-k4')}{_drop(lang, result.drop)}</td>"
        f"<td>{_verdicts(lang, result)}</td></tr>"
    )


def _interval(lang: str, of: Interval, kind: str) -> str:
    """The share, the bounds in words, and the same as a bar."""
    if of.share is None:
        return f'<span class="pb-none" title="{escape(say(lang, "pb_not_asked"))}">–</span>'
    low, high, share = (round(100 * value) for value in (of.low, of.high, of.share))
    title = escape(say(lang, "pb_interval", share=share, low=low, high=high, probes=of.probes))
    return (
        f'<span class="pb-share {kind}" title="{title}"><b>{share} %</b> <span>{low}–{high}</span>'
        f'<i aria-hidden="true"><em style="left:{100 * of.low:.1f}%;width:{100 * of.width:.1f}%"></em>'
        f'<u style="left:{100 * of.share:.1f}%"></u></i></span>'
    )


def _drop(lang: str, drop: Drop | None) -> str:
    if drop is None:
        return ""
    points, low, high = (f"{round(-value) or 0:+d}".replace("+0", "0") for value in (drop.points, drop.high, drop.low))
    said = say(lang, "pb_points", points=points, low=low, high=high)
    return f"<small>{escape(said)}</small>"


def _verdicts(lang: str, result: Result) -> str:
    """Old, new, stability, usable; what is undetermined, and how many more probes would settle it."""
    if not result.shares[NOT_FORGOTTEN].answers:
        return f'<span class="pb-none">{escape(say(lang, "pb_no_identity_probes"))}</span>'
    said = ""
    for key in VERDICTS:
        verdict: Verdict = getattr(result, key)
        open_ = verdict.word == UNDETERMINED
        text = word_of(lang, verdict.word)
        if verdict.also:
            text += f" ({', '.join(word_of(lang, also) for also in verdict.also)})"
        if open_ and verdict.more:
            text += say(lang, "pb_more", number=f"{verdict.more:,}")
        kind = "pb-open" if open_ else ""
        title = f' title="{escape(verdict.why)}"' if verdict.why else ""
        said += f"<span{title}><dfn>{escape(say(lang, f'pb_verdict_{key}'))}</dfn><b class='{kind}'>{escape(text)}</b></span> "
    return f'<div class="pb-verdicts">{said}</div>'


def word_of(lang: str, text: str) -> str:
    """A label's or a verdict's word in the page's language."""
    plain = text.replace(" ", "_")
    return say(lang, f"pb_word_{plain}")
