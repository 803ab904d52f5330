"""Stands in for tuning.train: the same files and signals, nothing learned.

`python fake_trainer.py --output_dir DIR [--total N] [--pause S] [--start S] [--every N] [--fail STEP] [--deaf] [--refuse]`
A checkpoint every `--every` steps; with `--pause -1` it waits before the last step until a file `go` is in DIR.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import zipfile
from pathlib import Path

from tuning.train.run_files import PARTS, Journal, StopSign, last_saved_step, write_json


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output_dir", type=Path)
    parser.add_argument("--total", type=int, default=8)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--start", type=float, default=0.0)
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--fail", type=int, default=0)
    parser.add_argument("--deaf", action="store_true")
    parser.add_argument("--refuse", action="store_true")
    parser.add_argument("--resume_from_checkpoint")
    args = parser.parse_args()
    folder = args.output_dir
    if args.refuse:
        print("--data_path rows.json:3:7: a comma is missing.", file=sys.stderr)
        return 2
    journal = Journal(folder)
    journal.state("starting", "loading the base")
    print("trainer", os.getpid(), flush=True)
    time.sleep(args.start)
    stop = StopSign(folder)
    if args.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    step = 0
    if args.resume_from_checkpoint:
        step = last_saved_step(folder)
        journal.cut(step)
    journal.state("running", step=step, total=args.total)
    while step < args.total and not (stop and not args.deaf):
        while args.pause < 0 and step == args.total - 1 and not (folder / "go").exists() and not (stop and not args.deaf):
            time.sleep(0.02)
        if stop and not args.deaf:
            break
        time.sleep(max(0.0, args.pause))
        step += 1
        if step == args.fail:
            journal.state("failed", f"The loss of step {step} is nan; use a lower --learning_rate.")
            return 1
        line = {"step": step, "total_steps": args.total, "epoch": step / 4, "time": time.time(), "loss": 4.0 / step, "lr": 1e-4}
        journal.metric(line | {"grad_norm": 0.5, "samples_per_s": 9.2, "tokens_per_s": 700.0})
        journal.state("running", step=step, total=args.total)
        if step % args.every == 0:
            journal.metric({"step": step, "eval_loss": 4.5 / step, "time": time.time()})
            write_json(checkpoint(folder, step), {"global_step": step})
        print(f"{step}/{args.total}", flush=True)
    journal.state("saving", step=step)
    write_json(checkpoint(folder, step), {"global_step": step})
    (folder / "adapter_model.safetensors").write_text("weights")
    write_json(folder / "adapter_config.json", {})
    if step < args.total:
        journal.state("stopped", f"stopped after step {step}", step=step)
    else:
        journal.state("done", step=step)
    return 0


def checkpoint(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(exist_ok=True)
    write_json(path / "adapter_config.json", {})
    (path / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    for name in PARTS[3:]:
        with zipfile.ZipFile(path / name, "w") as file:
            file.writestr("nothing", "")
    return path / "trainer_state.json"


if __name__ == "__main__":
    sys.exit(main())
