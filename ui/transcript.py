"""A column's turns as HTML. Everything a model or a person wrote is escaped; it is shown as written, not as Markdown."""

from __future__ import annotations

from html import escape

from engine.types import Answer, Variant
from ui.answer_html import answer_html, split_shown
from ui.conversation import LETTERS, ChatTurn
from ui.html import failure, fold, note
from ui.variants import headline, odd_decoding
from ui.words import say


def column_head(
    lang: str, column: int, answered: Variant | None, upcoming: Variant | str, changed: bool, recorded_format: str | None = None
) -> str:
    """The headline of one column. It names the variant of the newest answer; the pickers only speak of the next one.

    upcoming: the variant the pickers stand for, or the sentence why they stand for none.
    """
    named = answered or (upcoming if isinstance(upcoming, Variant) else None)
    main, second = headline(lang, named) if named else ("–", "")
    notes = ""
    if isinstance(upcoming, str):
        notes = note(upcoming, "warn")
    elif changed:
        later = " · ".join(filter(None, [*headline(lang, upcoming), odd_decoding(lang, upcoming.decoding), upcoming.format]))
        notes = note(say(lang, "picker_changed", later=later), "next")
    if named and named.format and recorded_format and named.format != recorded_format:
        notes += note(say(lang, "format_overridden", format=named.format, recorded=recorded_format), "warn")
    odd = odd_decoding(lang, named.decoding) if named else ""
    second = " · ".join(filter(None, [second, odd]))
    return (
        f'<div class="mt-head mt-hue-{column}"><span class="mt-letter">{LETTERS[column]}</span>'
        f'<div><div class="mt-who">{escape(main)}</div><div class="mt-how">{escape(second)}</div></div></div>{notes}'
    )


def blind_head(lang: str, place: int) -> str:
    """The headline while names are hidden: only the side."""
    side = LETTERS[place]
    return (
        f'<div class="mt-head mt-hue-blind"><span class="mt-letter">{side}</span>'
        f'<div><div class="mt-who">{escape(say(lang, "answer_side", side=side))}</div>'
        f'<div class="mt-how">{escape(say(lang, "name_hidden"))}</div></div></div>'
    )


def revealed_head(lang: str, place: int, column: int, variant: Variant, chosen: bool) -> str:
    """The headline after the vote: side, name, and whether it was preferred."""
    main, second = headline(lang, variant)
    mark = f'<span class="mt-mark">{escape(say(lang, "preferred"))}</span>' if chosen else ""
    odd = odd_decoding(lang, variant.decoding)
    return (
        f'<div class="mt-head mt-hue-{column}"><span class="mt-letter">{LETTERS[place]}</span>'
        f'<div><div class="mt-who">{escape(main)}{mark}</div>'
        f'<div class="mt-how">{escape(" · ".join(filter(None, [second, odd])))}</div></div></div>'
    )


def turns_html(lang: str, turns: list[ChatTurn], hidden: bool = False, recorded_format: str | None = None) -> str:
    """All turns of a column. hidden: nothing but the words, as long as a comparison is blind."""
    said = []
    for at, turn in enumerate(turns):
        before = turns[at - 1].answer if at else None
        said.append(turn_html(lang, turn, hidden, before.variant if before else None, recorded_format))
    return "".join(said)


def turn_html(
    lang: str, turn: ChatTurn, hidden: bool = False, before: Variant | None = None, recorded_format: str | None = None
) -> str:
    """One finished turn. before: who answered the turn above; if it was another one, this answer says who it is."""
    question = f'<div class="mt-q" dir="auto">{escape(turn.question)}</div>'
    if turn.answer is None:
        return f'<div class="mt-turn">{question}{failure(turn.error)}</div>'
    answer = turn.answer
    by = ""
    if not hidden and before is not None and before.name != answer.variant.name:
        by = f'<div class="mt-by">{escape(" · ".join(filter(None, headline(lang, answer.variant))))}</div>'
    said = answer_html(lang, answer.shown, answer.prompt, thoughts=not hidden)
    about = "" if hidden else details_html(lang, answer, recorded_format)
    return f'<div class="mt-turn">{question}{by}{said}{about}</div>'


def live_html(lang: str, question: str, shown: str, waiting: str = "") -> str:
    """The turn that is being answered. waiting: what is going on while there is no word yet."""
    said = split_shown(shown)  # a thought is not shown before it has ended
    if not said.finished and not said.answer:
        waiting = say(lang, "thinking")
    text = escape(said.answer) if said.answer else f'<span class="mt-empty">{escape(waiting)}</span>'
    return (
        f'<div class="mt-turn"><div class="mt-q" dir="auto">{escape(question)}</div>'
        f'<div class="mt-a mt-live" dir="auto">{text}</div></div>'
    )


def empty_html(lang: str) -> str:
    return f'<div class="mt-nothing">{escape(say(lang, "nothing_asked"))}</div>'


def finish_words(lang: str, answer: Answer) -> str:
    if answer.finish == "length":
        return say(lang, "finish_length", tokens=answer.new_tokens)
    return say(lang, "finish_stopped" if answer.finish == "stopped" else "finish_stop")


def prompt_tokens(lang: str, answer: Answer) -> str:
    """How many there were, and for how many of them keys and values were still there."""
    kept = answer.timings.kept_tokens
    return say(lang, "prompt_tokens_kept", tokens=answer.prompt_tokens, kept=kept) if kept else str(answer.prompt_tokens)


def details_html(lang: str, answer: Answer, recorded_format: str | None = None) -> str:
    """Under an answer: how it ended and how fast; raw text, exact prompt and what it takes to make it again, folded."""
    cut = ' class="mt-cut"' if answer.finish == "length" else ""
    facts = [f"<span{cut}>{escape(finish_words(lang, answer))}</span>"]
    if answer.finish != "length":
        facts.append(f"<span>{escape(say(lang, 'tokens_count', tokens=answer.new_tokens))}</span>")
    if answer.tokens_per_s:
        facts.append(f"<span>{escape(say(lang, 'speed', speed=f'{answer.tokens_per_s:.1f}'))}</span>")
    if answer.dropped_turns:
        facts.append(f'<span class="mt-cut">{escape(say(lang, "turns_dropped", turns=answer.dropped_turns))}</span>')
    if recorded_format and answer.variant.format and answer.format != recorded_format:
        words = say(lang, "format_overridden", format=answer.format, recorded=recorded_format)
        facts.append(f'<span class="mt-cut">{escape(words)}</span>')
    raw_note = say(lang, "raw_same" if answer.raw.strip() == answer.shown.strip() else "raw_differs")
    hashes = answer.hashes
    again = [
        (say(lang, "reproduce_base"), " · ".join(filter(None, (hashes.get("base"), hashes.get("dtype"))))),
        (say(lang, "reproduce_format"), f"{answer.format} {hashes.get('format') or ''}"),
        *(
            (adapter, f"{answer.variant.adapters.get(adapter, 0):g} · {known}")
            for adapter, known in (hashes.get("adapters") or {}).items()
        ),
        (say(lang, "reproduce_identity"), f"{answer.variant.identity} {hashes.get('identity') or ''}"),
        (say(lang, "reproduce_decoding"), odd_decoding(lang, answer.variant.decoding) or say(lang, "greedy")),
        (say(lang, "reproduce_prompt_tokens"), prompt_tokens(lang, answer)),
        (say(lang, "reproduce_logprob"), f"{answer.mean_logprob:.3f}"),
        (
            say(lang, "reproduce_seconds"),
            f"{answer.timings.queued_s:.2f} + {answer.timings.prefill_s:.2f} + {answer.timings.decode_s:.2f}",
        ),
    ]
    rows = "".join(f"<tr><th>{escape(str(name))}</th><td>{escape(str(value))}</td></tr>" for name, value in again)
    return (
        f'<div class="mt-facts">{"".join(facts)}</div><div class="mt-folds">'
        f"{fold(say(lang, 'raw'), f'<p>{escape(raw_note)}</p><pre>{escape(answer.raw)}</pre>', 'mt-fold mt-fold-raw')}"
        f"{fold(say(lang, 'prompt'), f'<pre>{escape(answer.prompt)}</pre>', 'mt-fold mt-fold-prompt')}"
        f"{fold(say(lang, 'reproduce'), f'<table>{rows}</table>', 'mt-fold mt-fold-reproduce')}</div>"
    )
