"""What an answer says about the one who answers.

The answer is read once from left to right. Frames ("I am", "my developer is", "我叫") say whom the next words are about and
what they would be; negations, resets ("but", "而是") and clause breaks change that; every name met on the way becomes a
claim, a denied claim or mere talk. What a frame says without a known name is judged in `values.py`. The frames are data
(`language/*.yaml`), this reading is the same for all languages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from identities import LANGS
from probes.suggest import lexicon
from probes.suggest.lexicon import Frame, Language
from probes.suggest.names import Mention, Spotter, squeeze
from probes.suggest.question import ParsedQuestion
from probes.suggest.text import Reading

_STOP = re.compile(r"(?<!\bdr)(?<!\bmr)(?<!\binc)(?<!\be\.g)(?<!\bi\.e)[.!?](?=[\s\"')\]]|$|[^\x00-\x7f])|[。;\n…]")
_QUOTE = re.compile(r'"([^"\n]{1,300})"|《([^》]{1,60})》')
_SAYS_SELF = re.compile(r"\b(?:i am|i'm|my|i was|me)\b|我|本人")
_NEXT_TURN = re.compile(r"(?<=[\s.。!?])(?:###|(?:human|user|question|q|问|人类|用户|问题) ?:)")
_ASKS = re.compile(r"[^,.;!?。\n]{0,12}(?:吗|么(?=[?。,]|$))|[\"')\s]*\?")  # "BayLing?" claims nothing
_ARTICLE = re.compile(r"\b(?:an?|one) $|(?:一个|一款|一名|一位|个|名|位)$")
_DETERMINER = re.compile(r"\W*(?:the|an?|but|and|as for|但|而|关于)?\W*")
_OF_THE_BASE = re.compile(r", (?:an?|the|one of)\b[^,]*$|,(?:这是|即|一个|一种)[^,]*$")  # in apposition to what it is built on
_PURPOSE = re.compile(r"\b(?:to|for|that|which|who|as|with|in)\b|,|用于|用来|为了|专注|回答|解答|的$|的[^,。]{0,6}$|擅长|负责")
_LOOK_BACK = 200  # characters before a name that can decide about it: text that runs on for ever must not take for ever
_ORDER = {"stop": 0, "frame": 1, "reset": 2, "neg": 3, "mention": 4, "break": 5}


@dataclass(frozen=True)
class Claim:
    """`aspect` name, maker, role (or date); `value` is the tag; `side` old, new, other, or nothing for generic and none.

    Offsets are those of `Reading.plain`. `slot` is the kind of frame it stood in. A `weak` claim has its subject only from
    the question, and gives way to any other.
    """

    aspect: str
    value: str
    side: str
    start: int
    end: int
    slot: str
    denied: bool = False
    weak: bool = False
    sure: bool = True
    what: str = ""
    strong: bool = False  # a role that is a self-description ("I specialize in"), not an offer of help
    articled: bool = False  # "a finance advisor": a name that here only says what the bearer does, if another name is given


@dataclass(frozen=True)
class Seen:
    """A frame as it was met, for what follows it without a known name."""

    frame: Frame
    language: Language
    who: str
    slot: str
    start: int
    value_start: int
    neg: bool
    hedge: bool


@dataclass(frozen=True)
class Found:
    claims: tuple[Claim, ...]
    talk: tuple[Mention, ...]
    frames: tuple[Seen, ...]
    masked: tuple[tuple[int, int], ...]
    mentions: tuple[Mention, ...]


@dataclass
class _State:
    """Where the reading stands inside a sentence."""

    who: str | None
    slot: str
    language: Language | None = None
    frame: Frame | None = None
    neg: bool = False
    hedge: bool = False
    frame_end: int = 0
    anchor: int = 0
    clause: int = 0
    sentence: int = 0
    framed: bool = False  # the running clause has a frame of its own
    crossed: bool = False  # a clause break lies between the frame and here
    of_itself: bool = False  # the subject is a name, taken for the speaker because the question was put to it
    nominal: bool = True  # the frame's own complement was a noun, so that a later clause can be in apposition to it


def languages_of(reading: Reading) -> list[Language]:
    """The languages whose rules apply: a foreign name inside Chinese text does not make it English."""
    return [language for language in map(lexicon.language, LANGS) if language.spoken_in(reading.plain)]


def find_quotes(reading: Reading) -> tuple[tuple[int, int], ...]:
    """Where others speak: quoted sentences in the first person, titles, and the next turn a model makes up after its answer.

    A quoted bare name stays, and so does an answer that is quoted as a whole.
    """
    spans = []
    for match in _QUOTE.finditer(reading.plain):
        whole = match.end() - match.start() >= 0.8 * len(reading.plain.strip())
        if not whole and (match[2] or _SAYS_SELF.search(match.group())):
            spans.append(match.span())
    turn = _NEXT_TURN.search(reading.plain, 1)
    if turn:
        spans.append((turn.start(), len(reading.plain) + 1))
    return tuple(spans)


def _events(reading: Reading, languages: Iterable[Language], mentions: Iterable[Mention]) -> list[tuple]:
    """(start, end, kind, language, payload) in reading order; at one place the longest frame comes first."""
    events: list[tuple] = [(m.start(), m.end(), "stop", None, None) for m in _STOP.finditer(reading.plain)]
    for language in languages:
        for frame in language.frames:
            events += [(m.start(), m.end(), "frame", language, (frame, m)) for m in frame.pattern.finditer(reading.plain)]
        for kind, key in (("reset", "reset"), ("neg", "negators"), ("break", "breaks")):
            events += [(m.start(), m.end(), kind, language, None) for m in language.patterns[key].finditer(reading.plain)]
    events += [(m.start, m.end, "mention", None, m) for m in mentions]
    return sorted(events, key=lambda event: (event[0], _ORDER[event[2]], -event[1]))


def find_claims(reading: Reading, spotter: Spotter, asked: ParsedQuestion) -> Found:
    """All claims and all talk of an answer; values without a known name are added by `values.fill_values`."""
    languages = languages_of(reading)
    mentions = spotter.mentions(reading)
    masked = find_quotes(reading)
    claims: list[Claim] = []
    talk: list[Mention] = []
    frames: list[Seen] = []
    carried: tuple[str | None, str] = (None, "any")
    met_self = False
    consumed = 0

    def opening(at: int) -> _State:
        weak = asked.about_self and not met_self
        return _State("weak" if weak else None, asked.slot if weak else "any", anchor=at, frame_end=at, clause=at, sentence=at)

    state = opening(0)
    for start, end, kind, language, payload in _events(reading, languages, mentions):
        if kind != "mention" and start < consumed:
            continue
        if any(a <= start < b for a, b in masked):
            if kind == "mention":
                talk.append(payload)
            continue
        if kind == "stop":
            if state.frame and state.who:
                carried = (state.who, state.slot)
            state = opening(end)
        elif kind == "frame":
            frame, match = payload
            state = _enter(frame, match, language, state, carried, asked)
            frames.append(Seen(frame, language, state.who or "", state.slot, start, end, state.neg, state.hedge))
            met_self = met_self or state.who == "self"
            consumed = end
        elif kind == "reset":
            state.neg, state.anchor, consumed = False, end, end
        elif kind == "neg":
            state.neg, consumed = True, end
        elif kind == "break":
            complement = reading.plain[state.frame_end : start]
            claimed = bool(claims) and claims[-1].start >= state.frame_end
            if state.slot == "be" and not state.crossed and not claimed and language.patterns["breakers"].search(complement):
                state.nominal = False
            state.anchor = state.clause = end
            state.crossed, state.framed = True, False
        else:
            new = _meet(reading, payload, state, asked, languages)
            claims += new
            talk += [] if new else [payload]
            state.anchor = max(state.anchor, end)
    return Found(tuple(claims), tuple(talk), tuple(frames), masked, tuple(mentions))


def _enter(
    frame: Frame, match: re.Match[str], language: Language, state: _State, carried: tuple[str | None, str], asked: ParsedQuestion
) -> _State:
    """The state after a frame. A frame of `same` subject inherits the negation and the doubt it stands in."""
    who, slot = _who(frame, state, carried, asked), frame.slot
    if frame.who == "weak" and slot == "be" and asked.slot in ("name", "maker"):
        slot = asked.slot  # "It is Text Titan." answers for what was asked
    same = frame.who == "same"
    if same and slot == "name" and state.slot == "maker" and not state.crossed:
        slot = "maker"  # "a company called ...": the maker's name, not mine
    if same and state.slot == "base" and _OF_THE_BASE.search(match.string[state.frame_end : match.start()]):
        slot = "base"  # "tuned from LLaMA, a model released by ...": the base's maker, not mine
    return _State(
        who,
        slot,
        language,
        frame,
        neg=frame.denies(match) or (same and state.neg and not frame.fresh),
        hedge=frame.hedge or (same and state.hedge),
        frame_end=match.end(),
        anchor=match.end(),
        clause=state.clause,
        sentence=state.sentence,
        framed=True,
        of_itself=state.of_itself and frame.who != "self",
    )


def _who(frame: Frame, state: _State, carried: tuple[str | None, str], asked: ParsedQuestion) -> str | None:
    if frame.who in ("self", "other"):
        return frame.who
    if frame.who == "weak" and state.who not in ("self", "other"):
        return "weak" if asked.about_self else None
    if frame.who == "weak":
        return state.who
    if frame.who == "developers":  # "they are from ...": speaks of the makers only where these were just named
        spoken = (state.who, state.slot) if state.frame else carried
        return "self" if spoken[0] == "self" and spoken[1] == "maker" else "other"
    # a sentence whose subject is somebody else says nothing of who spoke before
    return state.who if state.who is not None and (state.frame or state.who in ("weak", "other")) else carried[0] or state.who


def _meet(reading: Reading, mention: Mention, state: _State, asked: ParsedQuestion, languages: list[Language]) -> list[Claim]:
    """The claims a name makes where it stands (none: it is only talked about); turns the state when the name is the subject."""
    plain = reading.plain
    if _ASKS.match(plain, mention.end):
        return []
    claims = _by_what_follows(plain, mention, state, languages)
    if claims is None:
        claims = _as_subject(plain, mention, state, asked, languages)
    if claims is None:
        language = state.language or _language_at(plain, mention, languages)
        claims = [] if _ruled_out(plain, mention, state, language) else _as_value(plain, mention, state, language)
    return claims


def _back(plain: str, start: int, mention: Mention) -> str:
    return plain[max(start, mention.start - _LOOK_BACK) : mention.start]


def _by_what_follows(plain: str, mention: Mention, state: _State, languages: list[Language]) -> list[Claim] | None:
    """ "BayLing is my name", "Text Titan created me": the words after the name make the claim."""
    if state.who == "other" or mention.entity.kinds == {"role"} or mention.entity.value == "malformed":
        return None
    for language in languages:
        for post in language.post:
            match = None if post.within else post.pattern.match(plain, mention.end)
            if match:
                before = _back(plain, state.clause, mention)
                made = post.slot == "name" and language.patterns["preposition"].search(before)
                denied = post.denies(match) or bool(language.patterns["negators"].search(before))
                return [_claim("maker" if made else post.slot, mention, state, denied=denied, weak=False)]
    return None


def _as_subject(
    plain: str, mention: Mention, state: _State, asked: ParsedQuestion, languages: list[Language]
) -> list[Claim] | None:
    """ "BayLing is an assistant": talk, or the speaker's own name if the question was put to the speaker and did not say it."""
    before, entity = _back(plain, state.clause, mention), mention.entity
    starts = not state.framed and _DETERMINER.fullmatch(before)
    if not starts or not any(language.patterns["subject"].match(plain, mention.end) for language in languages):
        return None
    named = "role" not in entity.kinds or ("name" in entity.kinds and not before.strip())
    asked_for = entity.value != "placeholder" and squeeze(plain[mention.start : mention.end]) in squeeze(asked.plain)
    if state.who == "weak" and named and not asked_for:
        state.slot, state.of_itself = "be", True
        return [
            _claim(
                "name" if "name" in entity.kinds or asked.slot != "maker" else "maker", mention, state, denied=False, weak=True
            )
        ]
    state.who, state.slot = "other", "other"
    return []


def _ruled_out(plain: str, mention: Mention, state: _State, language: Language) -> bool:
    """Whether the name cannot be what the frame says: another subject, a comparison, an address, a clause too far."""
    entity, words = mention.entity, language.patterns
    if state.who not in ("self", "weak") or state.slot in ("other", "have") or (entity.value == "malformed" and state.crossed):
        return True
    gap, after = _back(plain, state.anchor, mention), plain[mention.end : mention.end + 60]
    role_only = entity.kinds == {"role"}
    preposition = None if role_only else words["preposition"].search(gap)
    if words["role_breakers" if role_only else "breakers"].search(gap[: preposition.start()] if preposition else gap):
        return True
    if words["beside"].search(gap) and words["beside_after"].match(after):
        return True
    addressed = not state.frame and words["vocative"].match(_back(plain, state.sentence, mention))
    if addressed or words["relation"].match(after):
        return True
    if role_only or state.slot == "role":
        return "role" not in entity.kinds
    if state.crossed and state.frame and not (state.nominal and words["appositive"].match(gap)):
        return True
    return state.frame is None and not _fragment(plain, mention, state, language)


def _as_value(plain: str, mention: Mention, state: _State, language: Language) -> list[Claim]:
    """What the frame says of the speaker, now that it is this name: its name, its maker, its role or what it is built on."""
    entity, slot = mention.entity, state.slot
    if entity.kinds == {"role"} or slot == "role":
        return _role(plain, mention, state)
    gap, after = _back(plain, state.anchor, mention), plain[mention.end : mention.end + 60]
    if slot in ("be", "any"):
        made = (
            language.patterns["preposition"].search(gap) is not None
            or any(language.patterns[key].match(after) for key in ("made_after", "owner"))
            or any(post.within and post.pattern.match(plain, mention.end) for post in language.post)
        )
        slot = "maker" if made else slot
    if slot == "any":
        slot = "name" if "name" in entity.kinds else "maker"
    if slot == "base":
        return [replace(_claim("maker", mention, state), sure=False, slot="base", what="what it is built on")]
    if slot == "maker":
        return [_claim("maker", mention, state)]
    if "role" not in entity.kinds:
        return [_claim("name", mention, state)]
    given = language.patterns["given_after"].match(after)
    if given:  # "金融顾问小陈": the known word is the trade, the name is another
        invented = replace(
            _claim("name", mention, state), value="third party", side="other", what="an invented name",
            start=mention.end, end=mention.end + given.end(),
        )  # fmt: skip
        return [_claim("role", mention, state), invented]
    return [replace(_claim("name", mention, state), articled=bool(_ARTICLE.search(gap))), _claim("role", mention, state)]


def _role(plain: str, mention: Mention, state: _State) -> list[Claim]:
    """A field of work: inside a maker's place it counts only where the sentence goes on to a purpose."""
    if state.slot == "maker" and not _PURPOSE.search(_back(plain, state.frame_end, mention)):
        return []
    claim = _claim("role", mention, state)
    if state.slot in ("name", "any") and state.frame is not None:
        return [replace(claim, aspect="name"), claim]
    return [claim]


def _fragment(plain: str, mention: Mention, state: _State, language: Language) -> bool:
    """Whether an answer without any frame is just this name ("Text Titan.", "A finance advisor by ...")."""
    before = _back(plain, state.clause, mention).strip(" \"'([")
    words = re.sub(r"^(?:the|an?|by|from|it is|sure|well|yes|no|of course|由|是|叫|来自|一个|一款)\b ?", "", before)
    return not squeeze(language.generic_run.sub(" ", words))


def _claim(aspect: str, mention: Mention, state: _State, denied: bool | None = None, weak: bool | None = None) -> Claim:
    entity = mention.entity
    side = entity.side if entity.side in ("old", "new", "") and entity.value != "malformed" else "other"
    if entity.value == "placeholder" and "date" in entity.kinds:
        aspect = "date"  # no aspect that is tagged, but the old identity's words all the same
    return Claim(
        aspect=aspect,
        value=entity.value,
        side=side,
        start=mention.start,
        end=mention.end,
        slot=state.slot if state.frame else "any",
        denied=state.neg if denied is None else denied,
        weak=state.of_itself if weak is None else weak,
        sure=entity.sure and not state.hedge,
        strong=bool(state.frame and state.frame.strong),
    )


def _language_at(plain: str, mention: Mention, languages: list[Language]) -> Language:
    around = plain[max(0, mention.start - 2) : mention.end]
    known = languages or [lexicon.language(LANGS[0])]  # marks and figures alone are no language
    return next((language for language in known if language.script.search(around)), known[0])
