"""Moments of a training: what the adapter said after so many steps, kept with its weights; and which of them is the best.

A moment is a folder, `moments/step-000040` in the run's: an ordinary adapter with its card, `moment.json` and `answers.jsonl`.
That before the first step has no weights where the adapter was nothing yet. Each is there whole or not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, FiniteFloat

from common import leftovers, outside
from common.files import replace_folder, write_json, write_objects
from common.outside import Shape
from tuning.train.run_files import FileError, read_json

FOLDER, ABOUT, ANSWERS, WEIGHTS = "moments", "moment.json", "answers.jsonl", "adapter_config.json"
PREFIX = "step-"
RUNNING = 2  # moments one after another that have to be formed before a training ends by itself
FORMED = 0.8  # of the identity's questions, per language: the least share whose suggestion is formed
RULE = "formed, least intrusion"
LARGEST = 2**22  # bytes of a moment's answers; sixteen short ones have some thousands
Count = Annotated[int, Field(ge=0, lt=2**53)]
Two = Annotated[list[Count], Field(min_length=2, max_length=2)]
CONTROL_LABELS = ("clean", "intrusion", "broken")


class About(Shape):
    """moment.json. margin: the identity margins that were measured then, by name; empty where none was. formed, intrusions: [such
    suggestions, answers that count], by language and of all controls. seconds: of its answers and margin. share: what all of them
    had cost by then, of the training's own time. why: what was asked less for that; a sentence.
    """

    step: Count
    of: Count
    margin: dict[str, FiniteFloat] = Field(default_factory=dict)
    asked: Count = 0
    questions: Count = 0
    formed: dict[str, Two] = Field(default_factory=dict)
    intrusions: Two = Field(default_factory=lambda: [0, 0])
    seconds: FiniteFloat = 0.0
    share: FiniteFloat | None = None
    why: Annotated[str, Field(max_length=10_000)] = ""


class Line(Shape):
    """A line of answers.jsonl; the keys are those in which answers are imported and labelled."""

    probe_id: Annotated[str, Field(max_length=1000)]
    group: str
    category: str
    lang: str
    question: str
    answer: str
    raw: str
    suggestion: str = ""
    finish: str = "stop"


@dataclass(frozen=True)
class Moment:
    """One that is kept. weights: whether the folder is an adapter."""

    folder: Path
    about: About
    answers: tuple[Line, ...]
    weights: bool

    @property
    def step(self) -> int:
        return self.about.step


def place(folder: str | Path, step: int) -> Path:
    return Path(folder) / FOLDER / f"{PREFIX}{step:06}"


def keep(
    folder: str | Path, about: Mapping[str, Any], answers: Sequence[Mapping[str, Any]], save: Callable[[Path], None] | None
) -> Path:
    """Writes one moment. save: puts the adapter into the folder it is given; None where there is none."""

    def write(beside: Path) -> None:
        write_objects(beside / ANSWERS, answers)
        write_json(beside / ABOUT, dict(about))
        if save:
            save(beside)

    return replace_folder(place(folder, about["step"]), write)


def folders_of(folder: str | Path) -> list[Path]:
    """What bears a moment's name, the earliest first."""
    return sorted(path for path in (Path(folder) / FOLDER).glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdecimal())


def read_all(folder: str | Path) -> tuple[list[Moment], list[str]]:
    """The moments of a run, the earliest first, and a sentence for each that cannot be read."""
    found, wrong = [], []
    for path in folders_of(folder):
        try:
            found.append(read(path))
        except (FileError, OSError) as error:
            wrong.append(str(error))
    return sorted(found, key=lambda one: one.step), wrong


def read(path: Path) -> Moment:
    """One moment. Raises FileError or OSError."""
    plain = read_json(path / ABOUT)
    if plain is None:
        raise FileError(f"{outside.display_name(path)} holds no {ABOUT}; no run wrote it.")
    outside.check(About, plain, outside.display_name(path / ABOUT), FileError, "take the folder away")
    return Moment(path, About.model_validate(plain), tuple(read_answers(path / ANSWERS)), (path / WEIGHTS).is_file())


def read_answers(path: Path) -> list[Line]:
    if not path.is_file():
        return []
    if path.stat().st_size > LARGEST:
        raise FileError(f"{outside.display_name(path)} is larger than {LARGEST:,} bytes; no run wrote it.")
    found = []
    for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), 1):
        if text.strip():
            where = f"{outside.display_name(path)}:{number}"
            plain = outside.from_json(text, where, FileError)
            outside.check(Line, plain, where, FileError, "take the folder away")
            found.append(Line.model_validate(plain))
    return found


def cut(folder: str | Path, step: int) -> None:
    """Before a run is resumed at `step`: what a killed run kept beyond it is done again."""
    for path in folders_of(folder):
        if int(path.name.removeprefix(PREFIX)) > step:
            leftovers.put_away(path)


def clear(folder: str | Path) -> None:
    shutil.rmtree(Path(folder) / FOLDER, ignore_errors=True)


def count_suggestions(answers: Sequence[Line]) -> dict[str, Any]:
    """`formed` and `intrusions` of `About`. Answers without a suggestion do not count."""
    formed: dict[str, list[int]] = {}
    intrusions = [0, 0]
    for one in answers:
        if one.suggestion in CONTROL_LABELS:
            intrusions = [intrusions[0] + (one.suggestion == "intrusion"), intrusions[1] + 1]
        elif one.suggestion:
            so_far = formed.setdefault(one.lang, [0, 0])
            formed[one.lang] = [so_far[0] + (one.suggestion == "formed"), so_far[1] + 1]
    return {"formed": formed, "intrusions": intrusions}


def is_formed(about: About) -> bool:
    """Whether quick set and margin both say so, in every language: 4 of 5 answers or more suggested as formed, margin above 0."""
    margins = [value for name, value in about.margin.items() if name != "margin"] or list(about.margin.values())
    shares = [formed / of for formed, of in about.formed.values() if of]
    return bool(margins and shares) and min(margins) > 0 and min(shares) >= FORMED


def formed_running(abouts: Sequence[About]) -> bool:
    """Whether the latest moments, as many as it takes, are formed."""
    return len(abouts) >= RUNNING and all(map(is_formed, abouts[-RUNNING:]))


def best(abouts: Sequence[About]) -> About | None:
    """Of those that are formed the one with the fewest intrusions; of several that with most formed answers, or the earliest."""
    formed = [one for one in abouts if is_formed(one)]

    def order(one: About) -> tuple[float, float, int]:
        intruded, controls = one.intrusions
        share = sum(count for count, _ in one.formed.values()) / max(1, sum(of for _, of in one.formed.values()))
        return intruded / max(1, controls), -share, one.step

    return min(formed, key=order, default=None)


def line_of(question: Any, said: Any, suggestion: str) -> Line:
    """question: speaking.Question; said: speaking.Said."""
    known = asdict(question)
    return Line(
        probe_id=known["id"], group=known["group"], category=known["category"], lang=known["lang"], question=known["question"],
        answer=said.shown, raw=said.raw, suggestion=suggestion, finish=said.finish,
    )  # fmt: skip
