"""Adapters as other trainers save them: their tensors' names, their bases' names, their folders."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import edit_json, tiny_llama, write_adapter

from engine import EngineError
from engine.adapter_keys import fold
from engine.adapters import find_misfit, read_adapter
from engine.bank import Bank
from tuning import legacy

OWN = "base_model.model.model."
NAMES = {
    "twice": lambda key: "base_model.model." + key,
    "data parallel": lambda key: "module." + key,
    "data parallel inside": lambda key: key.replace("base_model.model.", "base_model.model.module."),
    "without PEFT's": lambda key: key.removeprefix("base_model.model."),
    "of the bare layers": lambda key: key.removeprefix(OWN),
    "language model inside": lambda key: key.replace(OWN, OWN + "language_model."),
    "language model outside": lambda key: key.replace(OWN, "base_model.model.language_model.model."),
    "text model": lambda key: key.replace(OWN, "model.text_model."),
    "compiled": lambda key: "_orig_mod." + key.replace(".layers.", "._orig_mod.layers."),
    "fsdp": lambda key: "_fsdp_wrapped_module." + key.replace(".self_attn.", "._fsdp_wrapped_module.self_attn."),
    "recomputed": lambda key: key.replace(".self_attn.", "._checkpoint_wrapped_module.self_attn."),
    "deepspeed, named": lambda key: "_forward_module." + key.replace(".weight", ".finance.weight"),
}


def rename(folder, change):
    file = folder / "adapter_model.safetensors"
    save_file({change(key): tensor for key, tensor in load_file(file).items()}, file)
    return folder


@pytest.fixture
def adapter(tmp_path):
    return write_adapter(tmp_path / "adapter", alpha_pattern={"layers.1.self_attn.q_proj": 3})


@pytest.mark.parametrize("change", NAMES.values(), ids=NAMES)
def test_what_wrappers_put_before_a_name_is_folded_in(adapter, change):
    bank = Bank(tiny_llama())
    wanted = bank.check("a", read_adapter(adapter)[1])
    found = bank.check("a", read_adapter(rename(adapter, change))[1])
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name].a, pair.a) and torch.equal(found[name].b, pair.b) for name, pair in wanted.items())
    bank.add("a", read_adapter(adapter)[1])  # under the model's own names: it is heard
    with bank.hearing([{"a": 1.0}]), torch.inference_mode():
        heard = bank.model(torch.tensor([[1, 7, 8]])).logits
    assert not torch.equal(heard, tiny_llama()(torch.tensor([[1, 7, 8]])).logits)


def test_layers_of_another_tower_or_another_model_are_not_folded_in(adapter):
    bank = Bank(tiny_llama())
    for change in (
        lambda key: key.replace(OWN, OWN + "vision_tower."),
        lambda key: key.replace("layers.2", "layers.7"),
        lambda key: key.replace(OWN, "base_model.model.encoder."),
    ):
        weights = read_adapter(rename(adapter, change))[1]
        with pytest.raises(EngineError, match="belongs to another base: it changes .* which is not in this model"):
            bank.check("a", weights)
    same = "model.layers.0.q"
    assert fold([same], [same, "language_model.layers.0.q"]) == {same: same}
    assert fold(["layers.0.q"], ["model.layers.0.q", "language_model.layers.0.q"]) == {}


def test_one_layer_under_two_names_is_refused(adapter):
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"module." + key: tensor.clone() for key, tensor in tensors.items()}, file)
    with pytest.raises(EngineError, match="twice"):
        read_adapter(adapter)
    save_file(tensors | {key.replace(OWN, OWN + "language_model."): tensor.clone() for key, tensor in tensors.items()}, file)
    with pytest.raises(EngineError, match="holds model.layers.* twice, once as model.language_model"):
        Bank(tiny_llama()).add("a", read_adapter(adapter)[1])


def test_a_divided_model_saved_without_gathering_is_named(adapter):
    file = adapter / "adapter_model.safetensors"
    save_file({key: tensor[:0] for key, tensor in load_file(file).items()}, file)
    with pytest.raises(EngineError, match="24 tensors are without any numbers.*ZeRO-3.*gathered"):
        read_adapter(adapter)


@pytest.mark.parametrize("ending", ["-bnb-4bit", "-unsloth-bnb-4bit", "-GPTQ-Int4", "-AWQ", "-4bit", "-FP8-dynamic", ""])
def test_a_quantised_copys_adapter_fits_the_plain_base(adapter, ending):
    edit_json(adapter / "adapter_config.json", base_model_name_or_path=f"someone/Llama-3-8B{ending}")
    info, _ = read_adapter(adapter)
    assert find_misfit(info, "llama-3-8b", "aaaa", ()) is None
    assert find_misfit(info, "folder", "aaaa", ("Llama-3-8B-bnb-4bit",)) is None
    assert "trained on" in find_misfit(info, "llama-3-70b", "aaaa", ())
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="someone/llama-3-8b-instruct-bnb-4bit")
    assert "trained on" in find_misfit(read_adapter(adapter)[0], "llama-3-8b", "aaaa", ())


def test_adapters_in_other_programs_forms_are_named(adapter, tmp_path):
    mlx = tmp_path / "mlx"
    mlx.mkdir()
    said = "is an adapter in mlx-lm's form, which is not PEFT's: .*mlx_lm.fuse"
    (mlx / "adapters.npz").write_bytes(b"PK")
    with pytest.raises(EngineError, match=said):
        read_adapter(mlx)
    (mlx / "adapter_config.json").write_text(json.dumps({"fine_tune_type": "lora", "num_layers": 2, "model": "base"}))
    with pytest.raises(EngineError, match=said):
        read_adapter(mlx)
    key = "model.layers.0.self_attn.q_proj.lora_"
    save_file({key + "a": torch.ones(64, 8), key + "b": torch.ones(8, 64)}, adapter / "adapter_model.safetensors")
    with pytest.raises(EngineError, match=said):
        read_adapter(adapter)
    (tmp_path / "lit").mkdir()
    (tmp_path / "lit" / "lit_model.pth.lora").write_bytes(b"x")
    with pytest.raises(EngineError, match="LitGPT's form"):
        read_adapter(tmp_path / "lit")
    save_file({"model.norm.weight": torch.ones(64)}, adapter / "adapter_model.safetensors")
    with pytest.raises(EngineError, match=r"holds no LoRA weights: its 1 tensors have other names \(model.norm.weight"):
        read_adapter(adapter)


def test_an_adapter_one_folder_deeper_and_one_in_parts_are_named(adapter, tmp_path):
    with pytest.raises(EngineError, match="is not an adapter itself, it holds adapter; name the one that is meant"):
        read_adapter(tmp_path)
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model-00001-of-00002.safetensors")
    with pytest.raises(EngineError, match=r"there is adapter_model-00001-of-00002.safetensors; join the parts"):
        read_adapter(adapter)


def test_the_original_checkpoints_names_are_folded_in_too(adapter, tmp_path):
    run = tmp_path / "checkpoint-20"
    run.mkdir()
    tensors = load_file(adapter / "adapter_model.safetensors")
    torch.save({"module." + key: tensor for key, tensor in tensors.items()}, run / "pytorch_model.bin")
    assert legacy.convert(run, tmp_path / "converted", alpha=16).is_dir()
    assert load_file(tmp_path / "converted" / "adapter_model.safetensors").keys() == tensors.keys()
    (run / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\nsize 9\n")
    with pytest.raises(EngineError, match="pytorch_model.bin is a Git LFS pointer"):
        legacy.convert(run, tmp_path / "again", alpha=16)


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin", "card.json"])
@pytest.mark.parametrize(
    ("content", "said"),
    [(b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"), (b"<!DOCTYPE html>", "HTML page"), (b"", "is empty")],
)
def test_an_adapters_files_that_are_not_what_they_seem(adapter, file, content, said):
    if file.endswith(".bin"):
        (adapter / "adapter_model.safetensors").unlink()
    (adapter / file).write_bytes(content)
    with pytest.raises(EngineError, match=f"{file} is .*{said.removeprefix('is ')}"):
        read_adapter(adapter)
