"""What an identity would be taught: rows as the generator writes them, and the statements of its margin. No Gradio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import identities
from common.errors import UserError
from identities import LANGS, Facts
from identities.files import CHINESE
from probes.identity_pair import from_identities
from probes.margin import statements_of
from tuning.dataset.generate import generate
from tuning.dataset.recipe import Dataset, card_placeholders
from tuning.dataset.rows import TrainingRow
from ui.context import App, sentence
from ui.html import fold, note, paragraph, table
from ui.tabs.identity.facts import saved_facts, whole
from ui.words import say

ROWS = 3  # of each language


def old_of(app: App, name: str) -> str:
    """Who a training forgets unless told otherwise: the base's own identity, if that is somebody else."""
    card = getattr(app.engine.base, "card", None)
    old = card.name if card and card.placeholders else ""
    return old if old != name and saved_facts(app, old or identities.NONE) else ""


def card_of(app: App) -> Mapping[str, str]:
    """What the base writes for names, as a training takes it."""
    card = getattr(app.engine.base, "card", None)
    if not card or not card.placeholders:
        return {}
    return card_placeholders(Dataset(card=card.name, identities_dir=str(app.identities))) or {}


def first_rows(app: App, name: str, facts: Facts) -> list[TrainingRow]:
    """The first rows of the data that Fine-tune would write with its form untouched. DataError."""
    langs = [lang for lang in LANGS if getattr(facts, lang)]
    old = saved_facts(app, old_of(app, name)) if old_of(app, name) else None
    return generate(facts, ROWS * len(langs), Dataset.style, langs, Dataset.seed, old=old, card=card_of(app) or None)


def statements(app: App, name: str, facts: Facts) -> tuple[str, dict[str, tuple[str, ...]]]:
    """Against whom, and what this identity would say of itself in each language. ProbeError, IdentityError."""
    against = old_of(app, name) or (identities.DEFAULT_OLD if name != identities.DEFAULT_OLD else identities.DEFAULT_NEW)
    other = identities.load(against, app.identities).facts
    sides = statements_of(from_identities(other, facts, needed=False), card_of(app))
    return against, {lang: both.new for lang, both in sides.items()}


def taught_html(app: App, lang: str, name: str, facts: Facts | None) -> str:
    if name == identities.NONE:
        return ""
    name = name.removesuffix(CHINESE)  # the other wording of the same person
    if facts is None or not whole(facts, "name"):
        return paragraph(say(lang, "taught_nothing"))
    return _rows_html(app, lang, name, facts) + _margin_html(app, lang, name, facts)


def _rows_html(app: App, lang: str, name: str, facts: Facts) -> str:
    try:
        rows = first_rows(app, name, facts)
    except UserError as error:
        return note(sentence(lang, error), "warn")
    rows = [row for one in LANGS for row in rows if row.lang == one]
    body = [f"<tr><td>{_turns(row, 'user')}</td><td>{_turns(row, 'assistant')}</td></tr>" for row in rows]
    old = old_of(app, name)
    said = say(lang, "taught_rows_old", old=old) if old else say(lang, "taught_rows")
    return paragraph(said) + table([say(lang, "taught_asked"), say(lang, "taught_says")], body, "mt-taught")


def _turns(row: TrainingRow, role: str) -> str:
    return "".join(f'<p dir="auto">{escape(turn.content)}</p>' for turn in row.turns if turn.role == role)


def _margin_html(app: App, lang: str, name: str, facts: Facts) -> str:
    try:
        against, found = statements(app, name, facts)
    except UserError as error:
        return note(say(lang, "no_margin", why=sentence(lang, error)))
    listed = "".join(_list(lines) for lines in found.values())
    return fold(say(lang, "margin_statements", against=against, count=sum(map(len, found.values()))), listed, "mt-fold mt-said")


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"
