"""The results as a short table."""

from __future__ import annotations

from typing import Any


def show(results: dict[str, Any]) -> None:
    facts = results.get("facts", {})
    if "bandwidth" in facts:
        rate, bandwidth = facts["matmul"], facts["bandwidth"]
        print(
            f"\n{facts['name']}, torch {facts['packages']['torch']}, transformers {facts['packages']['transformers']}, "
            f"peft {facts['packages']['peft']}: copy {bandwidth['copy']:.0f} GB/s, read {bandwidth['read']:.0f} GB/s, "
            f"{rate['dtype']} product {rate['tflops']:.1f} TFLOP/s"
        )
    parity(results.get("parity", {}))
    load(results.get("load", {}))
    decode(results.get("decode", {}))
    prefill(results.get("prefill", {}))
    training(results.get("training", {}))
    for name, part in results.items():
        troubles(name, part)
    print(f"{results.get('seconds', 0):.0f} s in all")


def parity(part: dict[str, Any]) -> None:
    for name in ("fp32", "fp16", "bf16"):
        if "bank_error" in (found := part.get(name, {})):
            wrong = [what for what, right in found["right"].items() if not right]
            print(
                f"parity {name}: bank {found['bank_error']:.1e}, PEFT {found['peft_error']:.1e} from the truth, "
                f"mixed as alone {found['mixed_as_alone']}, sampled alone as in the batch "
                f"{found['sampling']['alone_as_in_the_batch']}: {'ok' if not wrong else 'NOT ok: ' + ', '.join(wrong)}"
            )
    for name, found in part.get("behaviour", {}).items():
        if isinstance(found, dict):
            print(f"{name.replace('_', ' ')}: {'ok' if found.get('ok') else 'NOT ok'}")


def load(part: dict[str, Any]) -> None:
    found = part.get("folder of .bin shards", {})
    if "seconds" in found:
        peak = f", device peak {found['device_peak_gib']:.1f} GiB" if "device_peak_gib" in found else ""
        print(f"load {found['gb']:.1f} GB of .bin shards: {found['seconds']:.1f} s, host {found['host_peak_gib']:.1f} GiB{peak}")


def decode(part: dict[str, Any]) -> None:
    if rows := part.get("rows"):
        print(f"\n{'decode':<28}{'ms a step':>12}{'tokens/s':>12}{'of copy':>10}{'of read':>10}")
    for count, cells in (rows or {}).items():
        for who, cell in cells.items():
            if "step_ms" in cell:
                shares = "".join(f"{cell[f'share_of_{one}']:>10.0%}" for one in ("copy", "read") if f"share_of_{one}" in cell)
                print(f"{count + ' rows ' + who:<28}{cell['step_ms']:>12.2f}{cell['tokens_per_s']:>12.1f}{shares}")
    for label, state in part.get("graphs", {}).items():
        print(f"  {label}: {state}")


def prefill(part: dict[str, Any]) -> None:
    for size, cells in part.items():
        for who, cell in cells.items() if isinstance(cells, dict) else ():
            if isinstance(cell, dict) and "ms" in cell:
                print(f"{'prefill ' + size + ' ' + who:<28}{cell['ms']:>9.1f} ms{cell['tokens_per_s']:>12.0f} tokens/s")


def training(part: dict[str, Any]) -> None:
    for name, cell in part.items():
        if isinstance(cell, dict) and "samples_per_s" in cell:
            print(f"{'training ' + name:<28}{cell['samples_per_s']:>9.1f} samples/s{cell['peak_gib']:>8.1f} GiB peak")
    if part.get("ratios"):
        print(f"  {part['ratios']}; gradient against the plain loop {part.get('gradients', {}).get('relative_error')}")


def troubles(name: str, part: Any) -> None:
    """What failed and what was left out, wherever in the results it is."""
    if not isinstance(part, dict):
        return
    for key in ("error", "skipped"):
        if key in part:
            print(f"{name}: {key}: {part[key]}")
    for inner, one in part.items():
        troubles(f"{name}, {inner}", one)
