"""Int8 weights beside whole ones on the CPU, in one run: how fast, and what they change.

    python -m bench.quantized                                   # products and whole steps, a minute or two
    python -m bench.quantized --parts answers --probes 40       # what is answered otherwise, some minutes
    python -m bench.quantized --parts llama                     # beside llama.cpp, where llama-cpp-python is installed

products  every linear layer of the base once: `F.linear`, oneDNN's packed weights, ours in int8, and other ways to it: as
          torch.ao.quantization.quantize_dynamic does it, with one range for a whole batch, and torchao's, which rounds the
          weights alone and computes in bf16; beside the time the error against `F.linear`
steps     whole decode steps of the base in the engine's own loop, the same three ways, and of rows that each hear an adapter
answers   probes asked of the base, a prompt and an adapter, greedily, with whole weights and with others: how many answers
          stay the same to the letter, and how many are judged otherwise by the rules
llama     steps of llama.cpp with the same weights as GGUF (f16, q8_0) and as many threads
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

import engine
import identities
from bench import llama_peer
from bench.crowd import cpu
from bench.probes import ADAPTER, IDENTITY, chosen
from bench.side_by_side import PROMPT_TOKENS, TOKENS, machine, make_adapters, rows, timed
from common.errors import UserError
from common.files import write_json
from engine import Decoding, Engine, Variant, onednn, quantized
from engine.adapters import read_adapter
from engine.bases import DEFAULT_BASE, load_base
from engine.groups import names_by_input
from probes.answers.sources import add_suggestions
from probes.identity_pair import from_identities
from probes.run import rows as answer_rows, runner

PARTS = ("products", "steps", "answers", "llama")
COUNTS = (1, 3, 8, 32)
MEASURED_S = 0.5  # per way and number of rows
Way = Callable[[Sequence[torch.Tensor]], list[torch.Tensor]]
OTHERS: dict[str, dict[str, Any]] = {"int8": {"quantize": "int8"}, "bf16": {"dtype": "bf16"}}


def quietly(base: str, **more: Any) -> Engine:
    return engine.load(base, device="cpu", say=lambda _line: None, **{"dtype": "fp32"} | more)


@torch.inference_mode()
def weights_by_input(base: str) -> dict[tuple[str, ...], torch.Tensor]:
    """(out, in) of every group of layers that read the same input, by their names."""
    model = load_base(base, device="cpu", dtype="fp32", say=lambda _line: None).model
    linears = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    groups = names_by_input(model, linears)
    return {tuple(names): torch.cat([linears[name].weight for name in names]).clone() for names in groups}


# --- products


@torch.inference_mode()
def products(weights: Sequence[torch.Tensor], counts: Sequence[int]) -> dict[str, Any]:
    packed = [onednn.Packed(weight) for weight in weights]
    codes = [quantized.quantize(weight) for weight in weights]
    small = [(quantized.pack(*one), quantized.edge(weight.shape[1])) for one, weight in zip(codes, weights, strict=True)]
    halves = [(code, scale.bfloat16()) for code, scale in codes]
    ways: dict[str, Way] = {
        "plain": lambda xs: [F.linear(x, weight) for x, weight in zip(xs, weights, strict=True)],
        "packed": lambda xs: [onednn.product(x, one) for x, one in zip(xs, packed, strict=True)],
        "int8": lambda xs: [quantized.product(x, *one) for x, one in zip(xs, small, strict=True)],
        "one range for a batch": lambda xs: [
            torch.ops.quantized.linear_dynamic(x, packed, True) for x, (packed, _) in zip(xs, small, strict=True)
        ],
        "weights alone": lambda xs: [torch._weight_int8pack_mm(x.bfloat16(), *one) for x, one in zip(xs, halves, strict=True)],
    }
    found: dict[str, Any] = {}
    for count in counts:
        xs = [torch.randn(count, weight.shape[1]) for weight in weights]
        right = ways["plain"](xs)
        taken: dict[str, list[float]] = {name: [] for name in ways}
        until = time.perf_counter() + MEASURED_S * len(ways)
        while time.perf_counter() < until or len(taken["int8"]) < 3:
            for name, way in ways.items():
                before = time.perf_counter()
                way(xs)
                taken[name].append((time.perf_counter() - before) * 1e3)
        found[str(count)] = {
            name: {
                "ms": statistics.median(taken[name]),
                "error": statistics.mean(float((y - z).norm() / z.norm()) for y, z in zip(way(xs), right, strict=True)),
            }
            for name, way in ways.items()
        }
        report_ways(f"products of {count} rows", found[str(count)])
    return found


# --- steps


def set_ways(whole: Engine, weights: Mapping[tuple[str, ...], torch.Tensor]) -> dict[str, Callable[[], None]]:
    """What gives the groups of a whole engine's bank their products, plain or packed, whatever it chose itself."""
    plain = {names: functools.partial(F.linear, weight=weight) for names, weight in weights.items()}
    packed = {names: functools.partial(onednn.product, packed=onednn.Packed(weight)) for names, weight in weights.items()}

    def given(products: Mapping[tuple[str, ...], Callable]) -> None:
        for group in whole.bank.groups:
            group.base = products[tuple(group.names)]

    return {"plain": lambda: given(plain), "packed": lambda: given(packed)}


def steps(args: argparse.Namespace, weights: Mapping[tuple[str, ...], torch.Tensor]) -> dict[str, Any]:
    """Milliseconds of a step and of the prefill, by rows and way: first without adapters, then with one for each row."""
    whole, small = quietly(args.base), quietly(args.base, quantize="int8")
    whole.settle()  # before their products are exchanged
    small.settle()
    counts = [count for count in args.rows if count <= whole.max_rows]
    found: dict[str, Any] = {str(count): {} for count in counts}

    def take(ways: Mapping[str, tuple[Engine, Callable[[], None]]], names: Sequence[str]) -> None:
        for count in counts:
            heard = [names[at % len(names)] if names else None for at in range(count)]
            taken: dict[str, list[dict]] = {name: [] for name in ways}
            for _ in range(args.repeats + 1):  # the first turn warms up
                for name, (one, before) in ways.items():
                    before()
                    batch = rows(count, heard, one.base.model.config.vocab_size)
                    taken[name].append(timed(one.base.model, one.bank, batch))
            for name, those in taken.items():
                figures = {key: statistics.median(once[key] for once in those[1:]) for key in ("step_ms", "prefill_ms")}
                found[str(count)][name] = figures

    own = [group.base for group in whole.bank.groups]
    take({name: (whole, give) for name, give in set_ways(whole, weights).items()} | {"int8": (small, lambda: None)}, [])
    for group, base in zip(whole.bank.groups, own, strict=True):
        group.base = base
    with tempfile.TemporaryDirectory() as folder:
        peer = load_base(args.base, device="cpu", dtype="fp32", say=lambda _line: None)
        _, folders = make_adapters(peer.model, 3, Path(folder))
        read = [read_adapter(path) for path in folders]
    for engine_ in (whole, small):
        for info, pairs in read:
            engine_.bank.add(info.name, pairs)
    nothing = lambda: None  # noqa: E731
    take({"bank": (whole, nothing), "bank, int8": (small, nothing)}, [info.name for info, _ in read])
    for count, ways in found.items():
        report_ways(f"steps of {count} rows", {name: {"ms": one["step_ms"]} for name, one in ways.items()})
        report_ways(f"prefill of {count} x {PROMPT_TOKENS}", {name: {"ms": one["prefill_ms"]} for name, one in ways.items()})
    return found


# --- answers


def answers(args: argparse.Namespace) -> dict[str, Any]:
    """What is answered and suggested with whole weights, and with others."""
    pair = from_identities(identities.load(identities.DEFAULT_OLD).facts, identities.load(IDENTITY).facts)
    probes, decoding = chosen(args.probes), Decoding(max_new_tokens=args.max_new_tokens)
    told = dict(identity=IDENTITY, prompt=identities.load(IDENTITY).prompt, decoding=decoding)
    judged: dict[str, dict[tuple, dict]] = {}
    for kind in ("fp32", *args.others):
        loaded = quietly(args.base, **OTHERS.get(kind, {}))
        name = loaded.add_adapter(ADAPTER)
        variants = [
            Variant("base", decoding=decoding),
            Variant("prompt", **told),
            Variant("adapter", adapters={name: 1.0}, decoding=decoding),
        ]
        with tempfile.TemporaryDirectory() as folder:
            db, before = Path(folder) / "bench.db", time.perf_counter()
            *_, last = runner.run(loaded, variants, probes, db=db, reuse=False)
            assert last.run is not None
            found = add_suggestions(answer_rows.rows_of(db, last.run), pair)
        print(f"{kind}: {len(found)} answers in {time.perf_counter() - before:.0f} s", flush=True)
        judged[kind] = {(row["variant"].partition(" (")[0], row["probe_id"]): row for row in found}
    return {
        "probes": args.probes,
        "max_new_tokens": args.max_new_tokens,
        "others": {kind: compared(judged["fp32"], judged[kind]) for kind in args.others},
    }


def compared(whole: Mapping[tuple, dict], other: Mapping[tuple, dict]) -> dict[str, Any]:
    """By variant and over all: shares of answers that are the same, and suggestions, which were and which are."""
    found: dict[str, Any] = {}
    for variant in (*dict.fromkeys(name for name, _ in whole), "all"):
        places = [place for place in whole if variant in (place[0], "all")]
        said = [(whole[place]["suggestion"], other[place]["suggestion"]) for place in places if whole[place].get("suggestion")]
        found[variant] = {
            "answers": len(places),
            "same_text": sum(whole[place]["raw"] == other[place]["raw"] for place in places) / len(places),
            "judged": len(said),
            "judged_otherwise": sum(one != two for one, two in said),
            "whole": dict(Counter(one for one, _ in said)),
            "other": dict(Counter(two for _, two in said)),
        }
    return found


# --- all of it


def report_ways(what: str, ways: Mapping[str, Mapping[str, float]]) -> None:
    first = ways["int8"]["ms"]
    print(f"\n{what}")
    for name, one in ways.items():
        error = f"   error {one['error']:.4f}" if "error" in one else ""
        print(f"  {name:<26}{one['ms']:>9.1f} ms   {one['ms'] / first:>6.2f} x int8{error}", flush=True)


def report_answers(found: Mapping[str, Any]) -> None:
    for kind, by_variant in found["others"].items():
        print(f"\n{kind} beside fp32, {found['probes']} probes, at most {found['max_new_tokens']} new tokens")
        for variant, one in by_variant.items():
            print(f"  {variant:<9}{one['answers']:>5} answers, {one['same_text']:>6.1%} the same; "
                  f"{one['judged_otherwise']} of {one['judged']} judged otherwise")  # fmt: skip
            print(f"    whole {one['whole']}\n    {kind} {one['other']}", flush=True)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    if args.threads:
        torch.set_num_threads(args.threads)
    result: dict[str, Any] = {"base": args.base, "tokens": TOKENS}
    if {"products", "steps"} & set(args.parts):
        weights = weights_by_input(args.base)
        if "products" in args.parts:
            result["products"] = products(list(weights.values()), args.rows)
        if "steps" in args.parts:
            result["steps"] = steps(args, weights)
    if "answers" in args.parts:
        result["answers"] = answers(args)
        report_answers(result["answers"])
    if "llama" in args.parts:
        result["llama"] = llama_peer.measure(args.base, [count for count in args.rows if count <= 32], args.repeats)
    base = load_base(args.base, device="cpu", dtype="fp32", say=lambda _line: None)
    result["machine"] = machine(base.model) | {"cpu": cpu()}
    print(f"\n{result['machine']['cpu']}, {result['machine']['device']}, torch {torch.__version__}")
    return result


def words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=DEFAULT_BASE)
    parser.add_argument("--parts", type=words, default=["products", "steps"], help=f"of {', '.join(PARTS)}")
    parser.add_argument("--rows", type=lambda text: [int(word) for word in words(text)], default=list(COUNTS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--probes", type=int, default=40)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--others", type=words, default=["int8"], help=f"of {', '.join(OTHERS)}, for the answers")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    args = parser.parse_args(argv)
    for given, known in ((args.parts, PARTS), (args.others, tuple(OTHERS))):
        if odd := [word for word in given if word not in known]:
            parser.error(f"{odd[0]} is not known; there is {', '.join(known)}")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        result = measure(args)
    except UserError as error:
        sys.exit(str(error))
    if args.json:
        write_json(args.json, json.loads(json.dumps(result)))


if __name__ == "__main__":
    main()
