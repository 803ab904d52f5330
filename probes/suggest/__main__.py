"""Suggest a label for every answer: `python -m probes.suggest --facts FACTS.yaml --in answers.jsonl --out suggestions.jsonl`"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from common import ending, files
from common.errors import UserError
from probes import identity_pair
from probes.suggest.labels import read_rows, suggest_rows
from store.labels import LABELS


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m probes.suggest", description="Suggest a label for every answer, by rules.")
    parser.add_argument("--facts", required=True, type=Path, help="YAML with old and new: name, maker, role, aliases")
    parser.add_argument("--in", required=True, type=Path, dest="source", metavar="FILE", help="JSONL with question, answer, lang")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="where the rows with their suggestions go")
    options = parser.parse_args(argv)
    try:
        rows = list(suggest_rows(read_rows(options.source), identity_pair.load(options.facts)))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        files.write_objects(options.out, rows)
    except OSError as error:
        print(f"The suggestions cannot be written to {options.out} ({error.strerror or error}).", file=sys.stderr)
        return 2
    counts = {label: sum(row["suggestion"] == label for row in rows) for label in LABELS}
    told = ", ".join(f"{count} {label}" for label, count in counts.items() if count)
    print(f"{len(rows)} answers: {told or 'none'}; sure of {sum(row['sure'] for row in rows)}.")
    return 0


if __name__ == "__main__":
    ending.run(main)
