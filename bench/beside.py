"""The page's answers beside a training, and the training itself: as the Fine-tune tab starts it, and in two other ways.

    python -m bench.beside --json runs/bench_beside.json

Three variants of one question are answered over and over: alone, beside a job of the page (`tuning.jobs.wrapper`, and
`launch.environment`), beside the same training with threads that never sleep while they wait for each other, as a program's are,
and with threads that sleep at once (as jobs were until 2026-11-28). Everything in one run, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import engine
from bench.crowd import QUESTION, cpu
from bench.flags import add_engine_flags
from bench.side_by_side import machine
from common.files import write_json
from engine import Decoding, Engine, Request, Variant
from engine.bases import DEFAULT_BASE
from tuning.dataset.recipe import GENERAL
from tuning.jobs.launch import ROOT, environment
from tuning.train.run_files import METRICS

STEPS = 1_000_000  # it is ended from here
# how long libgomp's threads try before they sleep: as long as it does if nobody says anything, and not at all
KINDS: dict[str, dict[str, str]] = {
    "a job": {},
    "trying threads": {"GOMP_SPINCOUNT": "300000"},
    "sleeping threads": {"GOMP_SPINCOUNT": "0"},
}


def answered_per_s(loaded: Engine, tokens: int, seconds: float) -> float:
    """Answers a second, three at a time."""
    asked, decoding = [{"role": "user", "content": QUESTION}], Decoding(max_new_tokens=tokens)
    requests = [Request(asked, Variant(f"v{n}", decoding=decoding), goes_on=False) for n in range(3)]
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        count += len(loaded.answer(requests))
    return count / (time.perf_counter() - began)


@contextmanager
def training(folder: Path, base: str, rows: int, kind: str) -> Iterator[Path]:
    """A training under way; its metrics. kind: of KINDS."""
    out, token = folder / secrets.token_hex(4), secrets.token_hex(8)
    command = ["-m", "tuning.train", "--base_model", base, "--data_path", str(GENERAL), "--output_dir", str(out)]
    command += ["--identity", "finance-advisor", "--batch_size", str(rows), "--max_steps", str(STEPS), "--save_steps", str(STEPS)]
    command += ["--val_set_size", "0", "--margin", "False", "--warmup_steps", "1"]
    wrapped = ["-m", "tuning.jobs.wrapper", str(folder / f"{token}.json"), token] if kind == "a job" else []
    process = subprocess.Popen(
        [sys.executable, *wrapped, *command],
        cwd=ROOT,
        env=environment(token) | KINDS[kind],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while len(step_times(out / METRICS)) < 3:
            if process.poll() is not None:
                raise SystemExit("the training ended before it was measured; run it by hand to see why")
            time.sleep(0.2)
        yield out / METRICS
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def step_times(metrics: Path) -> list[float]:
    """When each step was done."""
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else []
    return [one["time"] for one in map(json.loads, lines) if "loss" in one]


def steps_per_s(metrics: Path, begun: float) -> float:
    """Since that time."""
    return sum(at >= begun for at in step_times(metrics)) / (time.time() - begun)


def measure(loaded: Engine, base: str, rows: int, tokens: int, seconds: float, rounds: int) -> dict[str, list[float]]:
    """Answers and steps a second, by what is measured, one of each round."""
    found: dict[str, list[float]] = {"answers alone": [answered_per_s(loaded, tokens, seconds) for _ in range(rounds)]}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for kind in KINDS:
                with training(Path(folder), base, rows, kind) as metrics:
                    begun = time.time()
                    time.sleep(seconds)
                    found.setdefault(f"steps alone, {kind}", []).append(steps_per_s(metrics, begun))
                    begun = time.time()
                    found.setdefault(f"answers beside {kind}", []).append(answered_per_s(loaded, tokens, seconds))
                    found.setdefault(f"steps beside answers, {kind}", []).append(steps_per_s(metrics, begun))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--base", default=DEFAULT_BASE)
    parser.add_argument("--rows", type=int, default=10, help="of a training step (10)")
    parser.add_argument("--tokens", type=int, default=32, help="of an answer (32)")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement (15)")
    parser.add_argument("--rounds", type=int, default=2)
    add_engine_flags(parser)
    args = parser.parse_args()
    loaded = engine.load(args.base, device=args.device, dtype=args.dtype, say=lambda _: None, threads=args.threads)
    found = measure(loaded, args.base, args.rows, args.tokens, args.seconds, args.rounds)
    middle = {what: statistics.median(values) for what, values in found.items()}
    about = machine(loaded.base.model) | {"cpu": cpu()}
    print(f"{about['cpu']}: {about['device']}, {about['dtype']}")
    for what, value in middle.items():
        unit = "answers" if what.startswith("answers") else "steps"
        print(f"{what:38} {value:6.2f} {unit}/s   ({', '.join(f'{one:.2f}' for one in found[what])})")
    for kind in KINDS:
        if kind != "a job":
            answers = middle["answers beside a job"] / middle[f"answers beside {kind}"]
            steps = middle["steps alone, a job"] / middle[f"steps alone, {kind}"]
            print(f"a job and {kind}: {answers:.2f} times the answers beside it, {steps:.2f} times the steps alone")
    if args.json:
        write_json(args.json, {"machine": about, "figures": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
