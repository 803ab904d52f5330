"""Whether the engine computes on this device what it should: a small random model in fp32, fp16 and bf16.

The truth is PEFT in fp32 on the CPU, one row after another, with the very weights that the format under test holds (rounding
them is the format's choice and nobody's error). Beside it stands PEFT in the same format on the same device, one by one.

Which tolerance is right: in fp32 a relative error of 1e-4, as everywhere in this project; TF32, which torch leaves off, would
show here. In 16 bits no fixed number says much. Each of the about twelve roundings of a layer adds an error of up to
u = 2^-11 (fp16) or 2^-8 (bf16), of random sign, so that after L layers a relative error near u sqrt(12 L) is what correct
arithmetic has: 0.3 % and 3 % for four layers. What can be asked of the bank is to be no further from the truth than PEFT's own
arithmetic is on the same device. So the bank's error may be twice PEFT's (two sums in another order differ by no more than
a few tens of per cent; a wrong scale, mask or position costs far more), and both must be below 4 u sqrt(12 L), lest they be wrong
together. Bank and PEFT are two such results, so they differ by at most the sum of their errors.

Greedy choices are compared by what they cost and not by whether they are the same: two logits that are closer than the rounding
may change places, and from there on two texts differ that are both right. So the truth reads every answer, and where it would
have chosen otherwise, its own logit may be ahead by no more than twice the largest error of a logit (one error for each of the
two), with a factor of two for the other order of sums in a batch. In fp32 a mixed batch and each row alone must agree token for
token, and sampled rows must not depend on their batch (but for ties: `behaviour`). In 16 bits the share that agrees is reported:
other batch sizes take other kernels there, which sum in another order. The same batch asked twice must give the same, in every
format.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from bench.gpu import models
from bench.gpu.behaviour import check_behaviour, check_sampling
from bench.gpu.driving import drive, graph_state, random_rows
from bench.gpu.session import Session
from bench.side_by_side import make_adapters
from engine import engine as engine_room
from engine.decode import Row
from engine.device import DTYPES
from engine.engine import Engine

HEARD = (None, "v0", "v1", "v2", "v3", None, "v1", "v2")
LENGTHS = (17, 40, 23, 31, 12, 33, 28, 40)
NEW, FEW_NEW = 32, 8
ROUNDINGS = 12  # of a layer, about: seven products, two norms, rotation, softmax, two sums, activation
FP32 = 1e-4
UNIT = {"fp32": 2**-24, "fp16": 2**-11, "bf16": 2**-8}  # half the distance between 1 and the next number


def run(session: Session) -> dict[str, Any]:
    place = session.results.setdefault("parity", {})
    folder = models.write_small(session.folder / "small", session)
    for name in DTYPES:
        session.attempt(place, name, lambda name=name: of_dtype(session, folder, name), needs=8 if session.on_gpu else 0)
        session.say(f"parity {name}: {verdict(place[name])}")
    session.attempt(place, "behaviour", lambda: check_behaviour(session, folder, session.folder / "adapters-fp32"))
    session.say(f"out of memory, parking, refusal: {verdict(place['behaviour'])}")
    place["ok"] = all(part.get("ok") is True for part in place.values() if isinstance(part, dict))
    return place


def verdict(found: dict[str, Any]) -> str:
    return "ok" if found.get("ok") else f"NOT ok: {found.get('error') or found.get('skipped') or 'see the JSON file'}"


def of_dtype(session: Session, folder: Path, name: str) -> dict[str, Any]:
    engine = engine_room.load(str(folder), format="bayling", device=str(session.device), dtype=name, say=lambda _line: None)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[name]).to(session.device).eval()
    wrapped, adapters = make_adapters(plain, 4, session.folder / f"adapters-{name}")
    for path in adapters:
        engine.add_adapter(path, accept_other_base=True)
    truth = copy.deepcopy(wrapped).float().cpu()
    vocabulary, new = engine.base.model.config.vocab_size, NEW if session.on_gpu else FEW_NEW

    rows = random_rows(LENGTHS, HEARD, vocabulary, new)
    drive(engine, rows, session)
    again = random_rows(LENGTHS, HEARD, vocabulary, new)
    drive(engine, again, session)
    alone = random_rows(LENGTHS, HEARD, vocabulary, new)
    for row in alone:
        drive(engine, [row], session)

    found = errors(engine, wrapped, truth, rows, name)
    found |= costs(truth, {"mixed": rows, "again": again, "alone": alone}, found["logit_error"])
    same = [row.new_ids == other.new_ids for row, other in zip(again, alone, strict=True)]
    found["mixed_as_alone"] = f"{sum(same)} of {len(same)}"
    found["sampling"] = check_sampling(engine, exact=name == "fp32", new=new)
    found["cuda_graphs"] = graph_state(engine)
    found["right"] |= {
        "mixed_as_alone": all(same) or name != "fp32",
        "choices": max(found["choice_costs"].values()) <= found["logit_tolerance"],
        "mean_logprob": found["logprob_error"] <= found["logit_tolerance"],
        "sampling": found["sampling"]["ok"],
    }
    return found | {"ok": all(found["right"].values())}


# --- errors of numbers


def errors(engine: Engine, wrapped: PeftModel, truth: PeftModel, rows: Sequence[Row], name: str) -> dict[str, Any]:
    """Relative errors over all logits of all rows, prompt and answer, in one mixed, left-padded batch of the bank."""
    ours = bank_logits(engine, rows)
    true = [peft_logits(truth, row) for row in rows]
    theirs = [peft_logits(wrapped, row) for row in rows]
    layers = engine.base.model.config.num_hidden_layers
    bank, peft, apart = relative(ours, true), relative(theirs, true), relative(ours, theirs)
    worst = max(float((one - other).abs().max()) for got in (ours, theirs) for one, other in zip(got, true, strict=True))
    expected = UNIT[name] * math.sqrt(ROUNDINGS * layers)
    tolerance = FP32 if name == "fp32" else 2 * peft
    sound = FP32 if name == "fp32" else 4 * expected
    return {
        "bank_error": bank,
        "peft_error": peft,
        "bank_against_peft": apart,
        "tolerance": tolerance,
        "error_expected_of_rounding": expected,
        "logit_error": worst,
        "right": {
            "bank": bank <= tolerance,
            "both_sound": max(bank, peft) <= sound,
            "bank_against_peft": apart <= bank + peft + 1e-9,
            "adapters_matter": relative([true[0]], [peft_logits(truth, rows[0], "v0")]) > 0.05,
        },
    }


def bank_logits(engine: Engine, rows: Sequence[Row]) -> list[torch.Tensor]:
    """(tokens, vocabulary) per row, fp32 on the CPU."""
    wholes = [row.ids + row.new_ids for row in rows]
    length, device = max(map(len, wholes)), engine.base.device
    ids = torch.tensor([[0] * (length - len(whole)) + whole for whole in wholes], device=device)
    mask = torch.tensor([[0] * (length - len(whole)) + [1] * len(whole) for whole in wholes], device=device)
    with torch.inference_mode(), engine.lock, engine.bank.hearing([row.adapters for row in rows]):
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits = engine.base.model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    return [logits[at, length - len(whole) :].float().cpu() for at, whole in enumerate(wholes)]


def peft_logits(model: PeftModel, row: Row, adapter: str | None = None) -> torch.Tensor:
    """The same by PEFT, this row alone. adapter: in place of the row's own."""
    name = adapter or next(iter(row.adapters), None)
    if name:
        model.set_adapter(name)
    ids = torch.tensor([row.ids + row.new_ids], device=model.device)
    with torch.inference_mode(), nullcontext() if name else model.disable_adapter():
        return model(input_ids=ids, use_cache=False).logits[0].float().cpu()


def relative(got: Sequence[torch.Tensor], true: Sequence[torch.Tensor]) -> float:
    one, other = torch.cat(list(got)), torch.cat(list(true))
    return float((one - other).norm() / other.norm())


# --- errors of choices


def costs(truth: PeftModel, answers: dict[str, list[Row]], logit_error: float) -> dict[str, Any]:
    """By how much the truth would rather have chosen otherwise, in logits, at worst; and how far log-probabilities are off."""
    worst, logprobs = dict.fromkeys(answers, 0.0), []
    for kind, rows in answers.items():
        for row in rows:
            logits = peft_logits(truth, row)[len(row.ids) - 1 : -1]
            chosen = logits.gather(1, torch.tensor(row.new_ids)[:, None])[:, 0]
            worst[kind] = max(worst[kind], float((logits.max(-1).values - chosen).max()))
            logprobs.append(abs(float((chosen - logits.logsumexp(-1)).sum()) - row.logprob) / len(row.new_ids))
    tolerance = 4 * logit_error
    return {
        "choice_costs": worst,
        "logprob_error": max(logprobs),
        "logit_tolerance": tolerance,
    }
