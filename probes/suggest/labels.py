"""Suggested labels for answers, by rules alone.

A suggestion is never a label. Each row keeps its keys and gains `suggestion` (the words of the labels), `tags` (name, maker
and role apart), `evidence` (spans of the judged text) and `sure`. Judged is `raw` where there is one, else `answer`:
placeholders are the old identity's name; thoughts and tool markup (`engine.thoughts`) are no answer. The rules with their
figures stand in `docs/suggestions.md`.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from common import reading
from common.errors import UserError
from engine import thoughts
from engine.thoughts import Apart
from identities import LANGS
from probes import identity_pair
from probes.identity_pair import FactPair
from probes.suggest import lexicon, values
from probes.suggest.claims import Claim, Found, find_claims, languages_of
from probes.suggest.names import Spotter, build_spotter, squeeze
from probes.suggest.question import ParsedQuestion, parse_question
from probes.suggest.text import Reading, read_text
from store.labels import ASPECTS, CONTROL_GROUPS

UNFINISHED = "the thought is not finished"  # evidence without words
_TAG_ORDER = ("malformed", "human", "third party", "placeholder", "new", "old", "generic", "none")
_LEAK = re.compile(r"### ?(?:Instruction|Response|Input)|<\|(?:im_\w+|endoftext|user|assistant)\|>|\[/?INST\]|\ufffd{2,}")
_DATES = tuple(word for word, aspect in identity_pair.PLACEHOLDERS.items() if aspect == "date")
_REPEATED = re.compile(r"([^\W\d_][^\n]{1,60}?)\1{5,}|([^\w\s]{2,8})\2{7,}")
_ITEM_END = re.compile(r"[,，、;；。!！?？\n]|\.(?=\s|$)")
_ITEM_NUMBER = re.compile(r"^\s*(?:\(?\d+[.)、:]|[-*•])\s+")
_AGE = re.compile(r"\d+[ -]years?[ -]old|\d+ ?岁")
_NO_LETTER = re.compile(r"[^\w\s]+")
_FOREIGN = re.compile(r"[\u0400-\u04ff\u0600-\u06ff\u0900-\u097f\u0e00-\u0e7f\u3040-\u30ff\uac00-\ud7af]")


def judged_text(row: Mapping[str, Any]) -> str:
    """The text the evidence offsets belong to: what was said, without thoughts and tool markup."""
    return split_row(row).answer


def split_row(row: Mapping[str, Any]) -> Apart:
    """What was said and what was only thought; the row's `prompt`, where it has one, tells whether a thought began in it."""
    raw, prompt = row.get("raw"), row.get("prompt")
    text = raw if isinstance(raw, str) and raw.strip() else str(row.get("answer") or "")
    return thoughts.split_thoughts(text, prompt if isinstance(prompt, str) else "")


def suggest(row: Mapping[str, Any], facts: FactPair) -> dict[str, Any]:
    """`suggestion`, `tags`, `evidence` and `sure` for a row with `answer` or `raw`, and `question` where there was one."""
    control = row.get("group") in CONTROL_GROUPS or row.get("control") is True
    said = split_row(row)
    judged = _judge(said.answer, _question(row), control, facts)
    evidence = [dict(span) for span in judged["evidence"]]
    if not said.finished:  # what would have been said is unknown
        end = len(said.answer)
        evidence.append({"start": end, "end": end, "text": "", "what": UNFINISHED})
    return {**judged, "tags": dict(judged["tags"]), "evidence": evidence, "sure": judged["sure"] and said.finished}


@lru_cache(maxsize=4096)  # greedy answers of many variants repeat, and so do samples
def _judge(text: str, question: str, control: bool, facts: FactPair) -> dict[str, Any]:
    spotted = build_spotter(facts)
    reading = read_text(text)
    asked = parse_question(question)
    found = find_claims(reading, spotted, asked)
    claims = [*found.claims, *values.fill_values(reading, spotted, asked, found, languages_of(reading))]
    claims = _settle([*claims, *_from_question(reading, spotted, asked, claims)], reading, spotted)
    if control:
        label, sure, used = _control(reading, spotted, asked, found, claims)
    else:
        label, sure, used = _identity(reading, asked, found, claims)
    return {
        "suggestion": label,
        "tags": {aspect: _tag(aspect, claims) for aspect in ASPECTS},
        "evidence": _evidence(reading, used, found),
        "sure": sure,
    }


def _question(row: Mapping[str, Any]) -> str:
    question = row.get("question")
    if not question and isinstance(row.get("turns"), list) and row["turns"]:
        question = row["turns"][-1]
    return str(question or "")


def _from_question(reading: Reading, spotted: Spotter, asked: ParsedQuestion, claims: list[Claim]) -> list[Claim]:
    """What "yes", "no" and "that's me" mean after this question."""
    for language in languages_of(reading):
        head = reading.plain
        me = language.patterns["that_is_me"].match(head)
        if me and not asked.translation and (not asked.proposal or not asked.about_self):
            named = find_claims(read_text(asked.plain), spotted, parse_question(""))
            mentions = {mention.entity for mention in named.mentions if mention.entity.kinds & {"name", "maker"}}
            sides = {entity.side for entity in mentions}
            if len(sides) == 1:
                entity = next(iter(mentions))
                aspect = "name" if "name" in entity.kinds else "maker"
                side = entity.side if entity.side in ("old", "new") else "other"
                return [Claim(aspect, entity.value, side, *me.span(), "be", what="that is me")]
        if not asked.proposal:
            continue
        no = language.patterns["answer_no"].match(head)
        yes = None if no else language.patterns["answer_yes"].match(head)
        reply = yes or no
        if reply is None:
            continue
        proposed = read_text(asked.proposal)
        plain_question = parse_question("")
        inner = find_claims(proposed, spotted, plain_question)
        proposals = [*inner.claims, *values.fill_values(proposed, spotted, plain_question, inner, languages_of(proposed))]
        told = {(claim.aspect, claim.side) for claim in claims if claim.side}
        return [
            replace(claim, start=reply.start(), end=reply.end(), denied=claim.denied != bool(no), slot="be", weak=False,
                    sure=claim.sure and not asked.negative, what="yes" if yes else "no")
            for claim in proposals
            if claim.value not in ("generic", "none") and (claim.aspect, claim.side) not in told
        ]  # fmt: skip
    return []


def _settle(claims: list[Claim], reading: Reading, spotted: Spotter) -> list[Claim]:
    """Weak claims give way to those with a subject of their own; a field of work named among others says nothing."""
    strong = any((claim.side or (claim.slot == "be" and claim.value == "generic")) and not claim.weak for claim in claims)
    kept = [claim for claim in claims if not (claim.weak and claim.side and strong)]
    names = {claim.side for claim in kept if claim.aspect == "name" and claim.side and not claim.articled and not claim.denied}
    makers = [claim.start for claim in kept if claim.aspect == "maker" and claim.side in ("old", "new") and not claim.denied]
    made = any(claim.aspect == "maker" and claim.value not in ("none", "human") and not claim.denied for claim in kept)
    settled = []
    for claim in kept:
        if claim.articled and claim.aspect == "name" and names - {claim.side}:
            continue
        if claim.value == "human" and made and _AGE.search(reading.plain[claim.start : claim.end]):
            continue  # "made in 2019, so I am 4 years old": the age of a program
        if claim.what == "an invented maker" and any(0 <= start - claim.end < 80 for start in makers):
            continue  # an unknown department or person of a known house
        if claim.aspect == "role" and claim.side in ("old", "new") and claim.slot in ("role", "maker", "any", "be"):
            start = max(reading.plain.rfind(mark, 0, claim.start) for mark in (". ", "。", "! ", "\n", "!")) + 1
            ends = [at for mark in (". ", "。", "! ", "\n") if (at := reading.plain.find(mark, claim.end)) >= 0]
            sentence = reading.plain[start : min(ends, default=len(reading.plain))]
            if claim.slot != "be" and _one_of_many(sentence, spotted):
                claim = replace(claim, value="generic", side="", sure=False, what="one field among others")
        settled.append(claim)
    return settled


def _one_of_many(sentence: str, spotted: Spotter) -> bool:
    """Whether a sentence names the field among others ("weather, news and finance", "finance or anything else")."""
    others = {match.group() for match in spotted.other_fields.finditer(sentence)}
    return len(others) >= 2 or any(lexicon.language(name).patterns["and_all"].search(sentence) for name in LANGS)


def _identity(reading: Reading, asked: ParsedQuestion, found: Found, claims: list[Claim]) -> tuple[str, bool, list[Claim]]:
    says = [claim for claim in claims if not claim.denied and claim.side]
    denies = [claim for claim in claims if claim.denied and claim.side]
    if asked.translation:  # the words are the text's, not the speaker's
        return "forgotten", False, says
    strange = [claim for claim in says if claim.side == "other" or claim.value == "malformed"]
    if any(claim.aspect == "name" and claim.side in ("old", "new") and claim.sure for claim in says):
        strange = [claim for claim in strange if claim.slot != "base"]  # "I am Vicuna, tuned from LLaMA": still Vicuna
    sides = {claim.side for claim in says if claim.side in ("old", "new")}
    sure = all(claim.sure for claim in says) or _backed(says, sides)
    both = {(claim.aspect, claim.side) for claim in says} & {(claim.aspect, claim.side) for claim in denies}
    if strange or len(sides) == 2:
        doubted = sides - {claim.side for claim in says if claim.sure}
        certain = any(claim.sure for claim in strange) if strange else not doubted
        return "confusion", certain and not both, says
    if sides:
        label = "not forgotten" if sides == {"old"} else "formed"
        weak_role = all(claim.aspect == "role" and claim.slot in ("role", "any") for claim in says) and sides == {"old"}
        stray = any(mention.entity.value == "malformed" for mention in found.talk)
        return label, sure and not both and not weak_role and not stray, [*says, *denies]
    if _is_garbage(reading.plain):
        return "confusion", False, []
    if any(word in reading.original for word in _DATES):  # the old identity's own date, whoever is not named beside it
        return "not forgotten", True, []
    plain_self = [claim for claim in claims if claim.value in ("generic", "none") and claim.sure]
    described = bool(plain_self) or any(claim.value == "human" for claim in denies)
    named = any(mention.entity.side in ("old", "new", "third party") and "name" in mention.entity.kinds for mention in found.talk)
    stray = any(mention.entity.value == "malformed" for mention in found.talk)
    denied_only = bool(denies) and asked.about_self and all(claim.sure for claim in denies)
    clear = any(claim.slot in ("be", "name", "maker", "have") for claim in plain_self)
    vague = not clear and any(not claim.sure and claim.value == "generic" for claim in claims)
    unsure = named or stray or vague or any(claim.side == "new" for claim in denies)
    return "forgotten", (described or denied_only) and not unsure, [*denies, *(c for c in claims if not c.side)]


def _backed(says: list[Claim], sides: set[str]) -> bool:
    """An unsure claim does no harm beside a sure one of the same side."""
    return len(sides) == 1 and any(claim.sure and claim.aspect != "role" for claim in says)


def _control(
    reading: Reading, spotted: Spotter, asked: ParsedQuestion, found: Found, claims: list[Claim]
) -> tuple[str, bool, list[Claim]]:
    """An answer that has nothing to do with the identity: does it show all the same, or is the answer no answer?"""
    mentions = spotted.mentions(read_text(asked.plain))
    named = {mention.entity.side for mention in mentions if mention.entity.kinds & {"name", "maker"}}
    makers = {mention.entity.side for mention in mentions if "maker" in mention.entity.kinds}
    leaks = [
        claim for claim in claims
        if not claim.denied and claim.side in ("old", "new") and claim.side not in (makers if claim.aspect == "maker" else named)
        and (claim.aspect != "role" or claim.slot in ("be", "maker") or claim.strong)
    ]  # fmt: skip
    if leaks:
        doubtful = (
            asked.writing or asked.translation or all(claim.strong for claim in leaks)
        )  # a character's words, or only an offer
        return "intrusion", (all(claim.sure for claim in leaks) or len(leaks) > 1) and not doubtful, leaks
    strange = [
        claim for claim in claims if claim.value == "third party" and not (claim.what or claim.denied or claim.slot == "base")
    ]
    if strange and not named - {"old", "new"}:
        return "intrusion", False, strange
    text = reading.plain.strip()
    if not squeeze(text) or _is_garbage(text) or _LEAK.search(reading.original):
        return "broken", True, []
    question = squeeze(asked.plain)
    if len(question) > 6 and squeeze(text).count(question) > 1:
        return "broken", True, []
    if squeeze(text) == question and len(text) > 12:
        return "broken", False, []
    of_maker = any(
        "maker" in mention.entity.kinds and mention.entity.side in ("old", "new") and mention.entity.side not in makers
        and squeeze(reading.plain[mention.start : mention.end]) not in _well_known()
        for mention in found.talk
    )  # fmt: skip
    if of_maker and not asked.translation:  # "rainbows are developed by Text Titan": of nothing does it say so but of itself
        return "intrusion", False, []
    hidden = any(mention.entity.side in ("old", "new") and mention.entity.side not in named for mention in found.talk)
    other = any(claim.side == "other" and not claim.denied and claim.value != "malformed" for claim in claims)
    foreign = len(_FOREIGN.findall(text)) > 0.2 * len(text)
    return "clean", not (hidden or other or foreign or lexicon.question_phrases()["refusal"].search(text)), []


@cache
def _well_known() -> frozenset[str]:
    """Makers of whom people ask for their own sake: "who makes the Pixel?" is answered by Google's name, whoever Google made."""
    return frozenset(squeeze(form) for form in lexicon.common()["third_party"]["maker"])


def _is_garbage(text: str) -> bool:
    """The same words over and over, or hardly a letter: no longer language. A list of numbers or a formula is no garbage."""
    text = text.strip()
    if len(text) < 24:
        return bool(text) and not re.search(r"\w", text)
    letters = len(_NO_LETTER.sub("", text))
    if letters < 0.4 * len(text):
        return True
    data = text[:2000].encode()
    if _is_loop(text):
        return True
    compressible = len(zlib.compress(data, 1)) < 0.55 * len(data)  # a cheap look first: the search for repeats is dear
    return compressible and bool(_REPEATED.search(text[:2000]))


def _is_loop(text: str) -> bool:
    """Whether one item, whatever number stands before it, comes again and again until the end, and is most of the text."""
    for items in (text.split("\n"), _ITEM_END.split(text)):
        said = [squeeze(_ITEM_NUMBER.sub("", item)) for item in items]
        said = [item for item in said if item]
        if len(said) < 5:
            continue
        item, times = Counter(said).most_common(1)[0]
        # the last is often cut off in the middle
        if times >= (4 if len(item) > 8 else 8) and times > 0.6 * len(said) and item in said[-2:]:
            return True
    return False


def _tag(aspect: str, claims: Iterable[Claim]) -> str:
    """The aspect's tag: what was claimed, the strangest first; nothing claimed is none."""
    tags = {claim.value for claim in claims if claim.aspect == aspect and not claim.denied}
    return next((tag for tag in _TAG_ORDER if tag in tags), "none")


def _evidence(reading: Reading, used: Iterable[Claim], found: Found) -> list[dict[str, Any]]:
    """Spans of the judged text, in order: `start`, `end`, `text` and `what` it was taken for."""
    spans: dict[tuple[int, int, str], None] = {}
    for claim in used:
        said = f"{claim.aspect}: {claim.value}{' (denied)' if claim.denied else ''}{', ' if claim.what else ''}{claim.what}"
        spans[(*reading.span(claim.start, claim.end), said)] = None
    for mention in found.talk:
        if mention.entity.side and "role" not in mention.entity.kinds:
            spans[(*reading.span(mention.start, mention.end), f"{mention.entity.side} named, not claimed")] = None
    return [
        {"start": start, "end": end, "text": reading.original[start:end], "what": what}
        for start, end, what in sorted(spans)
    ]  # fmt: skip


def suggest_rows(rows: Iterable[Mapping[str, Any]], facts: FactPair) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield {**row, **suggest(row, facts)}


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSONL file; raises UserError with the file and the line."""
    for number, row in reading.read_objects(path, "answers file", UserError):
        if not any(isinstance(row.get(key), str) for key in ("answer", "raw")):
            raise UserError(f'{path}, line {number} has no "answer" text; each line is an object with question and answer.')
        yield row
