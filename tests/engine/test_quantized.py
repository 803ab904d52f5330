"""Int8 weights: what is computed with them, whose answers they are, and where there are none."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from peft import PeftModel
from tiny import SENTENCEPIECES, edit_json, tiny_llama, user, write_adapter, write_bayling_like

import engine as engine_room
from engine import Decoding, EngineError, Request, Variant, quantized, room
from engine.adapters import read_adapter
from engine.bank import Bank
from engine.bases import load_base

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_bayling_like(tmp_path_factory.mktemp("m") / "tiny")


@pytest.fixture(scope="module")
def small(folder):
    return engine_room.load(str(folder), quantize="int8", dtype="fp32", say=lambda _line: None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(64, 96), (50, 33), (3, 7)])
@pytest.mark.parametrize("rows", [1, 40])
def test_a_product_is_that_of_rounded_numbers_and_of_its_row_alone(dtype, shape, rows):
    torch.manual_seed(0)
    weight, x, bias = torch.randn(shape), torch.randn(2, rows, shape[1]).to(dtype), torch.randn(shape[0]).to(dtype)
    weight[1] = 0
    codes, scale = quantized.quantize(weight)
    assert ((codes * scale[:, None] - weight).abs() <= 0.501 * scale[:, None]).all()
    ours = functools.partial(quantized.product, packed=quantized.pack(codes, scale), edge=quantized.edge(shape[1]), bias=bias)
    found, expected = ours(x), x.float() @ weight.T + bias.float()
    assert found.dtype == dtype and found.shape == expected.shape
    assert (found.float() - expected).norm() <= 0.06 * expected.norm()
    x[0] *= 100
    assert torch.equal(ours(x[1, -1:])[0], ours(x)[1, -1]) and torch.equal(ours(x)[1], found[1])
    x[0, 0, 0], x[1, 0] = float("nan"), 0
    assert ours(x)[0, 0].isnan().all() and torch.equal(ours(x)[1, 0], bias) and ours(x)[1].isfinite().all()


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@torch.inference_mode()
def test_adapters_stay_whole_beside_int8_weights(tmp_path):
    model, whole = tiny_llama(tie_word_embeddings=True), tiny_llama(tie_word_embeddings=True)
    folders = [write_adapter(tmp_path / name, copy.deepcopy(whole), seed=seed) for seed, name in enumerate("ab", 1)]
    assert quantized.shrink(model, torch.float32) == 22 and model.dtype == torch.float32
    assert torch.equal(model.get_input_embeddings().weight, whole.get_input_embeddings().weight)
    bank = Bank(model)
    together = sorted(len(group.names) for group in bank.groups)
    assert together == [1] * 7 + [2] * 3 + [3] * 3  # q, k, v are one product, and gate, up
    for path in folders:
        bank.add(path.name, read_adapter(path)[1])
    ids = torch.randint(3, 500, (3, 9), generator=torch.Generator().manual_seed(5))
    with bank.hearing([{}, {"a": 1.0}, {"b": 1.0}]):
        found = model(ids).logits
    peers = [PeftModel.from_pretrained(copy.deepcopy(whole), path) if path else whole for path in (None, *folders)]
    right = [peer(ids).logits[row] for row, peer in enumerate(peers)]
    assert max(apart(found[row], right[row]) for row in range(3)) < 0.2
    assert min(apart(found[row], whole(ids).logits[row]) for row in (1, 2)) > 0.5
    bank.remove("a")
    with Bank(model).hearing([{}] * 3):  # a second one over the same layers
        assert apart(model(ids).logits[0], found[0]) < 0.02
    bank = Bank(model)
    bank.add("b", read_adapter(folders[1])[1])
    with bank.hearing([{"b": 1.0}] * 3):
        assert apart(model(ids).logits[2], found[2]) < 0.02


def test_an_answer_says_it_and_does_not_depend_on_its_neighbours(small, folder, tmp_path):
    name = small.add_adapter(
        write_adapter(tmp_path / "other", tiny_llama(num_key_value_heads=4, vocab_size=SENTENCEPIECES)), accept_other_base=True
    )
    decoding = Decoding(max_new_tokens=12)
    variants = [Variant("base", decoding=decoding), Variant("taught", adapters={name: 1.0}, decoding=decoding)]
    asked = [Request(user("Who are you?"), variant) for variant in variants]
    together = small.answer(asked)
    assert [one.raw for one in together] == [small.answer([one])[0].raw for one in asked]
    assert together[0].raw != together[1].raw
    assert [one.variant.name for one in together] == ["base (int8)", "taught (int8)"]
    assert together[0].hashes["dtype"] == small.base.number_format == "int8 (float32)"
    whole = engine_room.load(str(folder), dtype="fp32", say=lambda _line: None)
    assert whole.base.hash == small.base.hash  # the same model, whatever its weights are held in
    assert whole.answer(asked[:1])[0].hashes["dtype"] == "float32" and whole.base.named("base") == "base"
    held = sum(tensor.nbytes for tensor in small.base.model.parameters())
    assert held < 0.6 * sum(tensor.nbytes for tensor in whole.base.model.parameters())


@pytest.mark.parametrize(
    ("kind", "device", "capability", "package", "said"),
    [
        ("nf4", CPU, None, True, "needs a CUDA GPU, and the device is cpu; --quantize int8 runs there"),
        ("int4", CPU, None, True, "is unknown; use int8 or nf4"),
        ("int8", torch.device("mps"), None, True, "runs on a CUDA GPU or the CPU, and the device is mps"),
        ("int8", GPU, (7, 0), True, "needs compute capability 7.5, and a V100 has 7.0; --quantize nf4 runs there"),
        ("nf4", GPU, (5, 2), True, "needs compute capability 6.0, and a V100 has 5.2; leave it out"),
        ("int8", GPU, (8, 0), False, "needs the package bitsandbytes on a GPU: install it"),
        ("nf4", GPU, (7, 0), True, ""),
        ("int8", GPU, (7, 5), True, ""),
        ("int8", CPU, None, False, ""),
    ],
)
def test_where_there_are_none_it_is_said(kind, device, capability, package, said, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "a V100")
    monkeypatch.setattr(quantized.importlib.util, "find_spec", lambda _name: object() if package else None)
    problem = quantized.problem_of(kind, device)
    assert said in problem if said else problem == ""


def test_a_cpu_without_the_product_is_told_so(folder, monkeypatch):
    monkeypatch.setattr(quantized, "cpu_multiplies", lambda: False)
    with pytest.raises(EngineError, match="has no int8 product for this CPU; leave it out"):
        load_base(str(folder), quantize="int8", device="cpu")


def test_what_is_too_large_or_quantised_already_is_refused_before_it_is_read(folder, tmp_path, monkeypatch):
    other = write_bayling_like(tmp_path / "other")
    edit_json(other / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(EngineError, match=r"other is quantised already \(gptq\); leave --quantize out"):
        load_base(str(other), quantize="int8", device="cpu")
    weights = room.weights_of(folder)
    half = int(weights.numbers * 2 * room.BESIDE)  # as they are stored; whole in fp32 it would be twice that
    monkeypatch.setattr(room, "free_bytes", lambda _device: half)
    assert load_base(str(folder), quantize="int8", dtype="fp32", device="cpu", say=lambda _line: None).quantized == "int8"
    monkeypatch.setattr(room, "free_bytes", lambda _device: half - 1)
    with pytest.raises(EngineError, match="for int8 it needs about .* which it takes while it is read, and"):
        load_base(str(folder), quantize="int8", dtype="fp32", device="cpu", say=lambda _line: None)


def test_a_base_that_bitsandbytes_holds_is_not_parked(small, monkeypatch):
    small.park("a job trains")  # on the CPU there is nothing to move
    small.unpark()
    base = copy.copy(small.base)
    object.__setattr__(base, "device", GPU)
    monkeypatch.setattr(small, "base", base)
    with pytest.raises(EngineError, match="is in int8 and stays on cuda:0; start without --quantize"):
        small.park("a job trains")
