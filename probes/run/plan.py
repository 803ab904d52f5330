"""What a run will ask: its conversations, place by place, before anything is asked.

fresh      every probe in a conversation of its own, its turns one after the other
running    per language one conversation that all probes follow one another in, as in the original experiment
scripted   every probe in a conversation of its own with a script around it: asked again, or after small talk

A script is, per language, a list of user messages with `{question}` where the probe stands (`probes/run/scripts.yaml`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from common import reading
from identities import LANGS
from probes.questions import Probe, ProbeError, as_dict

Mode = Literal["fresh", "running", "scripted"]
MODES = get_args(Mode)
SCRIPTS = Path(__file__).parent / "scripts.yaml"
QUESTION = "{question}"

Script = Mapping[str, Sequence[str]]  # language -> user messages
Place = tuple[int, int, str, int]  # variant index, sample, probe id, turn (from 0), as in store.runs


@dataclass(frozen=True)
class PlannedTurn:
    """One thing to say. `place` is where its answer belongs; the probe's last turn is the one that is judged."""

    place: Place
    probe: Probe
    text: str


@dataclass(eq=False)
class Conversation:
    """Turns still to be asked of one variant, and what was said so far (the model's replies as it wrote them)."""

    variant: int
    sample: int
    turns: list[PlannedTurn]
    said: list[dict] = field(default_factory=list)
    running: bool = False


def turns_of(probe: Probe, script: Script | None = None) -> list[str]:
    """The user's messages that a probe comes to: its own, with a script around them if there is one."""
    if script is None:
        return list(probe.turns)
    return [text for line in script[probe.lang] for text in (probe.turns if line == QUESTION else [line])]


def judged(probe: Probe, script: Script | None = None) -> int:
    """The turn whose answer is judged: the last one."""
    return len(turns_of(probe, script)) - 1


def checked(probe: Probe, script: Script | None = None) -> int | None:
    """The turn whose answer the probe's mechanical check is about, None where the probe has none.

    With a script this is the reply to the question itself: "Yes, I am sure." holds no number to check.
    """
    if probe.check is None:
        return None
    if script is None:
        return len(probe.turns) - 1
    before = list(script[probe.lang]).index(QUESTION)
    return before + len(probe.turns) - 1


def conversations(
    probes: Sequence[Probe], variants: int, samples: int, mode: Mode = "fresh", script: Script | None = None
) -> list[Conversation]:
    """All conversations of a run. A sample of a running conversation is the whole conversation once more."""
    found = []
    for variant in range(variants):
        for sample in range(samples):
            each = [
                [PlannedTurn((variant, sample, probe.id, at), probe, text) for at, text in enumerate(turns_of(probe, script))]
                for probe in probes
            ]
            if mode == "running":
                each = [[turn for turns in each for turn in turns if turn.probe.lang == lang] for lang in LANGS]
            found += [Conversation(variant, sample, turns, running=mode == "running") for turns in each if turns]
    return found


def scripts() -> list[str]:
    """The scripts that come with the program."""
    return list(reading.read_yaml(SCRIPTS, "file", ProbeError))


def script(name_or_path: str | Path) -> Script:
    """A script by name, or the only one of a YAML file of one's own (`en: [...]`, `zh: [...]`). Raises ProbeError."""
    if str(name_or_path) in scripts():
        return reading.read_yaml(SCRIPTS, "file", ProbeError)[str(name_or_path)]
    path = Path(name_or_path)
    if not path.is_file():
        raise ProbeError(f"There is no script {str(path)!r}; there are {', '.join(scripts())}, or give the path of a file.")
    read = reading.read_yaml(path, "script", ProbeError)
    wrong = [] if isinstance(read, Mapping) and read else ["a script is a mapping of en and zh to lists of messages"]
    for lang, lines in read.items() if not wrong else ():
        if lang not in LANGS:
            wrong.append(f"unknown language {lang!r} (known are {', '.join(LANGS)})")
        elif not isinstance(lines, list) or not all(isinstance(line, str) and line.strip() for line in lines):
            wrong.append(f"{lang} is a list of texts, none empty")
        elif lines.count(QUESTION) != 1:
            wrong.append(f"{lang} needs one line {QUESTION}, where the probe stands, and has {lines.count(QUESTION)}")
    if wrong:
        raise ProbeError(f"{path.name}: {'; '.join(wrong)}.")
    return read


def check_script(chosen: Script, probes: Sequence[Probe]) -> None:
    """Raises ProbeError if the script lacks a language that is to be asked."""
    if missing := sorted({probe.lang for probe in probes} - set(chosen)):
        raise ProbeError(f"The script has no lines in {', '.join(missing)}; add them, or ask in one language with --lang.")


def set_hash(probes: Sequence[Probe]) -> str:
    """Twelve hex digits over the probes as they are asked, in their order."""
    return hashlib.sha256(json.dumps([as_dict(p) for p in probes], sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:12]


def seed_of(seed: int, probe_id: str, sample: int, turn: int = 0) -> int:
    """The seed of one sampled answer. Each probe has its own, or one unlucky draw would befall all probes alike; variants
    share it, so that a comparison of two is a paired one."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{probe_id}/{sample}/{turn}".encode()).digest()[:4]) >> 1
