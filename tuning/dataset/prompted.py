"""Rows that teach a base to follow a prompt: invented people in many wordings of a system text, and answers that follow it.

Each person gets questions about themselves under the prompt, now and then with the prompt as the first message of the user,
and general questions that are answered as if there were no prompt. Seeded and repeatable.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from identities import LANGS, Facts, Lang, Who
from tuning.dataset import wordings as words
from tuning.dataset.facts import facts_by_language
from tuning.dataset.generate import generate
from tuning.dataset.rows import TrainingRow, Turn, detect_lang, normalise

# rows of one person: with the prompt as system text; how often one more with the prompt as first turn
SYSTEM_ROWS, FIRST_TURN = 2, 0.4
# how often a prompt has further sentences and a line to say when asked; the questions are in the other language; a general
# question comes after a first turn and not under a system text
EXTRAS, SAY, OTHER_LANGUAGE, GENERAL_FIRST_TURN = 0.5, 0.25, 0.12, 0.2
# how often it is BayLing's own system text with another name or maker: the base has to tell it from the text it always reads
HOUSE = ("I am", "我是")
HOUSED = {"named": 0.25, "unnamed": 0.15, "made": 0.3}
OWN_THING = {"en": "intelligent language assistant", "zh": "智能语言助手"}  # what that text calls the model
OWN_PROMPT = 0.35  # of the prompts beside which a taught identity stays what it is; the others are the old one's
DRAWN = 36  # rows drawn for a person, to choose from
KINDS = (
    ("name maker role", 36),
    ("name maker", 20),
    ("name role", 8),
    ("name", 10),
    ("unnamed", 20),
    ("unnamed maker", 8),
    ("made", 40),
)
NAMELESS = ("made", "housed")
ASKED = ("who", "name", "maker")  # kinds of questions that ask for the name or the maker directly
_NAME_IS_A_NOUN = re.compile(
    r"\b(?:name is|named|named me|gave me the name|name|called|call me|call you|it is) (?:an?|the) ", re.IGNORECASE
)


@dataclass(frozen=True)
class Prompted:
    """Somebody a prompt makes the model be.

    sort: which wordings fit: "named", "unnamed" (a role), "made" (a maker alone), "housed" (a maker in BayLing's own text).
    """

    persona: Who
    sort: str
    lang: Lang

    @property
    def marks(self) -> tuple[str, ...]:
        """What an answer says of them, one of these at least."""
        name, maker = self.persona.name, self.persona.maker
        if self.sort in NAMELESS:
            return (maker,)
        return (words.strip_article(name), maker) if maker else (words.strip_article(name),)

    def mentioned(self, text: str) -> bool:
        return any(mark.casefold() in text.casefold() for mark in self.marks)


@functools.cache
def load(lang: Lang, folder: Path = words.FOLDER) -> Mapping[str, Any]:
    """The prompts' wordings of one language, data/prompt_wordings.LANG.yaml."""
    return yaml.safe_load((folder / f"prompt_wordings.{lang}.yaml").read_text(encoding="utf-8"))


def prompted_rows(
    people: int,
    general: Sequence[TrainingRow] = (),
    seed: int = 0,
    *,
    housed: int = 0,
    old: Any = None,
    avoid: Collection[str] = (),
) -> list[TrainingRow]:
    """Rows of `people` invented identities per language, and each of the `general` rows once, under the prompt of one of them.

    housed: so many more of them are only a maker in BayLing's own system text.
    old:   facts of the base itself, for the questions to be denied ("Are you BayLing?").
    avoid: names and makers that nobody may have, compared without case, punctuation and spaces.
    """
    made: list[TrainingRow] = []
    for lang in LANGS:
        rng = random.Random(f"prompted data {lang} {seed}")
        crowd = [*invent_people(lang, people, rng, avoid), *invent_people(lang, housed, rng, avoid, kinds=(("housed", 1),))]
        for number, who in enumerate(crowd):
            made += identity_rows(who, rng, f"{seed}/{number}", old)
        for row in (row for row in general if row.lang == lang):
            made.append(put_under_prompt(row, crowd, rng))
    return made


def invent_people(
    lang: Lang, count: int, rng: random.Random, avoid: Collection[str] = (), kinds: Sequence[tuple[str, int]] = KINDS
) -> Iterator[Prompted]:
    """`count` people; names that stand in `avoid`, or hold one of its entries, are left out."""
    said = load(lang)
    forbidden = {normalise(one) for one in avoid}
    weighted = [kind for kind, weight in kinds for _ in range(weight)]
    while count:
        kind = rng.choice(weighted)
        maker = _maker(said, rng) if "maker" in kind or kind in NAMELESS else ""
        if kind.startswith("unnamed"):
            # a role that begins with a capital ("AI assistant") would lose its article as a name
            name = rng.choice([role for role in said["roles"] if not role[0].isupper()])
        elif kind in NAMELESS:
            thing = OWN_THING[lang] if kind == "housed" else rng.choice(said["things"])
            name = words.with_article(thing, lang, always=True)
        else:
            name = _name(said, rng)
        role = rng.choice(said["roles"] if rng.random() < 0.65 else said["deeds"]) if "role" in kind else ""
        own = normalise(name) + "\n" + normalise(maker)
        if not any(one in own for one in forbidden):
            count -= 1
            yield Prompted(Who(name, maker, role), "named" if kind.startswith("name") else kind.split(" ")[0], lang)


def _name(said: Mapping[str, Any], rng: random.Random) -> str:
    names = said["names"]
    kind = rng.choice(["human", "compound", "compound", "words", *(["latin"] if "latin" in names else ["full"])])
    if kind == "compound":
        return rng.choice(names["first"]) + rng.choice(names["second"])
    if kind == "full":
        return f"{rng.choice(names['human'])} {rng.choice(names['family'])}"
    return rng.choice(names[kind])


def _maker(said: Mapping[str, Any], rng: random.Random) -> str:
    makers, names = said["makers"], said["names"]
    parts = {name: makers[name] for name in ("stem", "place", "field")}
    parts |= {"human": names["human"], "family": names.get("family", [""])}
    return rng.choice(makers["patterns"]).format(**{field: rng.choice(options) for field, options in parts.items()})


def prompt_of(who: Prompted, rng: random.Random, say: float = SAY) -> tuple[str, str | None]:
    """A prompt that makes the model be `who`, and what it says to answer when asked, if it does (a share `say` of them)."""
    said, values = load(who.lang), words.values(who.persona, who.lang)
    fitting = [one for one in said[who.sort] if words.fits(one, values)]
    house = [one for one in fitting if one.startswith(HOUSE)]
    # wordings that use all that is known of a person come up more often than those that use a part
    known = {field for field in ("maker", "role", "does") if field in values}
    full = [one for one in fitting if known <= {field.removeprefix("a_").lower() for field in words.fields(one)}]
    chosen = house if house and rng.random() < HOUSED.get(who.sort, 1.0) else full if full and rng.random() < 0.7 else fitting
    text = words.fill(rng.choice(chosen), values)
    space = " " if who.lang == "en" else ""
    more = rng.sample(said["extras"], rng.randint(1, 2)) if rng.random() < EXTRAS and chosen is not house else []
    line = None
    if rng.random() < say:
        line = rng.choice(_answers(who, who.lang, text))
        more.insert(rng.randint(0, len(more)), words.fill(rng.choice(said["say"]), {"say": line}))
    return space.join([text, *more]) if "\n" not in text else "\n".join([text, *more]), line


def _answers(who: Prompted, lang: Lang, prompt: str) -> list[str]:
    """What somebody may answer when asked who they are, with facts of the prompt alone."""
    values = words.values(who.persona, lang)
    lines = [words.fill(one, values) for one in words.load(lang).kinds["who"].groups[0].answers if words.fits(one, values)]
    return [one for one in lines if _true(who, one, prompt)]


def _true(who: Prompted, answer: str, prompt: str) -> bool:
    """Whether an answer names somebody, and no fact that the prompt keeps to itself."""
    if not who.mentioned(answer) or _NAME_IS_A_NOUN.search(answer):
        return False
    told = prompt.casefold()
    facts = (one for one in (who.persona.maker, who.persona.role) if one)
    return all(words.strip_article(one) in told or words.strip_article(one) not in answer.casefold() for one in facts)


def identity_rows(who: Prompted, rng: random.Random, seed: str, old: Any = None) -> Iterator[TrainingRow]:
    """Rows in which `who` is asked about themselves."""
    lang = who.lang
    if who.sort == "named" and not who.persona.role and rng.random() < OTHER_LANGUAGE:
        lang = "zh" if lang == "en" else "en"
    for number in range(SYSTEM_ROWS + (rng.random() < FIRST_TURN)):
        prompt, line = prompt_of(who, rng)
        known = _told(who.persona, prompt)
        drawn = _questions(
            Prompted(known, who.sort, lang), f"{seed}/{number}", rng, old, direct=number == 0 or rng.random() < 0.6
        )
        row = next(
            (row for row in drawn if all(_true(who, turn.content, prompt) for turn in row.turns if _identity_answer(turn, row))),
            None,
        )
        if row is None:
            continue
        turns = row.turns
        if line and row.category == "who" and lang == who.lang:
            turns = (*turns[:-1], Turn("assistant", line))
        before = (Turn("system", prompt),) if number < SYSTEM_ROWS else _first_turn(who, prompt, rng)
        yield TrainingRow(
            (*before, *turns),
            source=f"prompt:{who.persona.name}",
            kind="identity",
            lang=lang,
            category=f"prompted {row.category}",
        )


def _identity_answer(turn: Turn, row: TrainingRow) -> bool:
    # in these kinds some answers are about other things
    return turn.role == "assistant" and (
        row.category not in ("later", "away") or turn is row.turns[-1 if row.category == "later" else 1]
    )


def _told(persona: Who, prompt: str) -> Who:
    """The facts that the prompt really tells."""
    told = prompt.casefold()
    maker, role = (fact if words.strip_article(fact) in told else "" for fact in (persona.maker, persona.role))
    return Who(persona.name, maker, role)


def _questions(who: Prompted, seed: str, rng: random.Random, old: Facts | None, direct: bool) -> Iterator[TrainingRow]:
    """Rows to choose from, those with the wanted kind of question first."""
    lang = who.lang
    facts = Facts(en=who.persona) if lang == "en" else Facts(zh=who.persona)
    rows = generate(facts, DRAWN, langs=(lang,), seed=seed, old=old)
    if not who.persona.maker:
        asked = rng.sample(words.load(lang).kinds["maker"].groups[0].questions, 3)
        values = words.values(who.persona, lang)
        lines = rng.choices(load(lang)["no_maker"], k=3)
        rows += [
            TrainingRow((Turn("user", question), Turn("assistant", words.fill(line, values))), lang=lang, category="maker")
            for question, line in zip(asked, lines, strict=True)
        ]
    if who.sort in NAMELESS and who.persona.maker:
        rows = [_without_name(row, who, rng) if row.category == "name" else row for row in rows]
    kinds = list(ASKED)
    rng.shuffle(kinds)
    if not who.persona.maker and rng.random() < 0.4:
        kinds.sort(key=lambda kind: kind != "maker")  # nothing is easier than to make one up
    rng.shuffle(rows)
    order = {kind: place for place, kind in enumerate(kinds)}
    yield from sorted(rows, key=lambda row: order.get(row.category, 9) if direct else row.category in order)


def _without_name(row: TrainingRow, who: Prompted, rng: random.Random) -> TrainingRow:
    """Who has no name answers with the maker."""
    answer = words.fill(rng.choice(load(who.lang)["no_name"]), words.values(who.persona, who.lang))
    return replace(row, turns=(*row.turns[:-1], Turn("assistant", answer)))


def _first_turn(who: Prompted, prompt: str, rng: random.Random) -> tuple[Turn, Turn]:
    values = words.values(_told(who.persona, prompt), who.lang)
    fitting = [words.fill(one, values) for one in load(who.lang)["acks"] if words.fits(one, values)]
    fitting = [one for one in fitting if _true(who, one, prompt)]
    return Turn("user", prompt), Turn("assistant", rng.choice(fitting or _answers(who, who.lang, prompt)))


def put_under_prompt(row: TrainingRow, crowd: Sequence[Prompted], rng: random.Random) -> TrainingRow:
    """A general row under the prompt of somebody whom it does not mention: the prompt changes nothing about its answer."""
    text = " ".join(turn.content + turn.input for turn in row.turns)
    who = next(one for one in rng.sample(crowd, len(crowd)) if not one.mentioned(text))
    prompt, _line = prompt_of(who, rng)
    before = _first_turn(who, prompt, rng) if rng.random() < GENERAL_FIRST_TURN else (Turn("system", prompt),)
    return TrainingRow((*before, *row.turns), source=f"{row.source} under a prompt", kind="general", lang=row.lang)


def taught_rows(
    rows: Sequence[TrainingRow],
    own: Facts | None,
    old: Facts | None,
    share: float,
    old_makers: Collection[str] = (),
    seed: int = 0,
) -> list[TrainingRow]:
    """The rows, a `share` of them under a prompt that changes nothing: one of the identity that is taught, or of the old one.

    The prompt may be in the other language than the question.
    old_makers: other names of the old identity's maker.
    """
    rng = random.Random(f"taught data {seed}")
    selves, others = _as_prompted(own), _as_prompted(old)
    known = list(others)
    for maker in old_makers:
        lang = detect_lang(maker)
        others += [replace(who, persona=replace(who.persona, maker=maker)) for who in known if who.lang == lang]
    return [_held(row, selves, others, rng) if rng.random() < share else row for row in rows]


def _as_prompted(facts: Facts | None) -> list[Prompted]:
    """An identity as a name and as a maker's nameless model, in each language; a role in place of a name is none."""
    found = []
    for lang, persona in facts_by_language(facts).items():
        noun = (lang == "en" and persona.name.islower()) or (lang == "zh" and words.is_noun(persona.name))
        role = persona.role and re.sub(r"^an? ", "", persona.role)
        found.append(Prompted(replace(persona, role=role), "unnamed" if noun else "named", lang))
        if persona.maker and not noun:
            thing = words.with_article(load(lang)["things"][3], lang, always=True)
            found.append(Prompted(Who(thing, persona.maker), "made", lang))
            own_thing = words.with_article(OWN_THING[lang], lang, always=True)
            found.append(Prompted(Who(own_thing, persona.maker), "housed", lang))
    return found


def _held(row: TrainingRow, selves: Sequence[Prompted], others: Sequence[Prompted], rng: random.Random) -> TrainingRow:
    own = rng.random() < OWN_PROMPT
    crowd = [who for who in (selves if own else others) if (who.lang == row.lang) or rng.random() < 0.3]
    who = rng.choice(crowd or (selves if own else others))
    # an old identity's prompt that says what to answer would be disobeyed
    prompt, _line = prompt_of(who, rng, say=SAY if own else 0.0)
    first = own and who.lang == row.lang and rng.random() < GENERAL_FIRST_TURN
    before = _first_turn(who, prompt, rng) if first else (Turn("system", prompt),)
    return replace(row, turns=(*before, *row.turns))


def put_under_plain_prompt(row: TrainingRow, rng: random.Random) -> TrainingRow:
    """A row under a system text that makes the model nobody: the answer stays what it is."""
    return TrainingRow(
        (Turn("system", rng.choice(load(row.lang)["plain"])), *row.turns), row.source, row.kind, row.lang, row.category
    )
