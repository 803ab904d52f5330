"""Fine-tuning on short identity rows: the project's trainer beside its peers, in one run on one machine.

    python -m pip install -r requirements-bench.txt
    python -m bench.training --json runs/training.json
    python -m bench.training --shape 7b          # random weights of LLaMA-7B's shape, for a GPU

200 identity rows in BayLing's format, LoRA r=8 on q,k,v,o, the very same tokens and the same number format for all, and
the original's 100 rows per optimizer step (--batch): ours (shared-prefix packing, through Hugging Face's Trainer), TRL's
SFTTrainer padded and packed, and the plain loop of alpaca-lora (padded, logits at every position, its micro batches of 25).
Then the original's singular data, 100 rows per step, ours and plain. Each contender has a process of its own, so that its
peak memory is its own; of each the first step only warms up.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from transformers import TrainerCallback, TrainingArguments
from transformers.utils import logging as transformers_logging

import identities
from bench.side_by_side import machine, random_7b
from common.files import write_json
from engine import EngineError, bases, formats
from engine.device import choose_device, choose_dtype
from tuning.dataset.generate import generate
from tuning.train.batches import Batches, pack_batch, schedule
from tuning.train.loss import loss_of_pack
from tuning.train.run_files import Journal, StopSign
from tuning.train.run_memory import CPU_PACK, GPU_PACK
from tuning.train.samples import Sample, make_sampler
from tuning.train.trainer import PackedTrainer

ROWS = 200
BATCH = 100  # rows per optimizer step, as in the original
MICRO = 25  # rows of the plain loop's passes, as in the original
TRL_MICRO = 10  # TRL's own default is 8, which does not divide 100; 25 is slower
RATE = 1e-4
CONTENDERS = ("ours", "trl padded", "trl packed", "plain", "ours singular", "plain singular", "gradients")


def load(shape: str, device: str | None, dtype: str | None):
    """(model, tokenizer) in the number format that the trainer would choose."""
    place, _ = choose_device(device)
    kind, _ = choose_dtype(place, dtype)
    names = {value: key for key, value in (("fp32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16))}
    base = bases.load_base("smollm2", device="cpu" if shape == "7b" else device, dtype=names[kind], say=lambda _line: None)
    model = random_7b(place, kind) if shape == "7b" else base.model
    model.config.use_cache = False
    return model, base.tokenizer


def samples_of(style: str, count: int, tokenizer, vocabulary: int) -> list[Sample]:
    facts = identities.load(identities.DEFAULT_NEW).facts
    make = make_sampler(tokenizer, formats.get("bayling"), 512)
    made = [make(row) for row in generate(facts, count, style, seed=0)]
    # another vocabulary than the tokenizer's: the same lengths and repetitions, which is what matters here
    return [Sample(tuple(token % vocabulary for token in sample.ids), sample.targets) for sample in made]


def adapted(model, autocast: bool = True):
    torch.manual_seed(0)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"], task_type="CAUSAL_LM")
    return get_peft_model(model, config, autocast_adapter_dtype=autocast)


def arguments(folder: str, steps: int, on_cpu: bool, rows: int = 1, passes: int = 1) -> dict:
    return dict(
        output_dir=folder,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=passes,
        max_steps=steps,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        use_cpu=on_cpu,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=1000,
    )


class Clock(TrainerCallback):
    """When each optimizer step ended; the first one warms up and is not counted."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **rest) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())

    def result(self, samples: int, tokens: int) -> dict:
        """Per second, over the steps after the first."""
        counted = (len(self.ends) - 1) / len(self.ends)
        seconds = self.ends[-1] - self.ends[0]
        return {"samples_per_s": samples * counted / seconds, "tokens_per_s": tokens * counted / seconds, "seconds": seconds}


def ours(model, samples: list[Sample], batch: int, folder: str) -> dict:
    wrapped, clock = adapted(model), Clock()
    steps = max(4, len(samples) // batch)  # whole batches only: every step counts the same
    budget = CPU_PACK if model.device.type == "cpu" else GPU_PACK
    trainer = PackedTrainer(
        wrapped,
        TrainingArguments(**arguments(folder, steps, model.device.type == "cpu"), remove_unused_columns=False),
        train=Batches(samples, schedule(len(samples), batch, steps, 0), budget, "tree"),
        valid=None,
        loss_of=loss_of_pack(wrapped),
        journal=Journal(None),
        stop=StopSign(Path(folder)),
        per_epoch=steps,
        say=lambda _line: None,
    )
    trainer.add_callback(clock)
    trainer.train()
    return clock.result(steps * batch, tokens_of(samples) * steps * batch // len(samples))


def trl(model, samples: list[Sample], batch: int, folder: str, packing: bool) -> dict:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [{"input_ids": list(one.ids), "completion_mask": [int(wanted) for wanted in one.targets]} for one in samples]
    clock = Clock()
    # packed, a row of 512 tokens holds several samples: as many rows per step as hold about `batch` samples
    per_step = max(1, round(batch * tokens_of(samples) / len(samples) / 512)) if packing else batch
    micro = min(per_step, 4 if packing else TRL_MICRO)
    settings = arguments(folder, -1, model.device.type == "cpu", micro, per_step // micro) | dict(num_train_epochs=1)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            **settings,
            max_length=512,
            packing=packing,
            completion_only_loss=True,
            bf16=False,
            fp16=False,
            gradient_checkpointing=False,
            dataloader_drop_last=False,
        ),
        train_dataset=Dataset.from_list(rows),
        peft_config=LoraConfig(
            r=8, lora_alpha=16, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"], task_type="CAUSAL_LM"
        ),
        callbacks=[clock],
    )
    trainer.train()
    return clock.result(len(samples), tokens_of(samples))


def padded(samples: Sequence[Sample], device: torch.device) -> dict[str, torch.Tensor]:
    """As alpaca-lora's collator makes it: right padding to a multiple of 8, labels -100 where nothing is learned."""
    width = -(-max(len(sample.ids) for sample in samples) // 8) * 8
    ids = [list(one.ids) + [0] * (width - len(one.ids)) for one in samples]
    mask = [[1] * len(one.ids) + [0] * (width - len(one.ids)) for one in samples]
    labels = [
        [token if wanted else -100 for token, wanted in zip(one.ids, one.targets, strict=True)] + [-100] * (width - len(one.ids))
        for one in samples
    ]
    named = (("input_ids", ids), ("attention_mask", mask), ("labels", labels))
    return {name: torch.tensor(rows, device=device) for name, rows in named}


def plain_loss(model, samples: Sequence[Sample]) -> torch.Tensor:
    """Sum of the token losses of a padded batch, logits at every position."""
    batch = padded(samples, model.device)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float()
    return F.cross_entropy(
        logits[:, :-1].reshape(-1, logits.shape[-1]), batch["labels"][:, 1:].reshape(-1), ignore_index=-100, reduction="sum"
    )


def plain(model, samples: list[Sample], batch: int, folder: str) -> dict:
    wrapped, clock = adapted(model), Clock()
    wrapped.train()
    optimizer = torch.optim.AdamW([p for p in wrapped.parameters() if p.requires_grad], lr=RATE)
    micro = min(MICRO, batch)
    steps = len(samples) // batch
    for numbers in schedule(len(samples), batch, steps, 0):
        labels = sum(samples[at].labels for at in numbers)
        for start in range(0, batch, micro):
            (plain_loss(wrapped, [samples[at] for at in numbers[start : start + micro]]) / labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        clock.on_step_end(None, None, None)
    return clock.result(steps * batch, tokens_of(samples) * steps * batch // len(samples))


def gradients(tokenizer) -> dict:
    """Relative error of our gradient against the plain loop's, fp32 on the CPU, rows repeated and of mixed lengths."""
    model = bases.load_base("smollm2", device="cpu", dtype="fp32", say=lambda _line: None).model
    samples = samples_of("diverse", 6, tokenizer, model.config.vocab_size)
    return {"grad_rel_err": gradient_error(model, samples + samples[:2])}


def gradient_error(model, samples: Sequence[Sample]) -> float:
    """Of our gradient against the plain loop's, relative, for one batch of all samples."""
    wrapped = adapted(model)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:  # zero at the start, where A would have no gradient
            torch.nn.init.normal_(parameter, std=0.02)
    learned = [p for p in wrapped.parameters() if p.requires_grad]
    plain_loss(wrapped, samples).backward()
    expected = torch.cat([p.grad.flatten() for p in learned])
    wrapped.zero_grad()
    loss_of = loss_of_pack(wrapped)
    for pack in pack_batch(samples, 1024, "tree").packs:
        loss_of(pack).backward()
    found = torch.cat([p.grad.flatten() for p in learned])
    return ((found - expected).norm() / expected.norm()).item()


def tokens_of(samples: Sequence[Sample]) -> int:
    return sum(len(sample.ids) for sample in samples)


def one(name: str, args: argparse.Namespace) -> dict:
    """Run one contender in this process."""
    transformers_logging.set_verbosity_error()
    model, tokenizer = load(args.shape, args.device, args.dtype)
    if name == "gradients":
        return gradients(tokenizer)
    singular = name.endswith("singular")
    batch = args.batch
    # the plain loop pays for every row of a batch: two batches say as much as more
    count = (10 if name == "ours singular" else 2) * batch if singular else args.rows
    samples = samples_of("singular" if singular else "diverse", count, tokenizer, model.config.vocab_size)
    run: Callable[[str], dict] = {
        "ours": lambda folder: ours(model, samples, batch, folder),
        "plain": lambda folder: plain(model, samples, batch, folder),
        "trl padded": lambda folder: trl(model, samples, batch, folder, packing=False),
        "trl packed": lambda folder: trl(model, samples, batch, folder, packing=True),
    }[name.removesuffix(" singular")]
    with tempfile.TemporaryDirectory() as folder:
        result = run(folder)
    if model.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux says KiB
    return result | {"peak_gib": peak, "machine": machine(model), "mean_tokens": tokens_of(samples) / len(samples)}


def in_own_process(name: str, args: argparse.Namespace) -> dict:
    options = [f"--{key}={getattr(args, key)}" for key in ("shape", "rows", "batch", "device", "dtype") if getattr(args, key)]
    done = subprocess.run(
        [sys.executable, "-m", "bench.training", "--only", name, *options], capture_output=True, text=True, env=os.environ
    )
    if done.returncode:
        sys.exit(f"{name} failed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def ratios(found: dict[str, dict]) -> dict:
    def speed(name: str) -> float:
        return found[name]["samples_per_s"]

    return {
        "over_trl": round(speed("ours") / max(speed("trl padded"), speed("trl packed")), 2),
        "over_plain": round(speed("ours") / speed("plain"), 2),
        "singular_over_plain": round(speed("ours singular") / speed("plain singular"), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=("base", "7b"), default="base", help="7b: random weights of LLaMA-7B's shape")
    parser.add_argument("--rows", type=int, default=ROWS, help="distinct rows, at least two batches")
    parser.add_argument("--batch", type=int, default=BATCH, help="rows per optimizer step")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--only", choices=CONTENDERS, help="one contender, in this process")
    args = parser.parse_args()
    if args.rows < 2 * args.batch:
        sys.exit(f"--rows is {args.rows}; at least {2 * args.batch} are needed, as the first batch only warms up.")
    try:
        if args.only:
            print(json.dumps(one(args.only, args)))
            return
        found = {}
        for name in CONTENDERS:
            found[name] = in_own_process(name, args)
            if name != "gradients":
                got = found[name]
                print(
                    f"{name:<15}{got['samples_per_s']:>9.2f} samples/s{got['tokens_per_s']:>9.0f} tokens/s"
                    f"{got['peak_gib']:>8.2f} GiB peak",
                    flush=True,
                )
    except EngineError as error:
        sys.exit(str(error))
    result = {
        "machine": found["ours"].pop("machine") | {"trl": version("trl")},
        "contenders": {name: {key: value for key, value in got.items() if key != "machine"} for name, got in found.items()},
        "ratios": ratios(found),
        "grad_rel_err": found["gradients"]["grad_rel_err"],
    }
    print(json.dumps({"ratios": result["ratios"], "grad_rel_err": result["grad_rel_err"]}, indent=1))
    if args.json:
        write_json(args.json, result)


if __name__ == "__main__":
    main()
