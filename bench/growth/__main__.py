"""What grows how: time and memory against rows, adapters, the length of a conversation, answers in the store, probes x variants.

    python -m bench.growth --json runs/growth.json --picture runs/growth.png
    python -m bench.growth --parts store --json runs/growth.json     # the other parts' figures in the file stay

rows          a step and the prefill of 1 to 64 rows, alone and with adapters mixed
adapters      a step of eight rows, loading one more, removing one and loading all at once, with 1 to 64 of them resident
conversation  prefill, a step, and the next turn with and without what is kept, up to 8,192 tokens
store         opening tabs, filters and reports, up to 1,000,000 answers
probes        a run's planning and book-keeping with nobody computing, and its board, up to 100,000 answers

The exponent is the slope between two sizes next to each other, both logarithmic: 1 is linear. What is worse is marked.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.crowd import cpu
from bench.flags import add_engine_flags
from bench.growth import series
from bench.growth.series import Board, Done, Series
from common.errors import UserError
from common.files import write_json
from engine.bases import DEFAULT_BASE


def powers(first: int, last: int, factor: int = 2) -> list[int]:
    found = [first]
    while found[-1] * factor <= last:
        found.append(found[-1] * factor)
    return found


SIZES = {
    "rows": powers(1, 64),
    "adapters": powers(1, 64),
    "conversation": powers(128, 8192),
    "store": powers(1000, 1_000_000, 10),
    "probes": powers(100, 100_000, 10),
}
PARTS = tuple(SIZES)


def of_model(name: str) -> Callable[[argparse.Namespace, list[int], Done], Board]:
    def run(args: argparse.Namespace, sizes: list[int], done: Done) -> Board:
        from bench.growth import model  # torch and PEFT take seconds, and two parts need neither

        found: Board = getattr(model, name)(args, sizes, done)
        return found

    return run


def of_store(_args: argparse.Namespace, sizes: list[int], done: Done) -> Board:
    from bench.growth import stored

    return stored.measure(sizes, done)


def of_probes(_args: argparse.Namespace, sizes: list[int], done: Done) -> Board:
    from bench.growth import planned

    return planned.measure(sizes, done)


RUN = {"store": of_store, "probes": of_probes} | {name: of_model(name) for name in ("rows", "adapters", "conversation")}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All parts of the file, those that were asked for anew; the file is written after every size."""
    result: dict[str, Any] = json.loads(args.json.read_text("utf-8")) if args.json and args.json.exists() else {"parts": {}}
    for part in args.parts:
        sizes = [size for size in SIZES[part] if size <= args.largest] if args.largest else SIZES[part]
        before = time.perf_counter()

        def done(found: Board, size: int, part: str = part, before: float = before) -> None:
            took = time.perf_counter() - before
            result["parts"][part] = {
                "cpu": cpu(),
                "base": args.base if part not in ("store", "probes") else None,
                "took_s": round(took, 1),
                "series": [one.as_dict() for one in found.found.values()],
            }
            print(f"{part}: {size:,} {found.against}, {took:.0f} s", flush=True)
            if args.json:
                write_json(args.json, result)

        found = RUN[part](args, sizes or SIZES[part][:1], done)
        print(f"\n{series.table(list(found.found.values()))}\n", flush=True)
    return result


def all_series(result: dict[str, Any]) -> list[Series]:
    return [series.read(one) for part in PARTS if part in result["parts"] for one in result["parts"][part]["series"]]


def words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default=DEFAULT_BASE)
    parser.add_argument("--parts", type=words, default=list(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--largest", type=int, help="leaves out the sizes above this one")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--picture", type=Path, help="draw all figures of the file into this one, .png or .svg")
    add_engine_flags(parser)
    args = parser.parse_args(argv)
    if odd := [part for part in args.parts if part not in PARTS]:
        parser.error(f"{odd[0]} is not known; there is {', '.join(PARTS)}")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        result = measure(args)
    except UserError as error:
        sys.exit(str(error))
    found = all_series(result)
    print(f"{cpu()}; worse than linear (an exponent above {series.LINEAR}):")
    for one in found:
        if one.worse():
            print(f"  {one.part}, {one.name}: up to {', '.join(f'{size:,}' for size in one.worse())} {one.against}")
    if args.picture:
        from bench.growth import picture

        picture.draw(found, f"What grows how ({cpu()})", args.picture)


if __name__ == "__main__":
    main()
