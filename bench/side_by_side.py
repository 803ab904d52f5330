"""Many variants at once: the adapter bank beside its peers, in one run on one machine.

    python -m bench.side_by_side --variants 2,4,8,16 --json runs/side_by_side.json
    python -m bench.side_by_side --variants 8 --shape 7b            # random weights of LLaMA-7B's shape, for a GPU

All contenders decode in the engine's own loop, so that only the way adapters are applied differs:
base (no adapters), bank (ours), peft mixed (`adapter_names=`), sequential (one row at a time, `set_adapter` in
between); and once the time of what a page without hot-swap does, loading base and adapter anew.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model

import engine
from common.errors import UserError
from common.files import write_json
from engine import Decoding, decode, sharing
from engine.adapters import read_adapter
from engine.bank import Bank
from engine.device import choose_device, choose_dtype

TOKENS = 48
PROMPT_TOKENS = 64
RANKS = (8, 16, 4)  # adapters differ, as they do in life
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]  # the original experiment's
SHAPE_7B = dict(
    vocab_size=32000,
    hidden_size=4096,
    intermediate_size=11008,
    num_hidden_layers=32,
    num_attention_heads=32,
    max_position_embeddings=2048,
)


class PeftMixed:
    """PEFT's model as the loop sees a model, saying in every forward pass whose adapter each row wants."""

    def __init__(self, model: PeftModel, adapter_names: list[str]) -> None:
        self.model, self.config, self.device = model, model.config, model.device
        self.adapter_names = adapter_names

    def __call__(self, **inputs):
        return self.model(**inputs, adapter_names=self.adapter_names)


def random_7b(device: torch.device, dtype: torch.dtype):
    config = transformers.LlamaConfig(**SHAPE_7B, dtype=dtype)
    torch.manual_seed(0)
    with torch.device(device):
        previous = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        model = transformers.LlamaForCausalLM(config)
        torch.set_default_dtype(previous)
    return model.eval().requires_grad_(False)


def make_adapters(model: PeftModel | torch.nn.Module, count: int, folder: Path) -> tuple[PeftModel, list[Path]]:
    """Random adapters with B not zero, in PEFT's model and as folders."""
    torch.manual_seed(1)
    wrapped = None
    for at in range(count):
        rank = RANKS[at % len(RANKS)]
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=TARGETS, init_lora_weights=False, task_type="CAUSAL_LM")
        if wrapped is None:
            # without autocast: fp32 adapters on a bf16 base would cost PEFT conversions that its users can avoid
            wrapped = get_peft_model(model, config, adapter_name="v0", autocast_adapter_dtype=False)
        else:
            wrapped.add_adapter(f"v{at}", config, autocast_adapter_dtype=False)
    wrapped.save_pretrained(folder)
    return wrapped.eval().requires_grad_(False), [folder / f"v{at}" for at in range(count)]


def rows(count: int, adapters: list[str | None], vocabulary: int) -> list[decode.Row]:
    """`count` rows with a prompt of their own; no end ids, so that every row decodes TOKENS tokens."""
    generator = torch.Generator().manual_seed(2)
    made = []
    for at in range(count):
        ids = torch.randint(10, vocabulary, (PROMPT_TOKENS - at % 4,), generator=generator).tolist()
        heard = {adapters[at]: 1.0} if adapters[at] else {}
        made.append(decode.Row(at, ids, heard, Decoding(max_new_tokens=TOKENS), TOKENS, frozenset()))
    return made


class NoBank:
    """The bank's part in the loop, left out where PEFT applies the adapters."""

    heard = None

    def hear(self, rows) -> None:
        self.heard = rows

    def silence(self) -> None: ...


class NoText:
    """The tokenizer's part in the loop, left out: it costs every contender the same."""

    def decode(self, ids, skip_special_tokens=True) -> str:
        return "x" * len(ids)


def timed(model, bank: Bank, batch: list[decode.Row]) -> dict:
    """One run: prefill_ms, step_ms (median) and wall_s."""
    sync = torch.cuda.synchronize if model.device.type == "cuda" else lambda: None
    sync()
    marks = [time.perf_counter()]
    for _ in sharing.run(model, NoText(), bank, batch, slots=len(batch), stop=threading.Event()):
        sync()
        marks.append(time.perf_counter())
    steps = [(after - before) * 1e3 for before, after in itertools.pairwise(marks[1:])]
    return {"prefill_ms": (marks[1] - marks[0]) * 1e3, "step_ms": statistics.median(steps), "wall_s": marks[-1] - marks[0]}


def sequential(wrapped: PeftModel, silent: Bank, count: int, vocabulary: int) -> dict:
    """The rows one after another, `set_adapter` before each; a step is one token for every row."""
    total = {"prefill_ms": 0.0, "step_ms": 0.0, "wall_s": 0.0}
    switches = []
    for at, row in enumerate(rows(count, [None] * count, vocabulary)):
        before = time.perf_counter()
        wrapped.set_adapter(f"v{at}")
        switches.append((time.perf_counter() - before) * 1e3)
        one = timed(wrapped, silent, [row])
        total = {key: total[key] + one[key] for key in total}
    total["wall_s"] += sum(switches) / 1e3
    return total | {"set_adapter_ms": statistics.median(switches)}


def contenders(model, bank: Bank, wrapped: PeftModel, silent: Bank, count: int, vocabulary: int) -> dict[str, Callable[[], dict]]:
    names = [f"v{at}" for at in range(count)]
    none = [None] * count
    return {
        "base": lambda: timed(model, bank, rows(count, none, vocabulary)),
        "bank": lambda: timed(model, bank, rows(count, names, vocabulary)),
        "peft mixed": lambda: timed(PeftMixed(wrapped, names), silent, rows(count, none, vocabulary)),
        "sequential": lambda: sequential(wrapped, silent, count, vocabulary),
    }


def median_of(runs: list[dict]) -> dict:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def switch_ms(bank: Bank, count: int, repeats: int = 50) -> float:
    """Time to give every row of a batch another adapter: new masks, nothing else."""
    names = list(bank.adapters)
    taken = []
    for turn in range(repeats):
        wanted = [{names[(at + turn) % len(names)]: 1.0} for at in range(count)]
        before = time.perf_counter()
        bank.hear(wanted)
        if next(iter(bank.linears.values())).weight.is_cuda:
            torch.cuda.synchronize()
        taken.append((time.perf_counter() - before) * 1e3)
    bank.silence()
    return statistics.median(taken)


def reload_s(base: str, folder: Path) -> float | None:
    """Base and adapter from disk, as a page without hot-swap does when somebody picks another adapter."""
    before = time.perf_counter()
    fresh = engine.load(base, say=lambda _line: None)
    PeftModel.from_pretrained(fresh.base.model, folder)
    return time.perf_counter() - before


def measure(counts: list[int], shape: str, base: str, repeats: int, device: str | None, dtype: str | None) -> dict:
    if shape == "7b":
        where, _ = choose_device(device)
        kind, reason = choose_dtype(where, dtype)
        model, peer = random_7b(where, kind), random_7b(where, kind)
        print(reason)
    else:
        loaded = engine.load(base, device=device, dtype=dtype)
        model, peer = loaded.base.model, engine.load(base, device=device, dtype=dtype, say=lambda _line: None).base.model
    vocabulary = model.config.vocab_size
    result: dict = {"machine": machine(model), "tokens": TOKENS, "prompt_tokens": PROMPT_TOKENS, "repeats": repeats, "rows": {}}
    with tempfile.TemporaryDirectory() as folder:
        wrapped, folders = make_adapters(peer, max(counts), Path(folder))
        bank, silent = Bank(model), NoBank()
        result["one row"] = median_of([timed(model, bank, rows(1, [None], vocabulary)) for _ in range(repeats + 1)][1:])
        for count in counts:
            for name in list(bank.adapters):
                bank.remove(name)
            for path in folders[:count]:
                info, weights = read_adapter(path)
                bank.add(info.name, weights)
            runs: dict[str, list[dict]] = {}
            for turn in range(repeats + 1):  # the first turn warms up
                for name, run in contenders(model, bank, wrapped, silent, count, vocabulary).items():
                    once = run()
                    if turn:
                        runs.setdefault(name, []).append(once)
            result["rows"][str(count)] = {name: median_of(those) for name, those in runs.items()} | {
                "switch_ms": switch_ms(bank, count)
            }
            report(count, result["rows"][str(count)])
        result["reload_s"] = reload_s(base, folders[0]) if shape != "7b" else None
    result["ratios"] = ratios(result["rows"])
    result["switch_ms"] = max(row["switch_ms"] for row in result["rows"].values())
    return result


def ratios(by_count: dict) -> dict:
    """Of decode steps, per number of rows."""

    def over(first: str, second: str) -> dict[str, float]:
        return {count: round(row[first]["step_ms"] / row[second]["step_ms"], 3) for count, row in by_count.items()}

    return {
        "bank_over_base": over("bank", "base"),
        "peft_mixed_over_bank": over("peft mixed", "bank"),
        "sequential_over_bank": over("sequential", "bank"),
    }


def machine(model) -> dict:
    cuda = model.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(model.device)
        if cuda
        else f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
        "dtype": str(model.dtype).removeprefix("torch."),
        "parameters": sum(tensor.numel() for tensor in model.parameters()),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__},
    }


def report(count: int, row: dict) -> None:
    print(f"\n{count} rows           step ms   over bank   prefill ms   wall s for {TOKENS} tokens")
    for name in ("base", "bank", "peft mixed", "sequential"):
        one = row[name]
        ratio = one["step_ms"] / row["bank"]["step_ms"]
        print(f"  {name:<14}{one['step_ms']:>10.1f}{ratio:>10.2f} x{one['prefill_ms']:>13.0f}{one['wall_s']:>10.2f}")
    print(f"  switching: bank {row['switch_ms']:.2f} ms, set_adapter {row['sequential']['set_adapter_ms']:.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", default="2,4,8,16", help="numbers of variants, one row each, e.g. 8 or 2,4,8,16")
    parser.add_argument("--shape", choices=("base", "7b"), default="base", help="7b: random weights of LLaMA-7B's shape")
    parser.add_argument("--base", default="smollm2")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        counts = [int(part) for part in args.variants.split(",")]
        result = measure(counts, args.shape, args.base, args.repeats, args.device, args.dtype)
    except UserError as error:
        sys.exit(str(error))
    print(f"\none row of the base: {result['one row']['step_ms']:.1f} ms per step")
    if result["reload_s"] is not None:
        print(f"loading base and adapter anew: {result['reload_s']:.1f} s")
    print(json.dumps(result["ratios"], indent=1))
    if args.json:
        write_json(args.json, result)


if __name__ == "__main__":
    main()
