"""This working tree beside an earlier commit of it, in one run on one machine: decoding, prefill, training.

    python -m bench.against --against HEAD~1
    python -m bench.against --against 91635e5 --rows 1,3,8 --json runs/against.json
    python -m bench.against --against HEAD~1 --training

The commit is checked out into a temporary git worktree. Each side has a process of its own, which loads the base once; the
two are asked in turn, so that whatever else the machine does meets both. --training runs each side's own `bench.training`,
ours alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PREFILL = (4, 128)  # rows, tokens of each
RANK = 8


class Side:
    """A tree of the project in a process of its own, that answers questions about its speed one by one."""

    def __init__(self, tree: Path, base: str, dtype: str) -> None:
        # -P: the folder of this script holds modules with the names of the project's rooms
        command = [sys.executable, "-P", str(Path(__file__).resolve()), "--answer", base, dtype]
        self.process = subprocess.Popen(
            command, cwd=tree, env=environment(tree), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.machine = self.read()

    def ask(self, **question: Any) -> float:
        """Milliseconds of what was asked for."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return float(self.read()["ms"])

    def read(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"The side in {self.process.args} ended before its answer; what it said stands above.")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def environment(tree: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(tree), "HF_HUB_OFFLINE": "1"}


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """A checkout of the commit, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="against-") as folder:
        tree = Path(folder) / "tree"
        done = subprocess.run(
            ["git", "worktree", "add", "--detach", str(tree), commit], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"--against {commit}: {done.stderr.strip().splitlines()[-1]}")
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=False)


def answer(base: str, dtype: str) -> None:
    """The part of a side's own process: a line with a question in, a line with milliseconds out."""
    import torch

    import engine
    from bench import side_by_side
    from engine.adapters import LowRank

    out, sys.stdout = sys.stdout, sys.stderr
    loaded = engine.load(base, dtype=dtype or None, device="cpu", say=lambda _line: None)
    model, bank = loaded.base.model, loaded.bank
    torch.manual_seed(0)
    adapted = {name: m for name, m in bank.linears.items() if name.rpartition(".")[2] in side_by_side.TARGETS}

    def pair(linear: torch.nn.Linear) -> LowRank:
        return LowRank(torch.randn(RANK, linear.in_features) * 0.01, torch.randn(linear.out_features, RANK) * 0.01)

    def say(**found: Any) -> None:
        print(json.dumps(found), file=out, flush=True)

    say(
        dtype=str(model.dtype),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        isa=torch.backends.cpu.get_cpu_capability(),
    )
    for line in sys.stdin:
        asked = json.loads(line)
        names = [f"v{at}" for at in range(asked["rows"])] if asked["adapters"] else [None] * asked["rows"]
        for name in names:
            if name and name not in bank.adapters:
                bank.add(name, {module: pair(linear) for module, linear in adapted.items()})
        side_by_side.TOKENS, side_by_side.PROMPT_TOKENS = asked["tokens"], asked["prompt"]
        found = side_by_side.timed(model, bank, side_by_side.rows(asked["rows"], names, model.config.vocab_size))
        say(ms=found[asked["what"]])


def questions(rows: list[int]) -> dict[str, dict[str, Any]]:
    found = {}
    for count in rows:
        for who in ("base", "bank"):
            found[f"step, {count} rows, {who}"] = dict(what="step_ms", rows=count, tokens=24, prompt=32, adapters=who == "bank")
    count, length = PREFILL
    return found | {f"prefill, {count} x {length}": dict(what="prefill_ms", rows=count, tokens=2, prompt=length, adapters=False)}


def compare(then: Side, now: Side, rows: list[int], repeats: int) -> dict[str, dict[str, float]]:
    """Medians of both sides in ms, and how many times as fast this tree is."""
    found = {}
    for name, question in questions(rows).items():
        turns = [(then.ask(**question), now.ask(**question)) for _ in range(repeats + 1)][1:]  # the first one warms up
        before, after = (statistics.median(side) for side in zip(*turns, strict=True))
        found[name] = {"then": round(before, 1), "now": round(after, 1), "times": round(before / after, 2)}
        print(f"{name:<24}{before:>9.1f} ms{after:>9.1f} ms{before / after:>7.2f} x", flush=True)
    for count in rows:
        base, bank = (found[f"step, {count} rows, {who}"] for who in ("base", "bank"))
        base["bank_over_base"] = round(bank["now"] / base["now"], 3)
        print(f"bank over base, {count} rows: {bank['then'] / base['then']:.2f} then, {base['bank_over_base']:.2f} now")
    return found


def compare_training(trees: tuple[Path, Path], dtype: str, repeats: int) -> dict[str, float]:
    """Rows per second of both trees' own trainers, the median of some runs in turn."""
    command = [sys.executable, "-m", "bench.training", "--only", "ours", *([f"--dtype={dtype}"] if dtype else [])]

    def run(tree: Path) -> dict[str, float]:
        done = subprocess.run(command, cwd=tree, env=environment(tree), stdout=subprocess.PIPE, text=True, check=True)
        got: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
        return got

    turns = [(run(trees[0]), run(trees[1])) for _ in range(repeats)]
    for before, after in turns:
        print(
            f"training {before['samples_per_s']:>9.2f} rows/s, {before['peak_gib']:.2f} GiB"
            f"{after['samples_per_s']:>9.2f} rows/s, {after['peak_gib']:.2f} GiB"
            f"{after['samples_per_s'] / before['samples_per_s']:>7.2f} x"
        )
    then, now = (statistics.median(one["samples_per_s"] for one in side) for side in zip(*turns, strict=True))
    return {"then": round(then, 2), "now": round(now, 2), "times": round(now / then, 2)}


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", required=True, metavar="COMMIT", help="the commit to compare with")
    parser.add_argument("--rows", default="1,3,8", help="rows decoded at once, e.g. 8 or 1,3,8")
    parser.add_argument("--base", default="smollm2")
    parser.add_argument("--dtype", default="", help="fp32 or bf16; left out: what the CPU computes")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--training", action="store_true", help="training in place of decoding")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args()
    with worktree(args.against) as tree, ExitStack() as open_sides:
        print(f"{cpu_name()}: {args.against}, then this tree")
        if args.training:
            result: dict[str, Any] = {"training": compare_training((tree, ROOT), args.dtype, args.repeats)}
        else:
            then, now = (Side(place, args.base, args.dtype) for place in (tree, ROOT))
            for side in (then, now):
                open_sides.callback(side.close)
            print(json.dumps(now.machine))
            rows = [int(part) for part in args.rows.split(",")]
            result = {"machine": now.machine, "figures": compare(then, now, rows, args.repeats)}
    if args.json:
        from common.files import write_json

        write_json(args.json, result | {"cpu": cpu_name(), "against": args.against})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--answer"]:
        answer(*sys.argv[2:4])
    else:
        main()
