"""What a training will be, in words and figures: the right-hand side of the form. HTML only, everything escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from tuning.dataset.recipe import Composed
from tuning.jobs.forecast import Forecast, TokenRow
from tuning.jobs.memory import Room, gib
from tuning.train.estimate import Caution
from ui.html import failure, note
from ui.running import duration
from ui.training import Outlook
from ui.words import say


def outlook_html(lang: str, outlook: Outlook) -> str:
    """Refusals first, then the figures, then what to beware of."""
    told = outlook.forecast
    cautions = told.report.cautions if told else ()
    refused = {one.text: caution_words(lang, one, told) for one in cautions if told and one.refuse}
    problems = [refused.get(problem, problem) for problem in outlook.problems]
    parts = [refusals_html(lang, problems)] if problems else []
    if outlook.forecast and outlook.composed:
        dataset = outlook.form_values.dataset
        parts.append(figures_html(lang, outlook.forecast, outlook.composed, dataset.identity, dataset.own_times))
        parts.append(cautions_html(lang, outlook.forecast, outlook.room, outlook.composed.notes))
    return "".join(parts)


def refusals_html(lang: str, problems: Sequence[str]) -> str:
    said = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
    return failure(say(lang, "cannot_start"), f"<ul>{said}</ul>")


def figures_html(lang: str, told: Forecast, composed: Composed, identity: str, times: int = 1) -> str:
    """Three figures large, the others small. times: how often each of the rows that somebody brought is taken."""
    report = told.report
    steps, tokens = report.steps, report.tokens or 0
    share = len(composed.rows) and sum(row.kind == "identity" for row in composed.rows) / len(composed.rows)
    lead = (
        (say(lang, "steps"), f"{steps.total:,}", say(lang, "steps_note", per_epoch=steps.per_epoch, epochs=f"{steps.epochs:g}")),
        (
            say(lang, "rows"),
            f"{len(composed.rows):,}",
            say(lang, "rows_note", train=steps.train_rows, valid=steps.valid_rows, share=f"{share:.0%}"),
        ),
        (say(lang, "time"), duration(lang, report.seconds) or "-", say(lang, "time_note")),
    )
    shown = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd><p>{escape(about)}</p></div>" for name, value, about in lead
    )
    more = [
        (
            say(lang, "distinct"),
            say(lang, "distinct_of", distinct=f"{report.identity_distinct:,}", rows=f"{report.identity_rows:,}"),
        ),
        (
            say(lang, "exposures"),
            say(lang, "exposures_of", all=f"{report.exposures:,}", identity=f"{report.identity_exposures:,}"),
        ),
        (say(lang, "warmup"), say(lang, "warmup_of", steps=f"{steps.warmup:,}", peak=f"{report.peak_rate:.2g}")),
        (say(lang, "sum_of_rates"), f"{report.sum_of_rates:.3g}"),
        (say(lang, "tokens"), say(lang, "tokens_of", all=f"{tokens:,.0f}", row=f"{tokens / report.rows:.0f}")),
        (say(lang, "memory"), memory_words(lang, told.needed)),  # why not, the note below says
    ]
    if brought := composed.own:
        words = say(lang, "own_taken", rows=f"{len(brought.rows):,}", found=f"{brought.found:,}", times=times)
        more.append((say(lang, "own_rows"), words))
    if composed.general < composed.wanted_general:
        words = say(lang, "general_all", there=f"{composed.general:,}", wanted=f"{composed.wanted_general:,}")
        more.append((say(lang, "general_rows"), words))
    if composed.dropped:
        more.append((say(lang, "left_out"), say(lang, "left_out_rows", rows=f"{composed.dropped:,}")))
    if composed.filled:
        words = say(lang, "placeholders_filled", count=f"{composed.filled:,}", identity=identity)
        more.append((say(lang, "placeholders"), words))
    listed = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in more)
    return f'<dl class="mt-figures">{shown}</dl><dl class="mt-small">{listed}</dl>'


def memory_words(lang: str, needed: int | None, why: str = "") -> str:
    if needed:
        return say(lang, "about", value=gib(needed))
    return say(lang, "unknown_why", why=why) if why else say(lang, "unknown")


def cautions_html(lang: str, told: Forecast, room: Room | None, passed: Sequence[str]) -> str:
    """What to beware of. passed: what was passed over in the files of general rows."""
    warnings = [caution_words(lang, caution, told) for caution in told.report.cautions if not caution.refuse]
    if told.unestimated:
        warnings.append(say(lang, "runs_alone", why=told.unestimated))
    if room and not room.fits:
        warnings.append(room_words(lang, room))
    notes = "".join([*(note(words, "warn") for words in warnings), *map(note, passed)])
    return notes or note(say(lang, "no_cautions"))


def room_words(lang: str, room: Room) -> str:
    key = "room_parked" if room.fits_parked else "room_none"
    return say(lang, key, needed=gib(room.needed), device=room.device, beside=gib(room.beside), parked=gib(room.parked))


def caution_words(lang: str, caution: Caution, told: Forecast) -> str:
    """A caution in the page's language; its own English where a code is new."""
    report = told.report
    steps = report.steps
    known: dict[str, dict[str, Any]] = {
        "few steps": {"steps": steps.total},
        "no rate": {"steps": steps.total},
        "warmup": {"warmup": steps.warmup, "steps": steps.total, "peak": f"{report.peak_rate:.2g}"},
        "few distinct": {"rows": report.identity_distinct if report.identity_rows else report.distinct},
        "no margin": {},
        "fitted batch": {"rows": report.batch_size},
        "weak rates": {"sum": f"{report.sum_of_rates:.2g}"},
        "narrow": {},
        "all identity": {},
        "seen validation": {"copies": f"{report.valid_copies:,}", "valid": f"{steps.valid_rows:,}"},
        "format": {"format": told.format, "own": told.own_format},
    }
    if caution.code not in known:
        return caution.text
    return say(lang, f"caution_{caution.code.replace(' ', '_')}", **known[caution.code])


def first_rows_html(lang: str, outlook: Outlook) -> str:
    """Rows as the model reads them: learned tokens are tinted and underlined."""
    if not outlook.forecast:
        return ""
    told = outlook.forecast
    rows = "".join(token_row_html(lang, row) for row in told.first)
    return f'<p class="mt-quiet">{escape(say(lang, "first_rows_note", format=told.format))} {learned_key(lang)}</p>{rows}'


def learned_key(lang: str) -> str:
    """What the tint of a token means."""
    return f'<span class="mt-token mt-learned">{escape(say(lang, "learned"))}</span> {escape(say(lang, "learned_note"))}'


def token_row_html(lang: str, row: TokenRow, other: str = "kind_general") -> str:
    """other: the key of what a row is called that is not of the identity."""
    said = []
    for text, learned in row.pieces:
        shown = escape(text).replace("\n", "↵\n") if text.strip("\n") else "↵\n" * text.count("\n")
        said.append(f'<span class="mt-token{" mt-learned" if learned else ""}">{shown}</span>')
    kind = say(lang, "kind_identity" if row.row.kind == "identity" else other)
    facts = say(lang, "token_facts", tokens=row.tokens, learned=row.labels)
    about = f'<p class="mt-by">{escape(kind)} · {escape(facts)}</p>'
    return f'<div class="mt-token-row">{about}<pre class="mt-exact">{"".join(said)}</pre></div>'
