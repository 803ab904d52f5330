"""An adapter that would do nothing, or something else than it says, is refused in one sentence."""

from __future__ import annotations

import json
import os
import pickle

import pytest
import torch
from tiny import edit_json, edit_weights, tiny_llama, write_adapter

from engine import EngineError
from engine.adapters import find_misfit, read_adapter


@pytest.fixture
def adapter(tmp_path):
    return write_adapter(tmp_path / "adapter")


def refused(folder, match: str) -> None:
    with pytest.raises(EngineError, match=match) as refusal:
        read_adapter(folder)
    assert "\n" not in str(refusal.value)


def test_what_is_known_of_an_adapter(adapter):
    (adapter / "card.json").write_text(json.dumps({"format": "bayling", "base": "smollm2", "base_hash": "abc", "steps": 90}))
    info, weights = read_adapter(adapter)
    assert (info.name, info.rank, info.format, info.base_hash) == ("adapter", 8, "bayling", "abc")
    assert info.targets == ("k_proj", "o_proj", "q_proj", "v_proj") and info.card["steps"] == 90
    assert info.parameters == sum(pair.a.numel() + pair.b.numel() for pair in weights.values())


def test_the_hash_is_of_the_weights_and_their_scaling(adapter, tmp_path):
    first = read_adapter(adapter)[0].hash
    os.rename(adapter, tmp_path / "elsewhere")
    assert read_adapter(tmp_path / "elsewhere")[0].hash == first
    edit_json(tmp_path / "elsewhere" / "adapter_config.json", lora_alpha=32)
    assert read_adapter(tmp_path / "elsewhere")[0].hash != first


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (dict(use_dora=True), "DoRA"),
        (dict(modules_to_save=["lm_head"]), "modules_to_save: lm_head"),
        (dict(bias="all"), "trains biases"),
        (dict(lora_bias=True), "low-rank pairs have biases"),
        (dict(trainable_token_indices=[1, 2]), "token embeddings"),
        (dict(peft_type="IA3"), "only LORA adapters"),
        (dict(init_lora_weights="pissa_niter_4"), "relative to a changed base"),
        (dict(alora_invocation_tokens=[1, 2]), "invocation tokens"),
        (dict(lora_alpha="16"), "lora_alpha is '16'"),
        (dict(alpha_pattern=["q_proj"]), "alpha_pattern is"),
    ],
)
def test_what_does_not_fit_a_low_rank_pair_is_refused(adapter, change, sentence):
    edit_json(adapter / "adapter_config.json", **change)
    refused(adapter, sentence)


def test_an_embedding_adapter_is_refused(tmp_path):
    refused(write_adapter(tmp_path / "embedding", target_modules=["embed_tokens"]), "no LoRA weight of a linear layer")


def test_an_adapter_that_does_nothing_is_refused(adapter):
    edit_weights(adapter, lambda name, tensor: torch.zeros_like(tensor) if "lora_B" in name else tensor)
    refused(adapter, "all zero")


def test_an_empty_adapter_file_is_refused(adapter):
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({}, adapter / "adapter_model.bin")  # the well-known 443 bytes
    refused(adapter, "is empty")


def test_nan_is_refused(adapter):
    edit_weights(adapter, lambda name, tensor: tensor * float("nan") if "layers.1" in name else tensor)
    refused(adapter, "NaN")


def test_half_a_pair_is_refused(adapter):
    edit_weights(adapter, lambda name, tensor: None if "layers.1.self_attn.q_proj.lora_A" in name else tensor)
    refused(adapter, "no matching pair")


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "adapter_model.bin"])
def test_a_truncated_file_is_refused(adapter, file):
    whole = adapter / "adapter_model.safetensors"
    if file.endswith(".bin"):
        torch.save({"x": torch.ones(1000)}, adapter / file)
        whole.unlink()
    path = adapter / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(adapter, "truncated")


def test_a_file_with_program_code_is_refused_and_not_run(adapter, tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    (adapter / "adapter_model.safetensors").unlink()
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps({"weights": Payload()}))
    refused(adapter, "holds program code")
    assert not (tmp_path / "owned").exists()


def test_a_folder_without_an_adapter_says_what_is_there(tmp_path):
    refused(tmp_path / "nowhere", "is not a folder")
    (tmp_path / "notes.txt").write_text("hello", encoding="utf-8")
    refused(tmp_path, "adapter_config.json is missing; there is .*notes.txt")
    (tmp_path / "adapter_config.json").write_text("{not json")
    refused(tmp_path, "not readable as JSON")
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 8}')
    refused(tmp_path, "holds no weights")


def test_the_recorded_base_decides_whose_an_adapter_is(tmp_path):
    model = tiny_llama()

    def misfit(base: str, **card):
        folder = write_adapter(tmp_path / f"a{len(list(tmp_path.iterdir()))}", model, base=base)
        (folder / "card.json").write_text(json.dumps(card))
        return find_misfit(read_adapter(folder)[0], "bayling-7b", "aaaa", ("BayLing-7B", "cache-folder"))

    assert misfit("") is None
    assert misfit("/models/BayLing-7B/") is None
    assert misfit(r"C:\models\bayling-7b") is None
    assert misfit("ICTNLP/cache-folder") is None
    assert "trained on 'huggyllama/llama-7b'" in misfit("huggyllama/llama-7b")
    assert misfit("renamed", base_hash="aaaa") is None
    assert "weights bbbb" in misfit("BayLing-7B", base_hash="bbbb")
