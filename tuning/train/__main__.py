"""Trains an adapter: `python -m tuning.train --base_model smollm2 --data_path rows.json --output_dir DIR`.

Takes the command lines of alpaca-lora, ChatGLM-Efficient-Tuning and data-efficient-training (docs/coming-from.md), with
`--defaults NAME` what they do where nothing is said; `--preset NAME` starts from a known recipe. Several GPUs:
`torchrun --nproc_per_node N -m tuning.train ...`.
Everything a watcher needs stands in the output folder (tuning.train.run_files); the adapter does too, with its card.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict

from common import ending
from common.errors import UserError
from common.space import full_disk_sentence as told_full
from engine.bases import Base
from tuning.train import foreign
from tuning.train.run import processes, run, say_nothing
from tuning.train.settings import Settings, SettingsError
from tuning.train.speaking import Asked, Question
from tuning.train.trainer import OnStep


def identity_margin(settings: Settings, base: Base) -> OnStep:
    """The margin of the taught identity over the old one, as a function for `run`. Raises SettingsError."""
    # imported across the two rooms is only what makes plain functions, here and below
    from probes.margin import margin_between

    try:
        folder = settings.identities_dir or None
        return margin_between(base, settings.margin_against, settings.identity, folder)
    except UserError as error:  # of the identities, the probes and the format
        raise SettingsError([f"--margin: {error}"]) from None


def quick_questions(settings: Settings, langs: Sequence[str]) -> Asked:
    """What moments are asked, and what rules suggest of the answers, as plain functions for `run`. Raises SettingsError."""
    from probes.moments import quick_questions as quick

    try:
        asked, judge = quick(settings.margin_against, settings.identity, settings.identities_dir or None, langs)
    except UserError as error:
        raise SettingsError([f"--moments: {error}"]) from None
    return Asked(tuple(Question(**one) for one in asked), lambda question, said: judge(asdict(question), said))


def main(arguments: Sequence[str] | None = None) -> int:
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")  # PEFT's, about itself
    try:
        say = print if processes()[0] == 0 else say_nothing
        run(
            foreign.read(sys.argv[1:] if arguments is None else arguments, say), margin=identity_margin, questions=quick_questions
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except Exception as error:
        if not (full := told_full(error)):
            raise
        print(full, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    ending.run(main)
