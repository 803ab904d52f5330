"""What cannot be resident beside others is merged, as PEFT merges it: embeddings, new tokens, DoRA, under any key names."""

from __future__ import annotations

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tiny import edit_weights, tiny_llama, write_adapter
from tiny_base import write_tiny_base
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine import EngineError, load as load_engine
from engine.adapters import Unfit, read_adapter
from tuning.merge import merge

IDS = torch.tensor([[1, 40, 41, 42, 50, 300]])
EMBEDDINGS, HEAD = "base_model.model.model.embed_tokens.weight", "base_model.model.lm_head.weight"


def silent(_text: str) -> None:
    pass


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_tiny_base(tmp_path_factory.mktemp("whole") / "base")


def beside(folder, rows: int | None = None):
    """Embeddings and head saved beside the pairs, as PEFT does when tokens were added."""
    file, model = folder / "adapter_model.safetensors", tiny_llama(seed=5)
    if rows:
        model.resize_token_embeddings(rows, mean_resizing=False)
    own = {EMBEDDINGS: model.model.embed_tokens.weight, HEAD: model.lm_head.weight}
    save_file(load_file(file) | {key: tensor.detach().clone() for key, tensor in own.items()}, file)
    return folder


def larger(base, folder, **settings):
    """An adapter of a base with two tokens more, its own tokenizer beside it."""
    model = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(514, mean_resizing=False)
    write_adapter(folder, model, base="base", **settings)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["<mira>", "<guide>"])
    tokenizer.save_pretrained(folder)
    return folder


KINDS = {
    "dora": lambda base, folder: write_adapter(folder, base="base", use_dora=True),
    "modules_to_save": lambda base, folder: write_adapter(folder, base="base", modules_to_save=["embed_tokens", "lm_head"]),
    "embeddings beside": lambda base, folder: beside(write_adapter(folder, base="base")),
    "new tokens beside": lambda base, folder: beside(write_adapter(folder, base="base"), 514),
    "new tokens": lambda base, folder: larger(base, folder, modules_to_save=["embed_tokens", "lm_head"]),
    "adapted embeddings": lambda base, folder: write_adapter(folder, base="base", target_modules=["q_proj", "embed_tokens"]),
    "single tokens": lambda base, folder: write_adapter(folder, base="base", trainable_token_indices=[40, 41]),
}


def changed(folder, rows: int):
    """By PEFT alone: the reference."""
    model = tiny_base_of(folder)
    if rows != model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        return PeftModel.from_pretrained(model, folder).eval()(IDS).logits


def tiny_base_of(folder):
    return AutoModelForCausalLM.from_pretrained(folder.parent / "base", dtype=torch.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrapper", ["", "module.", "base_model.model."])
def test_merged_says_what_peft_says(base, tmp_path, kind, wrapper):
    (tmp_path / "base").symlink_to(base)
    folder = KINDS[kind](base, tmp_path / "adapter")
    with pytest.raises(Unfit):
        read_adapter(folder)
    tokenizer_rows = 514 if "new tokens" in kind else 512
    expected = changed(folder, tokenizer_rows)
    if wrapper:
        file = folder / "adapter_model.safetensors"
        save_file({wrapper + key: tensor for key, tensor in load_file(file).items()}, file)
    said: list[str] = []
    made = merge({str(folder): 1.0}, tmp_path / "merged", base=str(base), accept_other_base=True, say=said.append)
    model = AutoModelForCausalLM.from_pretrained(made)
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, expected, atol=1e-4, rtol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(made)
    assert ("<mira>" in tokenizer.get_vocab()) == (kind == "new tokens")
    if "new tokens" in kind:
        assert any("512 rows of the base become 514" in line for line in said)
    assert load_engine(str(made), say=silent).base.model.get_input_embeddings().weight.shape[0] == tokenizer_rows


def test_a_merge_that_moves_nothing_is_refused(base, tmp_path):
    folder = write_adapter(tmp_path / "adapter", base="base", trainable_token_indices=[40])
    edit_weights(folder, lambda name, tensor: torch.zeros_like(tensor) if "lora_B" in name or "delta" in name else tensor)
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    same = AutoModelForCausalLM.from_pretrained(base).model.embed_tokens.weight.detach()[40:41]
    save_file({key: same.clone() if "embed_tokens" in key else tensor for key, tensor in tensors.items()}, file)
    with pytest.raises(EngineError, match="changes nothing in this base"):
        merge({str(folder): 1.0}, tmp_path / "merged", base=str(base), accept_other_base=True, say=silent)
    assert not (tmp_path / "merged").exists()


def test_an_adapter_of_another_base_is_refused(base, tmp_path):
    folder = write_adapter(tmp_path / "adapter", base="organisation/other-7b", use_dora=True)
    with pytest.raises(EngineError, match="belongs to another base: it was trained on 'organisation/other-7b'"):
        merge({str(folder): 1.0}, tmp_path / "merged", base=str(base), say=silent)
    file = folder / "adapter_model.safetensors"
    save_file({key.replace("layers.0", "layers.9"): tensor for key, tensor in load_file(file).items()}, file)
    with pytest.raises(EngineError, match=r"changes model.layers.9.* not in this model"):
        merge({str(folder): 1.0}, tmp_path / "merged", base=str(base), accept_other_base=True, say=silent)
    assert not (tmp_path / "merged").exists()


def test_biases_without_a_place_and_blends_of_such_adapters_get_a_sentence(base, tmp_path):
    folder = write_adapter(tmp_path / "biased", base="base", lora_bias=True)
    with pytest.raises(EngineError, match="layers have no bias in this base"):
        merge({str(folder): 1.0}, tmp_path / "merged", base=str(base), accept_other_base=True, say=silent)
    plain, dora = write_adapter(tmp_path / "plain", base="base"), write_adapter(tmp_path / "dora", base="base", use_dora=True)
    with pytest.raises(EngineError, match="In a blend it has no place; merge it alone"):
        merge({str(plain): 0.5, str(dora): 0.5}, tmp_path / "merged", base=str(base), accept_other_base=True, say=silent)
    with pytest.raises(EngineError, match="only be at strength 1"):
        merge({str(dora): 0.5}, tmp_path / "merged", base=str(base), accept_other_base=True, say=silent)


@pytest.mark.parametrize(
    "settings",
    [
        {"do_sample": False, "temperature": 0.9, "top_p": 0.6},
        {"do_sample": True, "min_p": 0.05},
        {"do_sample": True, "typical_p": 0.9},
        {"num_beams": 1, "length_penalty": 2.0, "early_stopping": True},
        {"penalty_alpha": 0.6, "top_k": 4},
    ],
)
def test_generation_settings_are_kept_and_stop_no_save(base, tmp_path, settings):
    own = write_tiny_base(tmp_path / "own")
    (own / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": 2}))
    folder = write_adapter(tmp_path / "adapter", base="own")
    made = merge({str(folder): 1.0}, tmp_path / "merged", base=str(own), format="chatml", say=silent)
    kept = json.loads((made / "generation_config.json").read_text())
    assert {key: kept[key] for key in settings} == settings
    assert kept["eos_token_id"] == [2, 3, 4]
