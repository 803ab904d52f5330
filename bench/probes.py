"""A probe set asked of several variants: ours beside the plain way, in one run on one machine.

    python -m bench.probes --json runs/bench_probes.json
    python -m bench.probes --base smollm2        # random adapters: answers ramble to their last token

Ours is `probes.run.runner.run`, database and all: one batch of mixed variants, rows leave when they finish and waiting ones
take their place. The plain way is what one writes with transformers and PEFT: per variant `set_adapter` and `generate`
over padded batches of the same size, in the order of the file. Asked are the base, the prompt, the adapter, and adapter and
prompt together. Both ways get the same prompts and the same max_new_tokens; the plain way's base is a copy of its own,
untouched by the engine. The turns alternate, and the figures are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model

import engine
import engine.bases
import engine.prompts
import identities
from bench.flags import add_engine_flags
from bench.side_by_side import TARGETS, machine
from common.errors import UserError
from common.files import write_json
from engine import Decoding, Engine, Request, Variant
from engine.bases import DEFAULT_BASE
from probes import questions
from probes.identity_pair import from_identities
from probes.questions import Probe
from probes.run import runner

IDENTITY = identities.DEFAULT_NEW
ADAPTER = Path(__file__).parent.parent / "adapters" / IDENTITY
SCALE = 0.02  # of the random adapters' B: they change what is said, and it stays language


def chosen(count: int) -> list[Probe]:
    """`count` probes with one turn, evenly out of identity and controls, both languages."""
    facts = from_identities(identities.load(identities.DEFAULT_OLD).facts, identities.load(IDENTITY).facts)
    single = [probe for probe in questions.load("identity,controls", facts) if len(probe.turns) == 1]
    return [single[at * len(single) // count] for at in range(count)]


def random_adapter(base: Engine, folder: Path) -> Path:
    """A LoRA folder with the original experiment's shape and small random weights."""
    torch.manual_seed(1)
    model = engine.load(base.base.spec, device="cpu", dtype="fp32", say=lambda _line: None).base.model
    config = LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM")
    wrapped = get_peft_model(model, config)
    for key, parameter in wrapped.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(parameter, std=SCALE)
    wrapped.save_pretrained(folder)
    return folder


def ours(loaded: Engine, variants: Sequence[Variant], probes: Sequence[Probe]) -> dict:
    answers = {}
    loaded.forget()  # what an earlier turn computed
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        # as the command does it: everything is handed over in a few chunks, and stored as it comes
        for event in runner.run(loaded, variants, probes, db=Path(folder) / "bench.db", reuse=False):
            answers |= {(reply.place[0], reply.probe.id): reply.answer for reply in event.new}
        figures = clock.stop()
    texts = {place: answer["raw"] for place, answer in answers.items()}
    return figures | {"tokens": sum(answer["new_tokens"] for answer in answers.values()), "texts": texts}


def plain(
    wrapped: PeftModel,
    tokenizer,
    prompts: dict[int, dict[str, list[int]]],
    variants: Sequence[Variant],
    batch: int,
    ends: list[int],
) -> dict:
    """prompts: variant index -> probe id -> token ids."""
    texts, tokens = {}, 0
    clock = Clock()
    for at, variant in enumerate(variants):
        adapter = next(iter(variant.adapters), None)
        if adapter:
            wrapped.set_adapter(adapter)
        with nullcontext() if adapter else wrapped.disable_adapter():
            ids = list(prompts[at])
            for start in range(0, len(ids), batch):
                some = ids[start : start + batch]
                rows = {"input_ids": [prompts[at][one] for one in some]}
                padded = tokenizer.pad(rows, padding_side="left", return_tensors="pt").to(wrapped.device)
                with torch.inference_mode():
                    out = wrapped.generate(
                        **padded,
                        do_sample=False,
                        max_new_tokens=variant.decoding.max_new_tokens,
                        eos_token_id=ends,
                        pad_token_id=tokenizer.pad_token_id,
                    )
                for one, row in zip(some, out[:, padded["input_ids"].shape[1] :].tolist(), strict=True):
                    length = next((place + 1 for place, token in enumerate(row) if token in ends), len(row))
                    tokens += length
                    texts[at, one] = tokenizer.decode(row[:length], skip_special_tokens=True)
    return clock.stop() | {"tokens": tokens, "texts": texts}


class Clock:
    """Wall time, and the processor's own seconds: on a machine that others use too the latter tell more."""

    def __init__(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def stop(self) -> dict:
        return {"wall_s": time.perf_counter() - self.wall, "cpu_s": time.process_time() - self.processor}


def measure(args: argparse.Namespace) -> dict:
    settings = dict(device=args.device, dtype=args.dtype, threads=args.threads)
    loaded = engine.load(args.base, max_rows=args.rows, **settings)
    peer = engine.bases.load_base(args.base, device=args.device, dtype=args.dtype, say=lambda _line: None)
    probes, decoding = chosen(args.probes), Decoding(max_new_tokens=args.max_new_tokens)
    with tempfile.TemporaryDirectory() as folder:
        path = args.adapter or (ADAPTER if args.base == DEFAULT_BASE else random_adapter(loaded, Path(folder)))
        name = loaded.add_adapter(path, accept_other_base=bool(args.adapter))
        # without autocast: fp32 adapters on a bf16 base would cost PEFT conversions that its users can avoid
        wrapped = PeftModel.from_pretrained(peer.model, path, adapter_name=name, autocast_adapter_dtype=False)
        wrapped = wrapped.eval().to(peer.device, peer.dtype)
    told = dict(identity=IDENTITY, prompt=identities.load(IDENTITY).prompt, decoding=decoding)
    variants = [
        Variant("base", decoding=decoding),
        Variant("prompt", **told),
        Variant("adapter", adapters={name: 1.0}, decoding=decoding),
        Variant("adapter and prompt", adapters={name: 1.0}, **told),
    ]
    asked = {
        at: {probe.id: loaded.prompt(Request([{"role": "user", "content": probe.question}], variant)).ids for probe in probes}
        for at, variant in enumerate(variants)
    }
    ends = sorted(engine.prompts.end_ids(peer, peer.format))
    ways = {
        "ours": lambda: ours(loaded, variants, probes),
        "plain": lambda: plain(wrapped, peer.tokenizer, asked, variants, args.rows, ends),
    }
    runs: dict[str, list[dict]] = {name: [] for name in ways}
    for turn in range(args.repeats):
        for name in list(ways) if turn % 2 == 0 else reversed(ways):
            runs[name].append(ways[name]())
            print(f"turn {turn + 1}, {name}: {runs[name][-1]['wall_s']:.1f} s", flush=True)
    return figures(args, peer.model, variants, asked, runs)


def figures(args: argparse.Namespace, model, variants: Sequence[Variant], asked: dict, runs: dict[str, list[dict]]) -> dict:
    rows = {name: {key: statistics.median(one[key] for one in those) for key in ("wall_s", "cpu_s", "tokens")}
            for name, those in runs.items()}  # fmt: skip
    count = args.probes * len(variants)
    for row in rows.values():
        row["answers_per_s"], row["tokens_per_s"] = count / row["wall_s"], row["tokens"] / row["wall_s"]
    pairs = list(zip(runs["plain"], runs["ours"], strict=True))
    first, second = runs["ours"][0]["texts"], runs["plain"][0]["texts"]
    return {
        "machine": machine(model),
        "probes": args.probes,
        "variants": [variant.name for variant in variants],
        "rows": args.rows,
        "max_new_tokens": args.max_new_tokens,
        "prompt_tokens": statistics.mean(len(ids) for prompts in asked.values() for ids in prompts.values()),
        "repeats": args.repeats,
        "ways": rows,
        "same_text": sum(first[place].strip() == second[place].strip() for place in first) / len(first),
        "ratios": {
            "ours_over_plain": round(statistics.median(one["wall_s"] / other["wall_s"] for one, other in pairs), 3),
            "ours_over_plain_cpu": round(statistics.median(one["cpu_s"] / other["cpu_s"] for one, other in pairs), 3),
        },
    }


def report(result: dict) -> None:
    print(f"\n{result['probes']} probes x {len(result['variants'])} variants, {result['rows']} rows at once, "
          f"at most {result['max_new_tokens']} new tokens, {result['prompt_tokens']:.0f} in a prompt")  # fmt: skip
    print("           wall s   CPU s   answers/s   tokens/s")
    for name, row in result["ways"].items():
        print(f"  {name:<7}{row['wall_s']:>8.1f}{row['cpu_s']:>8.1f}{row['answers_per_s']:>12.2f}{row['tokens_per_s']:>11.1f}")
    print(f"  same text in {result['same_text']:.0%} of the answers; machine: {result['machine']['device']}")
    print(json.dumps(result["ratios"], indent=1))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=DEFAULT_BASE)
    parser.add_argument("--probes", type=int, default=128)
    parser.add_argument("--adapter", type=Path, metavar="FOLDER", help="default: the starter, or a random one")
    parser.add_argument("--rows", type=int, default=32, help="conversations at once, for both (default: %(default)s)")
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    add_engine_flags(parser)
    args = parser.parse_args(argv)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        result = measure(args)
    except UserError as error:
        sys.exit(str(error))
    report(result)
    if args.json:
        write_json(args.json, result)


if __name__ == "__main__":
    main()
