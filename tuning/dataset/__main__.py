"""An identity data set as one small recipe: the form's, the command line's and the one saved beside the rows.

`python -m tuning.dataset --identity finance-advisor --rows 200 --output runs/data/finance.jsonl` writes the rows and, in
finance.recipe.json, what they were made from; the same recipe makes the same rows again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common import ending, outside
from common.errors import UserError
from tuning.dataset.recipe import Dataset, Recipe, write
from tuning.dataset.rows import DataError


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tuning.dataset", description="Writes an identity data set.")
    say = parser.add_argument
    say("--identity", default="", help="who the model is to become: NAME of identities/NAME.yaml")
    say("--langs", default="en,zh", help="en, zh or en,zh (default: %(default)s)")
    say("--rows", type=int, default=Dataset.rows, help="identity rows (default: %(default)s)")
    say("--style", choices=("singular", "diverse"), default=Dataset.style)
    say("--old", default="", help="the identity to be denied")
    say("--general", default=Dataset.general, help="file of general rows; empty for none (default: data/general.jsonl)")
    say("--general_share", type=float, default=Dataset.general_share, help="of all rows (default: %(default)s)")
    say("--clean", default="True", help="leave out general rows that say who the speaker is (default: True)")
    say("--own", default="", metavar="PATH", help="your rows: a file, a folder, a Hub data set, or self_cognition")
    say("--own_columns", default="{}", metavar="JSON", help='columns mapped by hand: {"their column": "instruction", ...}')
    say("--own_times", type=int, default=1, metavar="N", help="how often each of your rows is taken (default: 1)")
    say("--own_drop_statements", default="False", help="leave out your rows that speak as somebody else (default: False)")
    say("--own_drop_personal", default="False", help="leave out your rows with mail addresses, numbers or keys (default: False)")
    say("--seed", type=int, default=Dataset.seed)
    say("--card", default="", help="identity whose placeholders the base writes for names")
    say("--identities_dir", default="")
    say("--output", type=Path, required=True, metavar="FILE.jsonl")
    given = vars(parser.parse_args(argv))
    output = given.pop("output")
    given["langs"] = tuple(filter(None, given["langs"].split(",")))
    for name in ("clean", "own_drop_statements", "own_drop_personal"):
        given[name] = str(given[name]).lower() not in ("false", "0", "no")
    try:
        columns = outside.from_json(given["own_columns"], "--own_columns", DataError)
        outside.check(Recipe, {"own_columns": columns}, "--own_columns", DataError)
        given["own_columns"] = tuple(columns.items())
        print(f"{write(Dataset(**given), output, say=print)} is written.")
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    ending.run(main)
