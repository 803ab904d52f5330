"""What became of the answers: before, of base and adapter; after, of the export."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from common.files import write_json

ASKED = "asked.json"  # beside what was exported
LISTED = 6


class Question(NamedTuple):
    """One that is asked by itself; turns: what the user says, one after the other."""

    id: str
    lang: str
    turns: tuple[str, ...]


# whether an answer keeps the identity that the adapter teaches, as rules suggest it; None where nobody can say
Keeps = Callable[[Question, str], bool | None]


@dataclass(frozen=True)
class Answered:
    """One question; kept_*: see Keeps."""

    id: str
    lang: str
    question: str
    before: str
    after: str
    kept_before: bool | None
    kept_after: bool | None

    @property
    def same(self) -> bool:
        return whole_characters(self.before) == whole_characters(self.after)


def whole_characters(answer: str) -> str:
    """Without what stands for half a character, which some programs write and some leave out."""
    return answer.replace("\ufffd", "").strip()


def compare(questions: Sequence[Question], before: Sequence[str], after: Sequence[str], keeps: Keeps) -> list[Answered]:
    return [
        Answered(one.id, one.lang, one.turns[-1], said, now, keeps(one, said), keeps(one, now))
        for one, said, now in zip(questions, before, after, strict=True)
    ]


def summary(answered: Sequence[Answered], through: str) -> list[str]:
    """Lines for people."""
    changed = [one.id for one in answered if not one.same]
    same = f"{len(answered) - len(changed)} of {len(answered)} answers are the same, word for word"
    lines = [f"asked through {through}: {same}{f'; changed: {listed(changed)}' if changed else ''}"]
    for lang, (before, after, known) in kept(answered).items():
        lines.append(
            f"answers that keep the identity, as rules suggest ({lang}): {before} of {known} before, {after} of {known} after"
        )
    return lines


def kept(answered: Sequence[Answered]) -> dict[str, tuple[int, int, int]]:
    """Language -> how many are kept before, how many after, of how many that can be told."""
    found = {}
    for lang in dict.fromkeys(one.lang for one in answered):
        told = [one for one in answered if one.lang == lang and one.kept_before is not None and one.kept_after is not None]
        if told:
            found[lang] = sum(bool(one.kept_before) for one in told), sum(bool(one.kept_after) for one in told), len(told)
    return found


def listed(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")


def keep(target: Path, answered: Sequence[Answered], through: str, set_name: str, note: str = "") -> None:
    """As ASKED in the export's folder. note: what is to be known of how it was asked before."""
    rows = [asdict(one) | {"same": one.same} for one in answered]
    write_json(target / ASKED, {"through": through, "set": set_name, "note": note, "answers": rows})


def read_kept(target: Path) -> tuple[list[Answered], dict[str, Any]] | None:
    """(answers, the rest of the file); None where it is not there or nothing that `keep` has written."""
    try:
        told = json.loads((target / ASKED).read_text(encoding="utf-8"))
        rows = [Answered(**{key: value for key, value in row.items() if key != "same"}) for row in told["answers"]]
        return rows, {key: str(told.get(key) or "") for key in ("through", "set", "note")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
