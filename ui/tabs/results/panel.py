"""What stands behind a verdict, as HTML: the answers with their labels, what would settle it, and one question side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from html import escape

from probes.report import page, table, wording
from probes.report.model import Report
from probes.report.table import MARKS, TableRow
from probes.verdicts import basis
from probes.verdicts.basis import Pair
from probes.verdicts.rules import CONFUSION, FORMED, INTRUSION, NOT_FORGOTTEN, UNDETERMINED
from ui.answer_html import answer_html
from ui.conversation import LETTERS, MAX_COLUMNS
from ui.html import paragraph
from ui.tabs.results.view import button_html, evidence_words, probe_language, say_escaped, verdict_detail
from ui.words import say

SHOWN = 200  # answers; more would make the page slow, and the report's answers.csv holds all
MOST_SIDES = MAX_COLUMNS


def read_key(made: Report, asked: str) -> tuple[TableRow, str, int]:
    """ "3/old" or "3/old/17": the row, the column, and which of the row's answers (-1: none); else KeyError or ValueError."""
    number, column, *answer = asked.split("/")
    if column not in table.VERDICTS:
        raise KeyError(column)
    return made.rows[int(number)], column, int(answer[0]) if answer else -1


def panel_html(made: Report, asked: str, lang: str) -> str:
    """The panel below the table for the verdict that was clicked."""
    row, column, _ = read_key(made, asked)
    result, of = row.result, probe_language(lang)
    pairs = page.supporting_answers(row, made)
    here = basis.counting_pairs(pairs, column)
    verdict = getattr(result, column)
    missing = basis.find_missing(pairs, result, column)
    title = f"{result.variant} · {wording.language(of, result.lang)} · {wording.say(of, f'column_{column}')}"
    head = (
        f'<div class="mt-panel-head"><h2>{escape(title)}</h2>{button_html(lang, "results_close", "data-close-panel")}</div>'
        f'<p class="mt-panel-verdict mt-v-{verdict.word.replace(" ", "-")}">'
        f'<span class="mt-vmark" aria-hidden="true">{MARKS[verdict.word]}</span>'
        f"<strong>{escape(wording.term(of, verdict.word))}</strong> <span>{escape(verdict_detail(lang, verdict))}</span></p>"
    )
    facts = [
        *_measured(row, column, lang),
        escape(say(lang, "results_rests_on", evidence=evidence_words(lang, basis.count_sources(here)) or "0")),
    ]
    facts += [escape(text) for text in settling_sentences(missing, lang)]
    listed = "".join(f"<li>{fact}</li>" for fact in facts)
    numbers = {id(answer): number for number, (answer, _) in enumerate(pairs)}
    items = "".join(_answer_html(made, asked, numbers[id(answer)], (answer, said), lang) for answer, said in here[:SHOWN])
    more = paragraph(say(lang, "results_panel_more", count=len(here) - SHOWN)) if len(here) > SHOWN else ""
    return (
        f'<section class="mt-panel" id="mt-panel" tabindex="-1">{head}<ul class="mt-settle">{listed}</ul>{_filters(here, lang)}'
        f'<ol class="mt-answers">{items}</ol>{more}</section>'
    )


def settling_sentences(missing: basis.Missing, lang: str) -> list[str]:
    """How many more probes or labels would settle the verdict, in sentences."""
    told = []
    if missing.verdict.word == UNDETERMINED:
        told.append(
            say(lang, "results_probes_settle", count=missing.more) if missing.more else say(lang, "results_never_settles")
        )
    if missing.unlabelled:
        word = wording.term(probe_language(lang), missing.labels_verdict.word)
        told.append(say(lang, "results_unlabelled", count=missing.unlabelled))
        if missing.labels_more:
            told.append(say(lang, "results_labels_settle", word=word, count=missing.labels_more))
        elif missing.labels_verdict.word != UNDETERMINED:
            told.append(say(lang, "results_labels_alone", word=word))
    if missing.disputed:
        told.append(say(lang, "results_to_settle", count=missing.disputed))
    return told


def _measured(row: TableRow, column: str, lang: str) -> list[str]:
    """The intervals that the verdict was made of."""
    result = row.result
    if column == "stability":
        kinds = (("hold", result.hold), ("flips", result.flips))
    elif column == "usable":
        kinds = ((INTRUSION, result.shares[INTRUSION]), ("retention", result.retention))
    else:
        label = NOT_FORGOTTEN if column == "old" else FORMED
        kinds = ((label, result.shares[label]), (CONFUSION, result.shares[CONFUSION]))
    modal = wording.term(probe_language(lang), result.modal or "")
    keys = {kind: f"results_share_{kind.replace(' ', '_')}" for kind, _ in kinds}
    return [
        say_escaped(lang, keys[kind], interval=table.format_interval(of), answers=of.answers, probes=of.probes, modal=modal)
        for kind, of in kinds
        if of.share is not None
    ]


def _filters(here: list[Pair], lang: str) -> str:
    labels = Counter(said.label for _, said in here if said.label)
    groups = Counter(said.group for _, said in here)

    def options(counts: Mapping[str, int], key: str) -> str:
        inside = "".join(
            f'<option value="{escape(word)}">{escape(wording.term(probe_language(lang), word))} ({count})</option>'
            for word, count in counts.items()
        )
        return f'<option value="">{say_escaped(lang, key)}</option>{inside}'

    def select(about: str, counts: Mapping[str, int], key: str) -> str:
        return f'<select {about} aria-label="{say_escaped(lang, key)}">{options(counts, key)}</select>'

    find = say_escaped(lang, "results_find_answer")
    return (
        f'<div class="mt-results-tools"><input type="search" data-find-answer placeholder="{find}" aria-label="{find}">'
        f"{select('data-of-label', labels, 'results_all_labels')}{select('data-of-group', groups, 'results_all_groups')}</div>"
    )


def _answer_html(made: Report, asked: str, number: int, pair: Pair, lang: str) -> str:
    answer, said = pair
    group = wording.term(probe_language(lang), said.group)
    sampled = "" if said.greedy else f" · {say_escaped(lang, 'results_sampled')}"
    compare = button_html(lang, "results_side_by_side", f'data-panel="{escape("/".join(asked.split("/")[:2]))}/{number}"')
    return (
        f'<li data-label="{escape(said.label or "")}" data-group="{escape(said.group)}">'
        f'<div class="mt-q" dir="auto">{escape(str(answer.get("question") or ""))}</div>'
        f"{answer_html(lang, str(answer.get('answer') or ''), answer.get('prompt'))}"
        f'<div class="mt-said">{label_html(made, pair, lang)}<span class="mt-group-of">{escape(group)}{sampled}</span>'
        f"{compare}</div></li>"
    )


def label_html(made: Report, pair: Pair, lang: str) -> str:
    """The label and where it comes from; a suggestion says that it is one."""
    answer, said = pair
    of = probe_language(lang)
    if said.group == "retention":
        word = "" if said.correct is None else wording.term(of, "right" if said.correct else "wrong")
        return _label(word or say(lang, "results_unchecked"), say(lang, "results_by_check"))
    if said.source == "suggestion":
        text = say(lang, "results_suggested", label=wording.term(of, said.label or ""))
        return _label(
            text + ("" if said.sure else say(lang, "results_unsure")), say(lang, "results_nobody"), " mt-label-suggested"
        )
    voices = [row for row in made.labels.get(answer.get("answer_id", -1), ()) if row["kind"] in ("label", "adjudication")]
    named = "; ".join(f"{row['annotator']}: {wording.term(of, row['label'] or '')}" for row in voices)
    how = wording.term(of, said.source) if said.source != "none" else say(lang, "results_nobody")
    word = wording.term(of, said.label) if said.label else say(lang, "results_no_label")
    return _label(word, " · ".join(filter(None, [how, named])), "" if said.label else " mt-label-none")


def _label(text: str, source: str, kind: str = "") -> str:
    return f'<span class="mt-label{kind}">{escape(text)}</span><span class="mt-from">{escape(source)}</span>'


def side_html(made: Report, asked: str, lang: str) -> str:
    """One question with what every variant answered to it, to read and to keep as a picture."""
    row, _, number = read_key(made, asked)
    answer, said = page.supporting_answers(row, made)[number]
    same = [pair for pair in made.judged if _same_question(pair, answer, said)]
    by_variant = {said.variant: pair for pair in reversed(same) for said in [pair[1]]}
    order = [one.result.variant for one in made.rows]
    kept = sorted(by_variant, key=lambda name: (name != said.variant, order.index(name) if name in order else len(order)))
    chosen = sorted(kept[:MOST_SIDES], key=lambda name: order.index(name) if name in order else len(order))
    columns = "".join(_side(made, by_variant[name], at, lang) for at, name in enumerate(chosen))
    bases = ", ".join(dict.fromkeys(str(by_variant[name][0]["base"]) for name in chosen if by_variant[name][0].get("base")))
    left = say(lang, "results_sides_left", count=len(kept) - len(chosen)) if len(kept) > len(chosen) else ""
    return (
        f'<section class="mt-sides" data-picture-root data-base="{escape(bases)}" id="mt-sides" tabindex="-1">'
        f'<div class="mt-panel-head">'
        f"<h2>{say_escaped(lang, 'results_side_by_side')}</h2>{button_html(lang, 'picture', 'data-picture')}"
        f"{button_html(lang, 'results_close', 'data-close-sides')}</div>"
        f'<div class="mt-q" data-picture-question dir="auto">{escape(str(answer.get("question") or ""))}</div>'
        f'<div class="mt-side-columns">{columns}</div>{f"<p class=mt-quiet>{escape(left)}</p>" if left else ""}</section>'
    )


def _same_question(pair: Pair, answer: Mapping, said) -> bool:
    other, judged = pair
    same = judged.probe == said.probe and judged.lang == said.lang and judged.group == said.group
    return (
        same and (other is answer or judged.variant != said.variant) and (other.get("sample") or 0) == (answer.get("sample") or 0)
    )


def _side(made: Report, pair: Pair, at: int, lang: str) -> str:
    answer, said = pair
    temperature = answer.get("temperature")
    sampled = say(lang, "sampled", temperature=f"{temperature:g}", seed=answer.get("seed")) if temperature else ""
    identity = str(answer.get("identity") or "")
    how = " · ".join(
        filter(
            None, ["" if identity in ("", "none") else identity, sampled or ("" if said.greedy else say(lang, "results_sampled"))]
        )
    )
    return (
        f'<div class="mt-side-by mt-col-{at}" data-picture-column>'
        f'<div class="mt-head mt-hue-{at}"><span class="mt-letter">{LETTERS[at]}</span>'
        f'<div><div class="mt-who">{escape(said.variant)}</div><div class="mt-how">{escape(how)}</div></div></div>'
        f"{answer_html(lang, str(answer.get('answer') or ''), answer.get('prompt'))}"
        f'<div class="mt-said">{label_html(made, pair, lang)}</div></div>'
    )
