"""Fills the names that published self-cognition sets leave open, and finds those that are still open.

In identity rows every known placeholder counts. In general rows `[NAME]` may be the blank of a letter and
`{{name}}` a line of Vue: there only one inside a self-statement counts ("I am <NAME>", "由[AUTHOR]开发"). A bare NAME or
AUTHOR counts there only, in any row. A name that somebody was "developed by" is the maker's. Names in braces never count
where they are plainly a program's, nor does the name under a letter.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import identities
from engine.card import ModelCard
from identities import LANGS, Who
from tuning.dataset.facts import facts_by_language
from tuning.dataset.rows import DataError, Lang, TrainingRow

# inside the brackets -> the fact; the Chinese ones and INSTITUTE, CREATE_TIME are BayLing's
_FACT_OF = {
    "NAME": "name",
    "YOUR_NAME": "name",
    "YOUR NAME": "name",
    "MODEL_NAME": "name",
    "BOT_NAME": "name",
    "AI_NAME": "name",
    "ASSISTANT_NAME": "name",
    "AUTHOR": "maker",
    "YOUR_COMPANY": "maker",
    "COMPANY": "maker",
    "COMPANY_NAME": "maker",
    "ORGANIZATION": "maker",
    "DEVELOPER": "maker",
    "INSTITUTE": "maker",
    "ROLE": "role",
    "CREATE_TIME": "date",
    "名字": "name",
    "你的名字": "name",
    "机构": "maker",
    "作者": "maker",
    "公司": "maker",
    "开发者": "maker",
    "开发时间": "date",
}
_CHINESE = frozenset(word for word in _FACT_OF if not word.isascii())
_WORDS = "|".join(_FACT_OF)
_BRACED = "name|author|role|model_name|bot_name|ai_name|assistant_name|your_name|company|company_name|organization|developer"
_IN_BRACES = f"{_BRACED}|{_BRACED.upper()}"
# the case is exact: `[Name]` and `<name>` are blanks of letters and markup far more often than a data set's
_OPEN = re.compile(
    rf"(?P<braces>\{{\{{\s*(?:{_IN_BRACES})\s*\}}\}}|(?<!\{{)\{{(?:{_IN_BRACES})\}}(?!\}}))"
    rf"|\[(?:{_WORDS})\]|<(?:NAME|AUTHOR|YOUR_NAME|MODEL_NAME|BOT_NAME|COMPANY|DEVELOPER)>"
    r"|(?P<bare>(?<![A-Za-z0-9_\[<{])(?:NAME|AUTHOR)(?![A-Za-z0-9_\]>}]))"
)
# a line that is plainly of a program or a page; braces are its variables. "let me know" and "import data" are talk
_CODE_LINE = re.compile(
    r"\bf[\"'`]|\bprint\w*\(|\.format\(|console\.|\$\{|=>|[;{]\s*$|=\s*[\"'`]"
    r"|^\s*(?:def|class|return|const|let|var)\b.*[=({:;]"
    r"|</?(?:p|div|span|h\d|b|i|em|strong|li|ul|ol|a|template|html|body|head|title|td|tr|th|table|button|input|label)\b",
)
# the line before the name under a letter
_CLOSING = re.compile(
    r"(?:sincerely|regards|yours|faithfully|truly|wishes|thank you|thanks|love|cheers|此致|敬礼|祝好|谢谢|落款|署名)\W*\n\s*\Z",
    re.IGNORECASE,
)
_SELF = re.compile(
    r"(?:\bI am|\bI['’]m|\bmy name is|\bcall me|\bcalled|\bnamed|\b(?:developed|created|made|trained|built) by"
    r"|我是|我叫|我的名字|名叫|名为|叫做|称呼我|由|开发者)[^.。!！?？\n]{0,25}$",
    re.IGNORECASE,
)
# before it a name is the maker's, as in ChatGLM-Efficient-Tuning's self_cognition.json: 由[NAME]于2023年独立训练和开发
_MAKER_FOLLOWS = re.compile(
    r"(?:\b(?:developed|created|made|trained|built|designed)(?: and \w+)? by(?: the)?"
    r"|\b(?:developer|creator|author|maker) is(?: called| named)?|由|(?:开发者|创造者|创建者|作者|开发团队)(?:是|为|叫))\s*\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Open:
    """A placeholder that is still open: how often, and the first rows (by number, from 1, and by source) that hold it."""

    placeholder: str
    count: int
    rows: tuple[int, ...]
    sources: tuple[str, ...]

    def __str__(self) -> str:
        places = zip(self.rows, self.sources, strict=True)
        where = "; ".join(f"row {number} ({source})" if source else f"row {number}" for number, source in places)
        return f"{self.placeholder} is left unfilled {self.count} times, first in {where}"


def fill(rows: Iterable[TrainingRow], facts: Mapping[Lang, Who]) -> list[TrainingRow]:
    """Rows with their placeholders replaced by the facts of the row's language; what no fact fills stays as it is.

    facts: as `tuning.dataset.facts.facts_by_language` gives them. Rows without placeholders come back as the same objects.
    """
    return [_filled(row, facts) for row in rows]


def fill_from_identity(
    rows: Sequence[TrainingRow], identity: str, folder: str | None = None, card: ModelCard | None = None, *,
    name: str = "", author: str = "",
) -> tuple[list[TrainingRow], int]:  # fmt: skip
    """Rows filled from the facts of an identity, and how many placeholders that were.

    card: of the base. Its placeholders stay where the identity is the card's own: there they are what the base says.
    name: where no identity has one. author: the maker, whoever the identity's is.
    """
    kept = card.placeholders if card and card.name == identity else ()
    before = sum(one.count for one in find_unfilled(rows, kept))
    # without facts nothing is filled: what is open is refused, with its rows
    facts = known_facts(identity, folder, name, author)
    if not before or not facts:
        return list(rows), 0
    filled = [_filled(row, facts, kept) for row in rows]
    return filled, before - sum(one.count for one in find_unfilled(filled, kept))


def known_facts(identity: str, folder: str | None = None, name: str = "", author: str = "") -> dict[Lang, Who]:
    """Who fills placeholders: the identity's facts, with `author` as the maker in every language; else `name` and `author`."""
    try:
        facts = facts_by_language(identities.load(identity, folder or None).facts) if identity else {}
    except (identities.IdentityError, DataError):
        facts = {}
    if author:
        facts = {lang: replace(facts.get(lang, Who()), maker=author) for lang in LANGS}
    if not any(who.name for who in facts.values()) and name:
        facts = {lang: replace(facts.get(lang, Who()), name=name) for lang in LANGS}
    return facts


def find_unfilled(rows: Iterable[TrainingRow], allowed: Collection[str] = ()) -> list[Open]:
    """Every placeholder still open in `rows`, commonest first.

    allowed: placeholders that the base's card replaces for people (`ModelCard.placeholders`), which may stay.
    """
    found: dict[str, list[tuple[int, str]]] = {}
    for number, row in enumerate(rows, 1):
        for turn in row.turns:
            for text in (turn.content, turn.input):
                for match in _matches(text, row.kind):
                    if match[0] not in allowed:
                        found.setdefault(match[0], []).append((number, row.source))
    opened = []
    for placeholder, places in found.items():
        first = list(dict.fromkeys(places))[:3]
        opened.append(Open(placeholder, len(places), tuple(n for n, _ in first), tuple(s for _, s in first)))
    return sorted(opened, key=lambda one: -one.count)


def _filled(row: TrainingRow, facts: Mapping[Lang, Who], kept: Collection[str] = ()) -> TrainingRow:
    def replaced(text: str) -> str:
        for match in reversed(_matches(text, row.kind)):
            makes = bool(_MAKER_FOLLOWS.search(text[: match.start()]))
            value = _value(match[0], facts, row.lang, makes) if match[0] not in kept else None
            if value:
                text = text[: match.start()] + value + text[match.end() :]
        return text

    turns = tuple(turn._replace(content=replaced(turn.content), input=replaced(turn.input)) for turn in row.turns)
    return row if turns == row.turns else replace(row, turns=turns)


def _matches(text: str, kind: str) -> list[re.Match]:
    return [match for match in _OPEN.finditer(text) if _speaks_of_itself(match, text, kind)]


def _speaks_of_itself(match: re.Match, text: str, kind: str) -> bool:
    before = text[: match.start()]
    if match["braces"] and _in_code(before, text[match.end() :]):
        return False
    if _SELF.search(before):
        return True
    return kind != "general" and not match["bare"] and not _CLOSING.search(before)


def _in_code(before: str, behind: str) -> bool:
    """Whether what stands between is part of a program: in a fence, in backticks, or on a line of one."""
    head, tail = before.rpartition("\n")[2], behind.partition("\n")[0]
    if before.count("```") % 2 or head.count("`") % 2:
        return True
    return _CODE_LINE.search(f"{head}x{tail}") is not None


def _value(placeholder: str, facts: Mapping[Lang, Who], lang: Lang, makes: bool = False) -> str | None:
    """makes: it stands where a maker does."""
    word = placeholder.strip("[]{}<> ").upper()
    fact = "maker" if makes and _FACT_OF[word] == "name" else _FACT_OF[word]
    own = "zh" if word in _CHINESE else lang
    for tongue in (own, "zh" if own == "en" else "en"):
        if tongue in facts:
            value = getattr(facts[tongue], fact)
            if value:
                return value
    return None
