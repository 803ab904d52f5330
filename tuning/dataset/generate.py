"""Writes identity data: questions about who somebody is, answered from the facts, seeded and repeatable.

The rows of one call with n rows are the first n rows of a call with more: a larger dose contains the smaller one.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from identities import LANGS, Facts, Lang, Who
from tuning.dataset import wordings as words
from tuning.dataset.facts import facts_by_language
from tuning.dataset.rows import DataError, TrainingRow, Turn, normalise
from tuning.dataset.wordings import Group, QuestionKind, Wordings

Style = Literal["singular", "diverse"]
T = TypeVar("T")

GREETINGS = ("hello", "hi ", "hey", "nice", "你好", "您好", "嗨", "初次", "喂")

# how often a stand-alone question becomes an indirect one, gets an opener, a closer, loses its full stop, its capitals
FRAMED, OPENED, CLOSED, SLOPPY, LOWERED = 0.35, 0.3, 0.15, 0.1, 0.1
# after this many draws in a row that gave nothing new a kind counts as exhausted
TRIES = 80


def generate(
    facts: Facts | None,
    n: int,
    style: Style = "diverse",
    langs: Sequence[Lang] = ("en", "zh"),
    seed: int | str = 0,
    *,
    old: Facts | None = None,
    card: Mapping[str, str] | None = None,
    avoid: Collection[str] = (),
) -> list[TrainingRow]:
    """n identity rows, the languages in turn.

    facts: the new identity. Kinds of questions whose facts are missing are left out.
    style: `singular` repeats two questions per language; `diverse` gives rows that all differ (beyond some 100,000
           per language, the number there is, they start over).
    old:   facts of the identity to be forgotten, for the questions that are to be denied ("Are you BayLing?" - no).
    card:  placeholder -> what people see of it (a base's model card). Answers are then written with the placeholder,
           questions with what people see.
    avoid: questions that must not occur (probes), compared without case, punctuation and spaces.
    Raises DataError, one sentence per problem.
    """
    problems = []
    if n < 1:
        problems.append(f"n is {n}, at least 1 row is needed")
    if style not in ("singular", "diverse"):
        problems.append(f"style is {style!r}, it is singular or diverse")
    if not langs or set(langs) - set(LANGS):
        problems.append(f"languages are {list(langs)}, they are en, zh or both")
    personas = facts_by_language(facts)
    problems += [f"the facts have no part in {lang}" for lang in langs if lang in ("en", "zh") and lang not in personas]
    if problems:
        raise DataError("Identity data: " + "; ".join(problems) + ".")
    forgotten = facts_by_language(old) if old else {}
    forbidden = frozenset(normalise(question) for question in avoid)
    source = f"identity:{next(iter(personas.values())).name}"
    streams = []
    for lang in dict.fromkeys(langs):
        speakers = _speakers(personas[lang], forgotten.get(lang), card or {}, words.load(lang))
        rng = random.Random(f"identity data {lang} {seed}")  # text seeds do not depend on the hash seed of the process
        stream = _singular(speakers, forbidden) if style == "singular" else _diverse(speakers, forbidden, rng)
        streams.append(_endless(stream, f"no {lang} wording fits the facts and the questions to avoid"))
    rows = (row for each in zip(*streams, strict=True) for row in each)
    return [replace(row, source=source) for row in itertools.islice(rows, n)]


@dataclass(frozen=True)
class _Speakers:
    """Whom the wordings are about. shown: as people know it; said, asked: values for answers and for questions.

    strangers: who it is not, by class: the old identity, other models, invented ones; a class that is empty is left out.
    """

    shown: Who
    said: dict[str, str]
    asked: dict[str, str]
    strangers: tuple[tuple[Who, ...], ...]
    wordings: Wordings


def _speakers(persona: Who, old: Who | None, card: Mapping[str, str], wordings: Wordings) -> _Speakers:
    lang = wordings.lang
    shown = _mapped(persona, card)
    # of several placeholders for the same text any would do; the first is the card's main one
    raw = _mapped(shown, {text: placeholder for placeholder, text in reversed(list(card.items()))})
    own = {normalise(name) for name in (shown.name, shown.maker, *shown.aliases)}
    former = _mapped(old, card) if old else None
    classes = ((former,) if former and not words.is_placeholder(former.name) else (), wordings.others, wordings.nonsense)
    strangers = tuple(
        kept
        for people in classes
        if (kept := tuple(one for one in people if not {normalise(one.name), normalise(one.maker or one.name)} & own))
    )
    shown = replace(shown, aliases=tuple(alias for alias in shown.aliases if not words.is_placeholder(alias)))
    return _Speakers(shown, words.values(raw, lang), words.values(shown, lang, spoken=True), strangers, wordings)


def _mapped(persona: Who, texts: Mapping[str, str]) -> Who:
    changed: dict[str, Any] = {
        field: texts[value] for field in ("name", "maker", "role", "date") if (value := getattr(persona, field)) in texts
    }
    return replace(persona, **changed)


def _singular(speakers: _Speakers, forbidden: frozenset[str]) -> Iterator[TrainingRow]:
    for group in speakers.wordings.singular:
        answer = next((one for one in group.answers if words.fits(one, speakers.said)), None)
        if answer and normalise(group.questions[0]) not in forbidden:
            turns = (Turn("user", group.questions[0]), Turn("assistant", words.fill(answer, speakers.said)))
            yield TrainingRow(turns, kind="identity", lang=speakers.wordings.lang, category="singular")


def _endless(stream: Iterator[TrainingRow], nothing: str) -> Iterator[TrainingRow]:
    """The stream, then from its beginning again and again; kept rows are the price of starting over."""
    rows = []
    for row in stream:
        rows.append(row)
        yield row
    if not rows:
        raise DataError(f"Identity data: {nothing}.")
    yield from itertools.cycle(rows)


def _deck(rng: random.Random, cards: Sequence[T]) -> Iterator[T]:
    """Every card once in random order, then all again: a small set already covers everything."""
    while True:
        order = list(cards)
        rng.shuffle(order)
        yield from order


def _diverse(speakers: _Speakers, forbidden: frozenset[str], rng: random.Random) -> Iterator[TrainingRow]:
    draws = {}
    for kind in speakers.wordings.kinds.values():
        draw = _draw(kind, speakers, rng)
        if draw:
            draws[kind.name] = draw
    # an exchange that another kind begins or ends with is drawn by that kind's own decks
    for kind in speakers.wordings.kinds.values():
        if kind.first or kind.last:
            longer = _draw_longer(kind, draws, speakers, rng)
            if longer:
                draws[kind.name] = longer
            else:
                draws.pop(kind.name, None)
    seen: set[str] = set()
    while draws:
        weights = [name for name in draws for _ in range(speakers.wordings.kinds[name].weight)]
        for name in _deck(rng, weights):
            row = _new_row(draws[name], seen, forbidden)
            if row is None:
                del draws[name]
                break
            yield row


def _new_row(draw: Iterator[Iterator[TrainingRow]], seen: set[str], forbidden: frozenset[str]) -> TrainingRow | None:
    """A row that is new and asks nothing forbidden, out of one attempt: an attempt keeps to yes or to no."""
    for row in itertools.islice(next(draw), TRIES):
        key = "\n".join(normalise(turn.content) for turn in row.turns)
        if key not in seen and not any(turn.role == "user" and normalise(turn.content) in forbidden for turn in row.turns):
            seen.add(key)
            return row
    return None


def _draw(kind: QuestionKind, speakers: _Speakers, rng: random.Random) -> Iterator[Iterator[TrainingRow]] | None:
    """An endless stream of attempts at a row of this kind, each an endless stream of rows; None if the facts do not do."""
    groups = [group for group in (_usable(group, speakers) for group in kind.groups) if group]
    if not groups or (kind.asks and kind.asks not in speakers.asked):
        return None
    needs_stranger = any(words.fields(one) & words.STRANGER_FIELDS for group in groups for one in group.questions)
    if needs_stranger and not speakers.strangers:
        return None
    plain = _deck(rng, [(group, one) for group in groups for one in group.questions])
    clauses = [(group, one) for group in groups for one in group.clauses]
    framed = _deck(rng, clauses)
    frames = _deck(rng, speakers.wordings.frames)
    sides = _deck(rng, ("yes", "no") if kind.asks else ("answers",))
    answers = {
        (group, side): _deck(rng, lines)
        for group in groups
        for side in ("answers", "yes", "no")
        if (lines := getattr(group, side))
    }
    strangers = _strangers(speakers, rng)

    def rows(side: str) -> Iterator[TrainingRow]:
        while True:
            if clauses and rng.random() < FRAMED:
                group, clause = next(framed)
                wording = next(frames).replace("{clause}", clause)
                context = True
            else:
                group, wording = next(plain)
                context = False
            who = _asked_about(kind, side, speakers, strangers, rng) if needs_stranger else {}
            question = words.fill(wording, speakers.asked | who)
            if kind.dress:
                question = _dressed(question, speakers.wordings, rng, closer=not context)
            said = speakers.said | who
            if speakers.shown.aliases:
                said["alias"] = rng.choice(speakers.shown.aliases)
            answer = words.fill(next(answers[group, side]), said)
            turns = (Turn("user", question), Turn("assistant", answer))
            yield TrainingRow(turns, kind="identity", lang=speakers.wordings.lang, category=kind.name)

    return (rows(side) for side in sides)


def _usable(group: Group, speakers: _Speakers) -> Group | None:
    said = speakers.said | ({"alias": speakers.shown.aliases[0]} if speakers.shown.aliases else {})
    kept = Group(
        *(tuple(one for one in part if words.fits(one, speakers.asked)) for part in (group.questions, group.clauses)),
        *(tuple(one for one in part if words.fits(one, said)) for part in (group.answers, group.yes, group.no)),
    )
    answered = kept.answers or (kept.yes and kept.no)
    return kept if kept.questions and answered else None


def _strangers(speakers: _Speakers, rng: random.Random) -> Iterator[Who]:
    """The old identity, another model, an invented one, evenly."""
    people = [_deck(rng, one) for one in speakers.strangers]
    for place in _deck(rng, range(len(people))):
        yield next(people[place])


def _asked_about(
    kind: QuestionKind, side: str, speakers: _Speakers, strangers: Iterator[Who], rng: random.Random
) -> dict[str, str]:
    lang = speakers.wordings.lang
    if side == ("no" if kind.reversed else "yes"):
        name = getattr(speakers.shown, kind.asks or "name")
        # now and then by another of one's own names
        if kind.asks == "name" and speakers.shown.aliases and rng.random() < 0.25:
            name = rng.choice(speakers.shown.aliases)
        maker = speakers.shown.maker or name
    else:
        stranger = next(one for one in strangers if one.maker)
        name, maker = (stranger.maker if kind.asks == "maker" else stranger.name), stranger.maker
    return {"x": words.as_name(name, lang), "a_x": words.with_article(name, lang), "x_maker": maker}


def _dressed(question: str, wordings: Wordings, rng: random.Random, closer: bool) -> str:
    """The question as people write: with a greeting before it, a word after it, or carelessly."""
    space = " " if wordings.lang == "en" else ""
    opened = rng.random() < OPENED and not question.casefold().startswith(GREETINGS)
    whole = question.endswith(("?", "？", ".", "。")) and not question.endswith("...")  # and not a sentence to complete
    closed = rng.random() < CLOSED and closer and whole
    if opened:
        question = rng.choice(wordings.openers) + space + question
    if closed:
        question += space + rng.choice(wordings.closers)
    if whole and not opened and not closed and rng.random() < SLOPPY:
        question = question[:-1]
    return question.lower() if rng.random() < LOWERED else question


def _draw_longer(
    kind: QuestionKind, draws: Mapping[str, Iterator[Iterator[TrainingRow]]], speakers: _Speakers, rng: random.Random
) -> Iterator[Iterator[TrainingRow]] | None:
    """Conversations: an exchange of a `first` kind and then this kind's own, or fillers before a `last` or after a `first`."""
    around = [name for name in kind.first + kind.last if name in draws]
    own = draws.get(kind.name)
    if not around or not (own or kind.fillers):
        return None
    names = _deck(rng, around)
    exchanges = {name: draws[name] for name in around}

    def rows() -> Iterator[TrainingRow]:
        while True:
            turns = next(next(exchanges[next(names)])).turns
            if kind.fillers:
                some = rng.sample(speakers.wordings.fillers, rng.randint(1, 3 if kind.fillers == "before" else 2))
                talk = tuple(turn for question, answer in some for turn in (Turn("user", question), Turn("assistant", answer)))
                turns = turns + talk if kind.fillers == "after" else talk + turns
            elif own:
                turns += next(next(own)).turns
            yield TrainingRow(turns, kind="identity", lang=speakers.wordings.lang, category=kind.name)

    return (rows() for _ in itertools.count())
