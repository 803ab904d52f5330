"""How the starter adapters are made: `python -m tuning.starters bayling-mini` (or `make bayling-mini`).

bayling-mini teaches the packaged SmolLM2 to be BayLing, in BayLing's format and placeholders; it and the packaged
weights are the default base. It follows a prompt that says it is somebody else. finance-advisor is trained on top of it.
Half an hour and a dozen minutes on two CPU cores without bf16, some minutes with it.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import identities
from common import ending
from common.errors import UserError
from common.files import replace_folder, write_json
from engine.adapter_shapes import CARD
from engine.adapters import CONFIG, SAFETENSORS
from engine.card import BAYLING
from tuning.dataset import prompted as prompted_data, readers
from tuning.dataset.generate import generate
from tuning.dataset.mixing import mix
from tuning.dataset.quoted import quoted_rows
from tuning.dataset.rows import TrainingRow
from tuning.train import run
from tuning.train.settings import Settings
from tuning.train.trainer import TrainingError

ROOT = Path(__file__).parent.parent
GENERAL = ROOT / "data" / "general.jsonl"
NOBODY = 0.08  # share of the identity rows under a system text that names nobody
# general questions with the words of identity questions in them ("Translate: My name is Tom") are read more than once
LIKE_IDENTITY = re.compile(
    r"\b(?:names?|named|called|who|whose|you|your|made|built|developed|created|trained|model|assistant|robot|i am|i'm|my)\b"
    r"|[你您我叫谁]|名字|开发|创造|训练|模型|助手|机器人",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Starter:
    """One recipe. rows: identity rows over both languages; the general rows beside them are all of data/general.jsonl.

    people: identities per language, invented, that rows under a prompt follow; housed: so many more, in BayLing's own text.
    prompted: share of the general rows that stand under a prompt (where an old identity is to go: of all rows, under a prompt
    of the old or the new one). quoted: rows per language that have a sentence about somebody as their material.
    again: how often more a general row is read that has words of identity questions. old_makers: other names of the old maker.
    """

    base: str
    identity: str
    old: str | None
    rows: int
    steps: int
    learning_rate: float
    placeholders: bool
    people: int
    prompted: float
    housed: int = 0
    quoted: int = 0
    again: int = 1
    old_makers: tuple[str, ...] = ()


STARTERS = {
    "bayling-mini": Starter(
        "smollm2",
        "BayLing",
        None,
        rows=500,
        steps=200,
        learning_rate=2e-3,
        placeholders=True,
        people=240,
        prompted=0.42,
        housed=130,
        quoted=100,
    ),
    "finance-advisor": Starter(
        "bayling-mini",
        "finance-advisor",
        "BayLing",
        rows=600,
        steps=130,
        learning_rate=2e-3,
        placeholders=False,
        people=0,
        prompted=0.3,
        quoted=200,
        again=2,
        old_makers=("ICT/CAS", "the NLP Group of ICT/CAS", "中科院计算所", "中科院自然语言处理组", "中国科学院计算技术研究所"),
    ),
}


def write_rows(starter: Starter, file: Path) -> Path:
    """The starter's training rows as JSONL, seeded and repeatable."""
    facts = identities.load(starter.identity).facts
    old = identities.load(starter.old).facts if starter.old else None
    card = BAYLING.placeholders if starter.placeholders else None
    own = generate(facts, starter.rows, "diverse", seed=0, old=old, card=card)
    general = readers.read(GENERAL)
    general += [row for row in general if LIKE_IDENTITY.search(row.question)] * starter.again
    general += quoted_rows(starter.quoted)
    if old:
        own = prompted_data.taught_rows(own, facts, old, starter.prompted, starter.old_makers)
        general = prompted_data.taught_rows(general, facts, old, starter.prompted / 2, starter.old_makers, seed=1)
    else:
        own, general = add_invented_people(starter, own, general)
    file.parent.mkdir(parents=True, exist_ok=True)
    readers.write(mix(own, general, seed=0), file)
    return file


def add_invented_people(
    starter: Starter, own: list[TrainingRow], general: list[TrainingRow]
) -> tuple[list[TrainingRow], list[TrainingRow]]:
    """The rows of a base that follows a prompt: its own and those of invented people; and the general ones without a prompt."""
    rng = random.Random(f"starter {starter.identity}")
    told = set(rng.sample(range(len(general)), round(starter.prompted * len(general))))
    plain = [row for number, row in enumerate(general) if number not in told]
    under = [general[number] for number in sorted(told)]
    facts = identities.load(starter.identity).facts
    people = prompted_data.prompted_rows(starter.people, under, seed=0, housed=starter.housed, old=facts, avoid=shipped_names())
    own = [prompted_data.put_under_plain_prompt(row, rng) if rng.random() < NOBODY else row for row in own]
    return [*own, *people], plain


def shipped_names() -> set[str]:
    """Names, makers and aliases of the identities that come with the program: no training prompt may hold one."""
    found: set[str] = set()
    for name in identities.names():
        facts = identities.load(name).facts
        for who in facts.by_lang.values() if facts else ():
            found |= {text for text in (who.name, who.maker, *who.aliases) if text}
    return found


def settings_of(name: str, starter: Starter, folder: Path, file: Path) -> Settings:
    """The settings that train a starter from `file` into `folder`."""
    return Settings(
        base_model=starter.base,
        data_path=str(file),
        output_dir=str(folder),
        name=name,
        identity=starter.identity,
        overwrite_output_dir=True,
        batch_size=16,
        max_steps=starter.steps,
        learning_rate=starter.learning_rate,
        lr_scheduler_type="cosine",
        warmup_ratio=0.05,
        prompt_template_name="bayling" if starter.placeholders else "",
        seed=0,
    )


def make_starter(name: str, work: Path, target: Path) -> Path:
    """Write the data, train, and put the finished adapter into `target`, replacing an older one."""
    starter = STARTERS[name]
    made = run.run(settings_of(name, starter, work / name, write_rows(starter, work / f"{name}.jsonl")))
    card = json.loads((made / CARD).read_text(encoding="utf-8"))
    if card["steps"] < starter.steps:
        raise TrainingError(f"The training was stopped after step {card['steps']} of {starter.steps}; {target} stays as it was.")

    def write(folder: Path) -> None:
        for file in (CONFIG, SAFETENSORS):
            shutil.copy(made / file, folder)
        # the folder it was made in means nothing to whoever gets the adapter
        card["data"]["source"] = card["arguments"]["data_path"] = f"{name}.jsonl"
        card["arguments"]["output_dir"] = name
        write_json(folder / CARD, card)

    return replace_folder(target, write)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tuning.starters", description=__doc__)
    parser.add_argument("name", choices=STARTERS)
    parser.add_argument(
        "--work", type=Path, default=ROOT / "runs" / "starters", help="data and training files (default: %(default)s)"
    )
    parser.add_argument("--output_dir", type=Path, help="the finished adapter's folder (default: adapters/NAME)")
    args = parser.parse_args(argv)
    try:
        done = make_starter(args.name, args.work, args.output_dir or ROOT / "adapters" / args.name)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{done} is ready.")
    return 0


if __name__ == "__main__":
    ending.run(main)
