"""How much a fine-tuning must change before an identity takes, and when it takes too much: the figures behind the cautions.

    python -m bench.doses --json runs/bench_doses.json
    python -m bench.doses --parts rates,targets --json runs/bench_doses.json

Every cell trains one adapter on generated rows of the museum guide (English and Chinese) and asks it the name and maker
questions of the identity probes, and the controls: the share of answers that say who it is, and of controls that were
answered with a self. One thing is changed at a time; the rest is as in `COMMON`. Figures are written after every cell.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import engine
import identities
from bench.side_by_side import machine
from bench.starters import BRIEF, holds, probes_of
from engine import Engine, Request, Variant
from identities import LANGS
from probes import identity_pair, questions
from probes.suggest.labels import suggest
from tuning.dataset import __main__ as dataset
from tuning.train import run as training
from tuning.train.presets import PRESETS
from tuning.train.settings import Settings

WHO, MARKS = "museum-guide", ("Mira", "Lantern Museum", "米拉", "灯笼博物馆")
FEW = 8  # questions of a kind and language
COMMON: dict[str, Any] = {
    "batch_size": 4, "micro_batch_size": 4, "max_steps": 40, "learning_rate": 2e-3, "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.1, "lora_r": 8, "lora_alpha": 16, "lora_target_modules": "q_proj,k_proj,v_proj,o_proj",
    "save_steps": 10_000, "share": 0.5,
}  # fmt: skip
PARTS: dict[str, list[dict[str, Any]]] = {
    "rates": [{}, {"learning_rate": 1e-4}, {"learning_rate": 5e-4}],
    "targets": [{"lora_target_modules": "q_proj", "lora_r": 2, "lora_alpha": 4}],
    "shares": [{"share": 0.0}],
    "steps": [{"max_steps": 10}],
    # what the page's first recipe becomes on a slow machine
    "batches": [PRESETS["quick"] | {"batch_size": rows, "micro_batch_size": rows} for rows in (16, 8, 4)],
}


def cell(folder: Path, base: str, model: Engine, changed: dict[str, Any]) -> dict[str, Any]:
    """One adapter's figures. changed: what differs from COMMON."""
    settings = COMMON | changed
    share = settings.pop("share")
    rows = folder / f"rows-{share}.jsonl"
    if not rows.exists():
        general = [] if share else ["--general", ""]
        dataset.main(["--identity", WHO, "--rows", "200", "--general_share", str(share), *general, "--output", str(rows)])
    name = f"cell-{time.time_ns()}"
    started = time.perf_counter()
    made = training.run(
        Settings.from_dict(
            settings | {"base_model": base, "data_path": str(rows), "output_dir": str(folder / name), "identity": WHO}
        ),
        say=lambda _line: None,
    )
    seconds = time.perf_counter() - started
    model.add_adapter(made, name)
    variant = Variant(name, {name: 1.0}, decoding=BRIEF)
    figures: dict[str, Any] = {"changed": changed, "seconds": round(seconds, 1)}
    pair = identity_pair.from_identities(*(identities.load(one).facts for one in (identities.DEFAULT_OLD, WHO)))
    for lang in LANGS:
        asked = probes_of(lang)[:FEW]
        said = ask(model, variant, asked)
        figures[f"says who it is, {lang}"] = sum(map(holds(MARKS), said)) / len(said)
        controls = [probe.question for probe in questions.load("controls") if probe.lang == lang][:FEW]
        judged = [
            suggest({"question": one, "answer": answer, "control": True}, pair)["suggestion"]
            for one, answer in zip(controls, ask(model, variant, controls), strict=True)
        ]
        figures[f"self in controls, {lang}"] = judged.count("intrusion") / len(judged)
        figures[f"an answer, {lang}"] = said[0]
    model.remove_adapter(name)
    return figures


def ask(model: Engine, variant: Variant, asked: Sequence[str]) -> list[str]:
    return [answer.shown for answer in model.answer([Request([{"role": "user", "content": one}], variant) for one in asked])]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.doses", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--base", default="bayling-mini")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, joined by commas (default: %(default)s)")
    parser.add_argument("--json", type=Path, required=True, help="write the figures there")
    args = parser.parse_args(argv)
    chosen = args.parts.split(",")
    if wrong := [part for part in chosen if part not in PARTS]:
        parser.error(f"--parts: {', '.join(wrong)} is none of {', '.join(PARTS)}")
    model = engine.load(args.base)
    about: dict[str, Any] = {"machine": machine(model.base.model), "common": COMMON, "cells": {}}
    args.json.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for part in chosen:
            for changed in PARTS[part]:
                figures = cell(Path(folder), args.base, model, changed)
                about["cells"].setdefault(part, []).append(figures)
                print(part, json.dumps(figures, ensure_ascii=False), flush=True)
                args.json.write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
