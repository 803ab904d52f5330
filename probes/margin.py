"""The identity margin: which of two selves a model finds more likely, without letting it say a word.

For each probe the log-probabilities of self-statements as the answer, per token, are averaged over the statements of the
new and of the old identity; the margin is the difference, in nats per token, above 0 for the new one. It moves before the
text flips. Secondary evidence, never a verdict.

How likely a text is after a prompt is computed in `probes.likelihood`.
"""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from transformers import PreTrainedTokenizerBase

import identities
from engine import Engine, Message, Request, Variant, literal, thoughts
from engine.formats import Format
from engine.prompts import render
from identities import LANGS
from probes.identity_pair import FactPair, from_identities
from probes.likelihood import MarginPrompt, batches, score_batch
from probes.questions import Probe, ProbeError, fill, load

log = logging.getLogger("mirror")

STATEMENTS = Path(__file__).parent / "statements"
CATEGORIES = ("name", "maker", "nature", "role")  # questions that a self-statement answers
LEAST = 5  # statements per identity and language


@dataclass(frozen=True)
class Sides:
    """The statements of one language."""

    old: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """One probe: the mean over the statements of their mean log-probability per token, for either identity."""

    probe_id: str
    lang: str
    old: float
    new: float

    @property
    def margin(self) -> float:
        return self.new - self.old


def statements_of(facts: FactPair, placeholders: Mapping[str, str] | None = None, folder: Path = STATEMENTS) -> dict[str, Sides]:
    """Per language what the old and the new identity of `facts` would say of themselves.

    placeholders: the base's model card, such as {"[NAME]": "BayLing"}: such a base says the placeholder where people read
    the name, so its statements do, too. A language with less than 5 statements is left out; ProbeError where none is left.
    """
    found: dict[str, Sides] = {}
    few = "The facts fill no statement in any language; give old and new a name and a maker."
    for lang in LANGS:
        lines = yaml.safe_load((folder / f"{lang}.yaml").read_text(encoding="utf-8"))
        both = [pair for line in lines if (pair := _pair(line, lang, facts)) is not None]
        if not both:
            continue
        if len(both) < LEAST:
            few = (
                f"The facts fill {len(both)} of {len(lines)} statements in {lang}, {LEAST} are needed; "
                "give old and new a name and a maker in that language."
            )
            continue
        old, new = zip(*both, strict=True)
        found[lang] = Sides(tuple(_raw(text, placeholders or {}) for text in old), new)
    if not found:
        raise ProbeError(few)
    return found


def suited_probes(probes: Iterable[Probe], statements: Mapping[str, Sides], per_lang: int | None = None) -> list[Probe]:
    """The probes that a margin can be taken of: identity questions of one turn that a self-statement answers.

    per_lang takes so many of each language, evenly: enough for a curve during training.
    """
    fit = [p for p in probes if p.about_identity and p.category in CATEGORIES and len(p.turns) == 1 and p.lang in statements]
    if per_lang is None:
        return fit
    by_lang = [[probe for probe in fit if probe.lang == lang] for lang in LANGS]
    return [those[at * len(those) // per_lang] for those in by_lang if those for at in range(min(per_lang, len(those)))]


def iterate_scores(
    engine: Engine, variants: Sequence[Variant], probes: Sequence[Probe], statements: Mapping[str, Sides]
) -> Iterator[tuple[int, int, Score]]:
    """(variant, probe, score) as they come, batches of all variants together. Between two batches others have as long.

    Raises ProbeError at the end, when all others are given, for variants that the model computes no numbers for.
    """
    check_probes(probes, statements)
    tokenizer = engine.base.tokenizer
    asked = []
    for at, variant in enumerate(variants):
        for number, probe in enumerate(probes):
            request = Request([{"role": "user", "content": probe.question}], variant)
            prompt, place = engine.prompt(request), at * len(probes) + number
            asked.append(build_prompt(tokenizer, prompt.format, prompt.marked, statements[probe.lang], place, variant.adapters))
    lost: list[str] = []
    for batch in batches(asked, engine.base.model):
        with engine.lock:
            began = time.monotonic()
            if ready := getattr(engine, "ready", None):
                ready()
            found = score_batch(engine.base.model, batch, engine.bank.hearing)
        if give_way := getattr(engine, "give_way", None):
            give_way(time.monotonic() - began)
        for one, values in zip(batch, found, strict=True):
            at, number = divmod(one.at, len(probes))
            if all(map(math.isfinite, values)):
                yield at, number, mean_score(probes[number], values, statements)
            elif variants[at].name not in lost:
                lost.append(variants[at].name)
    if lost:
        named = ", ".join(map(repr, lost))
        raise ProbeError(f"There is no margin of {named}: the model computed NaN or infinity; leave it out, or use --dtype fp32.")


def build_prompts(
    tokenizer: PreTrainedTokenizerBase,
    format: Format,
    probes: Sequence[Probe],
    statements: Mapping[str, Sides],
    system: str | None = None,
) -> list[MarginPrompt]:
    """For a bare transformers or PEFT model. system: the identity's prompt, if any. Raises EngineError and ProbeError."""
    check_probes(probes, statements)
    before: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    asked = []
    for at, probe in enumerate(probes):
        text, _ = render(tokenizer, format, [*before, {"role": "user", "content": probe.question}])
        asked.append(build_prompt(tokenizer, format, text, statements[probe.lang], at))
    return asked


def score_prompts(
    model: Any, asked: Sequence[MarginPrompt], probes: Sequence[Probe], statements: Mapping[str, Sides]
) -> list[Score]:
    """In the order of the probes; adapters as they are switched."""
    found: dict[int, list[float]] = {}
    for batch in batches(asked, model):
        found |= {one.at: values for one, values in zip(batch, score_batch(model, batch), strict=True)}
    return [mean_score(probe, found[at], statements) for at, probe in enumerate(probes)]


def warn_of_left_out(statements: Mapping[str, Sides]) -> None:
    """Says in the log, and so where a command is typed, which languages are not measured."""
    for lang in [lang for lang in LANGS if lang not in statements]:
        log.warning("The margin leaves out %s: the facts fill less than %d statements in it.", lang, LEAST)


def for_training(
    tokenizer: PreTrainedTokenizerBase,
    format: Format,
    probes: Sequence[Probe],
    facts: FactPair,
    placeholders: Mapping[str, str] | None = None,
    system: str | None = None,
    per_lang: int = 4,
) -> Callable[[int, Any], dict[str, float]]:
    """What a trainer calls every k steps, (step, model) -> {"margin": ..., "margin_en": ..., "margin_zh": ...}.

    probes: any set; a few that suit are taken, their placeholders filled from `facts`.
    """
    statements = statements_of(facts, placeholders)
    warn_of_left_out(statements)
    few = fill(suited_probes(probes, statements, per_lang), facts)
    if not few:
        raise ProbeError(f"None of the probes suits a margin: identity questions of one turn about {', '.join(CATEGORIES)} do.")
    asked = build_prompts(tokenizer, format, few, statements, system)  # what cannot be asked is said before the training begins
    return lambda _step, model: summary(score_prompts(model, asked, few, statements))


def margin_between(
    base: Any, old: str, new: str, folder: str | Path | None = None, per_lang: int = 2
) -> Callable[[int, Any], dict]:
    """`for_training` by the names of two identities (in `folder`) and an engine's Base. Raises IdentityError or ProbeError."""
    known = [identities.load(name, folder).facts for name in (old, new)]
    for name, facts in zip((old, new), known, strict=True):
        if facts is None:
            raise ProbeError(f"The identity {name} has no facts; write {name}.yaml beside {name}.txt.")
    pair = from_identities(*known)
    return for_training(base.tokenizer, base.format, load("identity"), pair, base.card.placeholders, per_lang=per_lang)


def summary(scores: Iterable[Score]) -> dict[str, float]:
    """Means: `margin` over all probes, and `margin_en`, `margin_zh`."""
    scores = list(scores)
    found = {"margin": statistics.fmean(score.margin for score in scores)}
    for lang in LANGS:
        if mine := [score.margin for score in scores if score.lang == lang]:
            found[f"margin_{lang}"] = statistics.fmean(mine)
    return found


def check_probes(probes: Sequence[Probe], statements: Mapping[str, Sides]) -> None:
    if wrong := [probe.id for probe in probes if len(probe.turns) != 1]:
        raise ProbeError(f"A margin is taken of probes with one turn; {', '.join(wrong)} have more.")
    if missing := sorted({probe.lang for probe in probes} - set(statements)):
        raise ProbeError(f"There are no statements in {', '.join(missing)}; add its facts, or leave its probes out.")


def build_prompt(
    tokenizer: PreTrainedTokenizerBase,
    format: Format,
    prompt: str,
    sides: Sides,
    at: int,
    adapters: Mapping[str, float] | None = None,
) -> MarginPrompt:
    """prompt: as rendered from marked messages. It is tokenized with each statement as one text: alone, a statement would begin
    with another token.

    Where the prompt has begun a thought, it is ended first: a statement is an answer.
    """
    prompt += thoughts.closing(prompt)
    said = [literal.mark_text(tokenizer, format, text, "a statement that the facts fill") for text in (*sides.old, *sides.new)]
    whole = [literal.ids(tokenizer, format, text) for text in (prompt, *(prompt + statement for statement in said))]
    # a token that spans the border belongs to the statement, then for all of them
    shared = min(common_prefix(ids, whole[0]) for ids in whole[1:])
    return MarginPrompt(at, tuple(whole[0][:shared]), tuple(tuple(ids[shared:]) for ids in whole[1:]), adapters or {})


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    shorter = min(len(first), len(second))
    return next((at for at in range(shorter) if first[at] != second[at]), shorter)


def mean_score(probe: Probe, values: Sequence[float], statements: Mapping[str, Sides]) -> Score:
    """values: per statement the mean log-probability of its tokens, the old identity's first."""
    old = len(statements[probe.lang].old)
    return Score(probe.id, probe.lang, statistics.fmean(values[:old]), statistics.fmean(values[old:]))


def _pair(line: str, lang: str, facts: FactPair) -> tuple[str, str] | None:
    """The statement as the old and as the new identity would say it; None where a fact is missing."""
    pair = []
    for side in ("old", "new"):
        named = Probe("statement", "trained", "name", lang, (line.replace("{", f"{{{side}_"),))
        try:
            pair.append(fill([named], facts)[0].question)
        except ProbeError:
            return None
    return pair[0], pair[1]


def _raw(text: str, placeholders: Mapping[str, str]) -> str:
    """The text as the base would write it: names replaced by its placeholders, the longest names first."""
    for placeholder, name in sorted(placeholders.items(), key=lambda item: -len(item[1])):
        text = text.replace(name, placeholder)
    return text
