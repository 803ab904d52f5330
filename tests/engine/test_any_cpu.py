"""Number formats that a CPU has no arithmetic for go by way of fp32, and that is said. Run on every CPU as on the poorest."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_llama, write_adapter
from tiny_base import write_rows, write_tiny_base
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM

from engine import Decoding, EngineError, Request, Variant, device, load, onednn, widened
from engine.adapters import read_adapter
from engine.bank import Bank
from tuning.merge import merge
from tuning.train import run
from tuning.train.settings import Settings, SettingsError

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.fixture(autouse=True)
def poor_cpu(monkeypatch):
    """A CPU without 16-bit arithmetic, also where there is some."""
    computes = lambda dtype: dtype not in HALVES.values()  # noqa: E731
    for module in (device, widened, onednn):
        monkeypatch.setattr(module, "cpu_computes", computes)
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: False)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = write_tiny_base(tmp_path_factory.mktemp("cpu") / "base")
    write_rows(folder.parent / "rows.json")
    return folder


def test_fp32_is_chosen_and_the_reason_said():
    dtype, why = device.choose_dtype(torch.device("cpu"))
    assert dtype == torch.float32 and "no native bf16 arithmetic" in why


@pytest.mark.parametrize("name", HALVES)
def test_what_is_asked_for_is_taken_and_what_it_costs_said(name):
    dtype, why = device.choose_dtype(torch.device("cpu"), name)
    assert dtype == HALVES[name] and f"no native {name} arithmetic" in why and "slower" in why


@pytest.mark.parametrize("dtype", HALVES.values())
@pytest.mark.parametrize("part", [1 << 20, 100])
def test_products_by_parts_are_the_products(dtype, part, monkeypatch):
    monkeypatch.setattr(widened, "PART", part)
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(*shape).to(dtype) for shape in ((3, 5, 24), (40, 24), (40,)))
    expected = linear(x.float(), weight.float(), bias.float()).to(dtype)
    assert torch.equal(widened.product(x, weight, bias), expected)
    assert widened.product(x.float(), weight).dtype == torch.float32
    gradient = torch.randn(7, 40)
    torch.testing.assert_close(widened.gradient_product(gradient, weight), gradient @ weight.float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", HALVES)
def test_a_mixed_batch_is_fp32_but_for_rounding(tmp_path, name):
    folders = [write_adapter(tmp_path / "one", seed=1), write_adapter(tmp_path / "two", seed=2, target_modules="all-linear")]
    ids, found = torch.randint(5, 500, (3, 12)), []
    for dtype in (HALVES[name], torch.float32):
        bank = Bank(tiny_llama().to(HALVES[name]).to(dtype))
        for at, folder in enumerate(folders):
            bank.add(f"a{at}", read_adapter(folder)[1])
        with bank.hearing([{}, {"a0": 1.0}, {"a1": 0.7}]), torch.inference_mode():
            found.append(bank.model(ids).logits.float())
    assert (found[0] - found[1]).norm() / found[1].norm() < 0.03


@pytest.mark.parametrize("name", HALVES)
def test_chat_answers_and_says_how(base, name):
    said: list[str] = []
    engine = load(str(base), dtype=name, device="cpu", say=said.append)
    answers = engine.answer([Request([{"role": "user", "content": "Who?"}], Variant(decoding=Decoding(max_new_tokens=4)))] * 2)
    assert answers[0].raw == answers[1].raw and engine.base.dtype == HALVES[name]
    assert any(f"dtype {name}: asked for; this CPU has no native {name} arithmetic" in line for line in said)


def test_training_in_bf16_learns_as_in_fp32_and_fp16_is_refused_in_a_sentence(base, tmp_path):
    data = str(base.parent / "rows.json")
    settings = dict(base_model=str(base), data_path=data, batch_size=6, max_steps=4, learning_rate=5e-3, device="cpu")
    losses = {}
    for name in ("bf16", "fp32"):
        folder = run.run(Settings(output_dir=str(tmp_path / name), dtype=name, **settings), say=lambda _: None)
        losses[name] = [line["loss"] for line in run.read_metrics(folder)]
        weights = load_file(folder / "adapter_model.safetensors")
        assert any(tensor.abs().sum() for key, tensor in weights.items() if "lora_B" in key)
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)
    with pytest.raises(SettingsError, match="--dtype fp16 cannot be trained on the CPU; use bf16 or fp32"):
        run.run(Settings(output_dir=str(tmp_path / "fp16"), dtype="fp16", **settings), say=lambda _: None)


@pytest.mark.parametrize("name", HALVES)
def test_merging_writes_what_was_asked_for(base, tmp_path, name):
    folder = write_adapter(tmp_path / "adapter", base="base")
    made = merge({str(folder): 1.0}, tmp_path / "merged", base=str(base), dtype=name, say=lambda _: None)
    assert AutoModelForCausalLM.from_pretrained(made).dtype == HALVES[name]


def test_an_unknown_format_is_one_sentence():
    with pytest.raises(EngineError, match="--dtype 'int4' is unknown; use one of fp32, fp16, bf16"):
        device.choose_dtype(torch.device("cpu"), "int4")
