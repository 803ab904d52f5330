"""Trains an adapter: `python -m tuning.train --base_model smollm2 --data_path rows.json --output_dir DIR`.

Takes alpaca-lora's command line; `--preset NAME` starts from a known recipe. Several GPUs:
`torchrun --nproc_per_node N -m tuning.train ...`.
Everything a watcher needs stands in the output folder (tuning.train.run_files); the adapter does too, with its card.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

from common import ending
from common.errors import UserError
from common.space import full_disk_sentence as told_full
from engine.bases import Base
from tuning.train.presets import PRESETS
from tuning.train.run import run
from tuning.train.settings import Settings, SettingsError, parse
from tuning.train.trainer import OnStep


def identity_margin(settings: Settings, base: Base) -> OnStep:
    """The margin of the taught identity over the old one, as a function for `run`. Raises SettingsError."""
    # the one import across the two rooms, and only of what makes a plain function
    from probes.margin import margin_between

    try:
        folder = settings.identities_dir or None
        return margin_between(base, settings.margin_against, settings.identity, folder)
    except UserError as error:  # of the identities, the probes and the format
        raise SettingsError([f"--margin: {error}"]) from None


def main(arguments: Sequence[str] | None = None) -> int:
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")  # PEFT's, about itself
    try:
        run(parse(sys.argv[1:] if arguments is None else arguments, PRESETS), margin=identity_margin)
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
