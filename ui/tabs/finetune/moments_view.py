"""The moments of a training as the page shows them. HTML only, everything escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from tuning.train.moments import Line, Moment, is_formed
from ui.answer_html import answer_html
from ui.html import failure, note, paragraph, table
from ui.words import say

WORDS = ("not forgotten", "forgotten", "formed", "confusion", "clean", "intrusion", "broken")


def said_html(lang: str, found: Sequence[Moment], wrong: Sequence[str]) -> str:
    """What was said at every moment; the script shows one of them, and without it they stand below each other."""
    parts = [note(words, "warn") for words in wrong]
    before: dict[str, str] = {}
    heads = [say(lang, key) for key in ("mo_question", "mo_answer", "mo_suggestion")]
    for at, one in enumerate(found):
        rows = [answer_row(lang, line, before.get(line.probe_id)) for line in one.answers]
        before |= {line.probe_id: line.answer for line in one.answers}
        body = table(heads, rows, "mt-spoken") if rows else ""
        facts = "".join(f"<span>{escape(words)}</span>" for words in facts_of(lang, one))
        why = paragraph(say(lang, "mo_less", asked=one.about.asked, of=one.about.questions)) if one.about.why else ""
        parts.append(
            f'<section class="mt-moment" data-at="{at}" data-step="{one.step}"><h4>{escape(when(lang, one))}</h4>'
            f'<div class="mt-facts">{facts}</div>{why}{body}</section>'
        )
    return f'<div id="ft-said">{"".join(parts)}</div>'


def when(lang: str, one: Moment) -> str:
    return say(lang, "mo_after", step=one.step, of=one.about.of) if one.step else say(lang, "mo_before")


def facts_of(lang: str, one: Moment) -> list[str]:
    """What is known of a moment beside its answers: as rules suggest it, and as it was measured."""
    about = one.about
    said = [say(lang, f"mo_formed_{code}", formed=formed, of=of) for code, (formed, of) in about.formed.items() if of]
    if about.intrusions[1]:
        said.append(say(lang, "mo_intrusions", count=about.intrusions[0], of=about.intrusions[1]))
    if "margin" in about.margin:
        said.append(say(lang, "mo_margin", margin=f"{about.margin['margin']:+.2f}"))
    if is_formed(about):
        said.append(say(lang, "mo_formed"))
    return said


def answer_row(lang: str, line: Line, before: str | None) -> str:
    """before: what was answered the moment before, None where nothing was."""
    kind = "mt-a mt-done" + (" mt-changed" if before is not None and before != line.answer else "")
    cut = f'<span class="mt-cut">{escape(say(lang, "mo_cut"))}</span>' if line.finish == "length" else ""
    shown = answer_html(lang, line.answer, kind=kind)
    return f'<tr><th dir="auto">{escape(line.question)}</th><td>{shown}{cut}</td><td>{chip(lang, line.suggestion)}</td></tr>'


def chip(lang: str, suggestion: str) -> str:
    """A suggested label, marked as one by its column; nothing where there is none."""
    if suggestion not in WORDS:
        return ""
    key = suggestion.replace(" ", "_")
    return f'<span class="mt-hint mt-hint-{key.replace("_", "-")}">{escape(say(lang, f"pb_word_{key}"))}</span>'


def asked_html(lang: str, question: str, found: Sequence[Moment], shown: Sequence[str], failed: Mapping[int, str]) -> str:
    """One question, and what every moment says to it."""
    rows = []
    for at, (one, text) in enumerate(zip(found, shown, strict=True)):
        said = answer_html(lang, text) if text else "…"
        if at in failed:
            said = failure(failed[at])
        rows.append(f"<tr><th>{escape(when(lang, one))}</th><td>{said}</td></tr>")
    return table([say(lang, "mo_moment"), question], rows, "mt-spoken mt-asked")


Grid = Mapping[tuple[int, int], tuple[str, str]]  # (question, strength) -> (answer, suggestion), as far as they are known


def dial_html(lang: str, questions: Sequence[Mapping[str, str]], strengths: Sequence[float], grid: Grid) -> str:
    """What is suggested of every question at every strength, where each flips, and how many are formed."""
    rows = []
    for at, question in enumerate(questions):
        cells = "".join(dial_cell(lang, grid.get((at, place))) for place in range(len(strengths)))
        suggested = [grid[at, place][1] for place in range(len(strengths)) if (at, place) in grid]
        flips = flip_words(strengths, suggested) if len(suggested) == len(strengths) else "…"
        rows.append(f'<tr><th dir="auto">{escape(question["question"])}</th>{cells}<td>{flips}</td></tr>')
    counts = [sum(grid.get((at, one), ("", ""))[1] == "formed" for at in range(len(questions))) for one in range(len(strengths))]
    shares = "".join(f'<td class="mt-heat" style="--heat:{one / max(1, len(questions)):.2f}">{one}</td>' for one in counts)
    most = ["formed" if 2 * count > len(questions) else "" for count in counts]
    if len(grid) < len(questions) * len(strengths):
        overall, words = "…", say(lang, "mo_dial_known", done=len(grid), of=len(questions) * len(strengths))
    else:
        overall, found = flip_words(strengths, most), flip(strengths, most)
        words = say(lang, "mo_dial_never") if found is None else say(lang, "mo_dial_flips", strength=f"{found:g}")
    rows.append(f"<tr><th>{escape(say(lang, 'mo_formed_in_all'))}</th>{shares}<td>{overall}</td></tr>")
    heads = [say(lang, "mo_question"), *(f"{one:g}" for one in strengths), say(lang, "mo_flips")]
    return table(heads, rows, "mt-dialled") + paragraph(words)


def flip_words(strengths: Sequence[float], suggestions: Sequence[str]) -> str:
    found = flip(strengths, suggestions)
    return "–" if found is None else f"{found:g}"


def dial_cell(lang: str, known: tuple[str, str] | None) -> str:
    if known is None:
        return '<td class="mt-empty">·</td>'
    answer, suggestion = known
    key = suggestion.replace(" ", "-") or "none"
    word = say(lang, f"pb_word_{suggestion.replace(' ', '_')}") if suggestion in WORDS else ""
    return f'<td class="mt-cell-{escape(key)}" title="{escape(answer)}"><span>{escape(word)}</span></td>'


def flip(strengths: Sequence[float], suggestions: Sequence[str]) -> float | None:
    """The least strength from which on every answer is formed, up to the first of 1 or more: beyond it adapters mostly add noise.
    None where the last of them is not formed."""
    found, whole = None, min((one for one in strengths if one >= 1), default=1.0)
    for strength, suggestion in sorted(zip(strengths, suggestions, strict=True), reverse=True):
        if strength > whole:
            continue
        if suggestion != "formed":
            break
        found = strength
    return found


def heat_html(lang: str, found: Sequence[Moment], strengths: Sequence[float], margins: Mapping[tuple[int, int], float]) -> str:
    """margins: (moment, strength) -> identity margin, as far as it is known; below 0 the old identity is likelier."""
    highest = max((abs(value) for value in margins.values()), default=1.0) or 1.0
    rows = []
    for place in reversed(range(len(strengths))):
        cells = []
        for at in range(len(found)):
            value = margins.get((at, place))
            if value is None:
                cells.append('<td class="mt-empty">·</td>')
                continue
            side = "new" if value > 0 else "old"
            cells.append(f'<td class="mt-heat-{side}" style="--heat:{abs(value) / highest:.2f}">{value:+.1f}</td>')
        rows.append(f"<tr><th>{strengths[place]:g}</th>{''.join(cells)}</tr>")
    heads = [say(lang, "mo_strength_step"), *(str(one.step) for one in found)]
    return table(heads, rows, "mt-heatmap") + paragraph(say(lang, "mo_heat_words"))
