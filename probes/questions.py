"""Probe sets: what is asked, read from JSONL, one probe a line.

The keys are those of `Probe`; `probes/sets/README.md` says what each group and category means. A turn may hold
placeholders, `{old_name}` `{new_maker}` and so on (PLACEHOLDERS): they are filled from the facts of the two identities
at run time, in the probe's own language. Doubled braces (`{{name}}`) are left as they are.
"""

from __future__ import annotations

import dataclasses
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from common import paths
from common.errors import UserError, nearest
from common.seeming import not_what_it_seems
from identities import LANGS, natural_key
from probes import checks
from probes.identity_pair import FactPair
from store.labels import CONTROL_GROUPS

SETS = Path(__file__).parent / "sets"
IDENTITY_GROUPS = ("trained", "paraphrase", "novel", "pressure")
GROUPS = (*IDENTITY_GROUPS, *CONTROL_GROUPS)
IDENTITY_CATEGORIES = (
    "name", "maker", "date", "nature", "role", "purpose", "negation", "leading", "third_person", "indirect", "role_play",
    "multi_turn", "noise", "mixed",
)  # fmt: skip
CONTROL_CATEGORIES = ("translation", "domain", "role_word", "others", "knowledge", "arithmetic", "writing", "neutral")
PLACEHOLDERS = tuple(f"{who}_{what}" for who in ("old", "new") for what in ("name", "maker", "role", "date"))
SHOWN_PROBLEMS = 30  # a file of another kind would otherwise fill the screen

_PLACEHOLDER = re.compile(r"(?<!\{)\{(\w+)\}(?!\})")


class ProbeError(UserError):
    """A probe set that cannot be used as it is; its text says where and what to do, all problems at once."""


@dataclass(frozen=True)
class Probe:
    """One scripted conversation: the user's messages in order; what is judged is the reply to the last one.

    pair is shared by an English probe and its Chinese twin. held_out probes are left alone while data or settings are
    being chosen, so that figures on them are honest. check is a mechanical right/wrong test (`checks.problems`). expect
    says what a model that speaks as the old or the new identity answers to a yes/no question, such as
    {"old": "yes", "new": "no"}.
    """

    id: str
    group: str
    category: str
    lang: str
    turns: tuple[str, ...]
    pair: str | None = None
    held_out: bool = False
    check: Mapping | None = None
    expect: Mapping[str, str] | None = None

    @property
    def question(self) -> str:
        return self.turns[-1]

    @property
    def about_identity(self) -> bool:
        return self.group in IDENTITY_GROUPS


KEYS = tuple(f.name for f in dataclasses.fields(Probe))
REQUIRED = ("id", "group", "category", "lang", "turns")


def set_names() -> list[str]:
    """The sets that come with the program."""
    return sorted((path.stem for path in SETS.glob("*.jsonl")), key=natural_key)


def load(name_or_path: str | Path, facts: FactPair | None = None, *, twins: bool | None = None) -> list[Probe]:
    """Probes of one or several sets, in file order: a name, a path, or several joined by comma ("identity,controls").

    Without facts placeholders stay in the text (to edit or compare), with facts they are filled (`fill`). A probe that
    two sets share is taken once. twins=True demands both languages of every `pair`, None does so for the program's own
    sets only: a file of one's own may speak one language. Raises ProbeError.
    """
    probes: dict[str, tuple[Probe, str]] = {}
    problems: list[str] = []
    for path in _paths(name_or_path):
        demanded = path.parent == SETS if twins is None else twins
        for line, probe in _read(path, problems, demanded):
            where = f"{path.name}:{line}"
            known, known_where = probes.setdefault(probe.id, (probe, where))
            if known != probe:
                problems.append(f"{where}: id {probe.id!r} is another probe at {known_where}; give one of them a new id.")
    _raise(problems)
    loaded = [probe for probe, _ in probes.values()]
    return loaded if facts is None else fill(loaded, facts)


def placeholders(probe: Probe) -> set[str]:
    """What has to be filled before the probe can be asked, such as {"old_name"}."""
    return {found for turn in probe.turns for found in _PLACEHOLDER.findall(turn)}


def fill(probes: Iterable[Probe], facts: FactPair) -> list[Probe]:
    """The probes with their placeholders replaced by `facts`, each in the probe's language (`Side.first`).

    Raises ProbeError naming every fact that is missing.
    """
    filled: list[Probe] = []
    missing: dict[str, str] = {}
    for probe in probes:
        values = {found: _fact(facts, found, probe.lang) for found in placeholders(probe)}
        for found in sorted(found for found, value in values.items() if value is None):
            missing.setdefault(f"{found.replace('_', '.', 1)} ({probe.lang})", probe.id)
        turns = tuple(_PLACEHOLDER.sub(partial(_filled, values), turn) for turn in probe.turns)
        filled.append(dataclasses.replace(probe, turns=turns))
    if missing:
        listed = ", ".join(f"{fact} (probe {probe_id})" for fact, probe_id in missing.items())
        raise ProbeError(f"The facts do not say {listed}; add them, or leave the probes that ask for them out.")
    return filled


def as_dict(probe: Probe) -> dict:
    """The JSON object of one line: always the same keys in the same order, `expect` only where there is one."""
    plain = {key: getattr(probe, key) for key in KEYS} | {"turns": list(probe.turns)}
    return {key: value for key, value in plain.items() if key != "expect" or value is not None}


def from_dict(plain: object) -> Probe:
    """The inverse of `as_dict`; raises ProbeError with everything that is wrong."""
    _raise(_problems(plain))
    known = cast(dict[str, Any], plain)
    return Probe(**known | {"turns": tuple(known["turns"])})


def check_answer(probe: Probe, text: str) -> bool | None:
    """Whether `text` passes the probe's mechanical check; None where it has none."""
    return None if probe.check is None else checks.passes(probe.check, probe.question, text)


def normalise(text: str) -> str:
    """The wording alone: case, width, punctuation and spacing do not count. Two texts with equal wordings are the same
    question, so this is how probes are compared with training data."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("\u2019", "")
    text = "".join(" " if unicodedata.category(char)[0] in "PSZC" else char for char in text)
    return re.sub(rf"(?<=[{checks.CJK}])\s+|\s+(?=[{checks.CJK}])", "", " ".join(text.split()))


def wording_id(text: str) -> str:
    """What stands for a probe where a question has no other name: case, width, spaces and closing punctuation do not count, all
    else does (6 + 3 and 6 - 3 are two questions, and so are C and C++)."""
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'").split())
    return plain.rstrip(" .?!。") or plain


def wordings(probes: Iterable[Probe]) -> dict[str, str]:
    """Normalised wording -> probe id, for every turn of every probe: what must not stand in training data."""
    return {normalise(turn): probe.id for probe in probes for turn in probe.turns}


def _paths(name_or_path: str | Path) -> list[Path]:
    if Path(name_or_path).is_file():
        return [Path(name_or_path)]
    parts = [part.strip() for part in str(name_or_path).split(",") if part.strip()]
    if not parts:
        raise ProbeError(f"No probe set is named; there are {', '.join(set_names())}, or give the path of a .jsonl file.")
    found = [SETS / f"{part}.jsonl" if part in set_names() else Path(part) for part in parts]
    if missing := [str(path) for path in found if not path.is_file()]:
        raise ProbeError(
            f"There is no probe set {', '.join(map(repr, missing))}; "
            f"there are {', '.join(set_names())}, or give the path of a .jsonl file."
        )
    return list(dict.fromkeys(found))


def _read(path: Path, problems: list[str], twins: bool) -> list[tuple[int, Probe]]:
    """The good lines of one file; what is wrong with the others is added to `problems`."""
    rows: list[tuple[int, Probe]] = []
    seen: dict[str, int] = {}
    if odd := not_what_it_seems(path):
        problems.append(f"{path.name} {odd}.")
        return rows
    try:
        lines = paths.read_text(path, paths.MOST).split("\n")
    except OSError as error:
        problems.append(f"{path.name} cannot be read ({error.strerror or error}).")
        return rows
    except UnicodeDecodeError as error:
        problems.append(f"{path.name}: not UTF-8 at byte {error.start}; save the file as UTF-8.")
        return rows
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path.name}:{number}"
        try:
            plain = json.loads(line)
        except json.JSONDecodeError as error:
            problems.append(f"{where}: not JSON at column {error.colno} ({error.msg}); one probe is one object on one line.")
            continue
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits, 1,000 lists in one another
            problems.append(f"{where}: cannot be read ({error}); one probe is one object on one line.")
            continue
        if wrong := _problems(plain):
            problems += [f"{where}: {text}" for text in wrong]
            continue
        probe = from_dict(plain)
        if probe.id in seen:
            problems.append(f"{where}: id {probe.id!r} already stands in line {seen[probe.id]}; ids are unique.")
            continue
        seen[probe.id] = number
        rows.append((number, probe))
    if twins:
        problems += _twin_problems(path.name, rows)
    return rows


def _twin_problems(file: str, rows: list[tuple[int, Probe]]) -> list[str]:
    pairs: dict[str, list[tuple[int, Probe]]] = {}
    for number, probe in rows:
        if probe.pair is not None:
            pairs.setdefault(probe.pair, []).append((number, probe))
    problems = []
    for pair, members in pairs.items():
        number, first = members[0]
        langs = [probe.lang for _, probe in members]
        if missing := [lang for lang in LANGS if lang not in langs]:
            problems.append(f"{file}:{number}: pair {pair!r} has no twin in {missing[0]}; add it, or set pair to null.")
        elif len(members) > 2:
            problems.append(f"{file}:{members[2][0]}: pair {pair!r} has {len(members)} probes; it is one en and one zh.")
        elif any((p.group, p.category, p.held_out) != (first.group, first.category, first.held_out) for _, p in members):
            problems.append(f"{file}:{members[1][0]}: the twins of pair {pair!r} differ in group, category or held_out.")
    return problems


def _problems(plain: object) -> list[str]:
    """Everything that is wrong with one JSON object, a sentence each."""
    if not isinstance(plain, dict):
        return [f"a probe is a JSON object, this is {type(plain).__name__}."]
    wrong = []
    for key in plain:
        if key not in KEYS:
            close = nearest(key, KEYS)
            wrong.append(f"unknown key {key!r}; " + (f"did you mean {close[0]!r}?" if close else f"known are {', '.join(KEYS)}."))
    if missing := [key for key in REQUIRED if key not in plain]:
        wrong.append(f"{', '.join(map(repr, missing))} missing.")
    for key in ("id", "category", "pair"):
        if key in plain and not (_is_text(plain[key]) or (key == "pair" and plain[key] is None)):
            wrong.append(f"{key} is {plain[key]!r}, it is a text that is not empty.")
    for key, known in (("group", GROUPS), ("lang", LANGS)):
        if key in plain and plain[key] not in known:
            wrong.append(f"{key} is {plain[key]!r}, it is one of {', '.join(known)}.")
    if "held_out" in plain and not isinstance(plain["held_out"], bool):
        wrong.append(f"held_out is {plain['held_out']!r}, it is true or false.")
    wrong += _turn_problems(plain["turns"]) if "turns" in plain else []
    check, expect = plain.get("check"), plain.get("expect")
    wrong += checks.problems(check) if check is not None else []
    if plain.get("group") == "retention" and check is None:
        wrong.append("a retention probe needs a check, or nobody can say whether its answer is right.")
    if expect is not None:
        sides = isinstance(expect, dict) and expect and set(expect) <= {"old", "new"}
        if not sides or not all(value in ("yes", "no") for value in expect.values()):
            wrong.append(f'expect is {expect!r}, it is such as {{"old": "yes", "new": "no"}}.')
        elif plain.get("group") in CONTROL_GROUPS:
            wrong.append(f"expect belongs to identity probes, this one is in the group {plain['group']!r}.")
    return wrong


def _turn_problems(turns: object) -> list[str]:
    if not isinstance(turns, list) or not turns:
        return [f"turns is {turns!r}, it is a list of at least one user message."]
    wrong = [f"turn {n} is {turn!r}, it is a text that is not empty." for n, turn in enumerate(turns, 1) if not _is_text(turn)]
    unknown = {found for turn in turns if isinstance(turn, str) for found in _PLACEHOLDER.findall(turn)} - set(PLACEHOLDERS)
    known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    wrong += [f"unknown placeholder {{{name}}}; known are {known}." for name in sorted(unknown)]
    return wrong


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _filled(values: Mapping[str, str | None], placeholder: re.Match[str]) -> str:
    return values[placeholder[1]] or placeholder[0]


def _fact(facts: FactPair, placeholder: str, lang: str) -> str | None:
    who, what = placeholder.split("_", 1)
    return (facts.old if who == "old" else facts.new).first(what, lang)


def _raise(problems: list[str]) -> None:
    if problems:
        more = len(problems) - SHOWN_PROBLEMS
        raise ProbeError("\n".join(problems[:SHOWN_PROBLEMS] + ([f"... and {more} more."] if more > 0 else [])))
