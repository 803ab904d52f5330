"""Checkpoints in the states in which people have them: named as what they are, or loaded as they should be."""

from __future__ import annotations

import json
import shutil

import gguf
import numpy as np
import pytest
import torch
from tiny import edit_json, tiny_llama, write_adapter, write_bayling_like
from tiny_base import write_rows, write_tiny_base
from transformers.utils.peft_utils import find_adapter_config_file

from engine import EngineError
from engine.bases import load_base
from tuning.apply_delta import apply_delta
from tuning.train import loading, run
from tuning.train.settings import Settings

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 13476838144\n"

LLAMA3 = {  # in Llama 3.2 the positions are scaled already
    "rope_type": "llama3",
    "factor": 32.0,
    "original_max_position_embeddings": 16,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    write_tiny_base(root / "plain")
    write_bayling_like(root / "bayling")
    return root


@pytest.fixture
def copy(made, tmp_path):
    return lambda name: shutil.copytree(made / name, tmp_path / name)


def refusal(folder) -> str:
    with pytest.raises(EngineError) as caught:
        load_base(str(folder), say=lambda _: None)
    return str(caught.value)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_pointers_and_pages_are_named_whatever_the_file(copy, file):
    folder = copy("plain")
    (folder / file).write_text(POINTER)
    assert f"{file} is a Git LFS pointer" in refusal(folder) and "git lfs pull" in refusal(folder)
    (folder / file).write_text("<!DOCTYPE html><html><body>Sign in</body></html>")
    assert f"{file} is an HTML page" in refusal(folder)
    (folder / file).write_bytes(b"")
    assert f"{file} is empty" in refusal(folder)


@pytest.mark.parametrize("file", ["pytorch_model-00001-of-00002.bin", "tokenizer.model", "pytorch_model.bin.index.json"])
def test_the_same_of_bayling_s_own_form(copy, file):
    folder = copy("bayling")
    (folder / file).write_text(POINTER)
    assert f"{file} is a Git LFS pointer" in refusal(folder)


def test_what_is_missing_or_cut_off_is_named(copy):
    folder = copy("bayling")
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    assert "pytorch_model.bin.index.json names pytorch_model-00002-of-00002.bin, not there" in refusal(folder)
    (folder / "pytorch_model.bin.index.json").write_text('{"weight_map": [1]}')
    assert "pytorch_model.bin.index.json is no index of weights" in refusal(folder)
    folder = copy("plain")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:2000])
    assert "model.safetensors is cut off" in refusal(folder)


def test_a_missing_tokenizer_is_named_by_its_files(copy):
    folder = copy("plain")
    for path in [path for path in folder.iterdir() if "token" in path.name]:
        path.unlink()
    assert "holds no tokenizer: tokenizer.json, or tokenizer.model" in refusal(folder)


@pytest.mark.parametrize("recorded", ["somebody/else-7b", "own"])
def test_an_adapter_left_inside_is_not_used_and_said(copy, made, tmp_path, recorded):
    folder = copy("plain")
    left = write_adapter(tmp_path / "left", base=str(made / "plain") if recorded == "own" else recorded)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(left / name, folder)
    said: list[str] = []
    bare = load_base(str(made / "plain"), say=lambda _: None)
    for base in (load_base(str(folder), say=said.append), loading.load_base(Settings(base_model=str(folder)), said.append)):
        assert base.hash == bare.hash
        assert base.spec == str(folder)
        ids = torch.tensor([[1, 40, 41]])
        assert torch.equal(base.model(ids).logits, bare.model(ids).logits)
    assert sum("adapter_config.json, adapter_model.safetensors in" in line and "is not used" in line for line in said) == 2
    assert (folder / "adapter_config.json").is_file()
    assert "is an adapter, not a model" in refusal(left)


def test_an_adapter_left_inside_does_not_lend_its_numbers_to_the_base_s_name(made, tmp_path):
    folder = shutil.copytree(made / "plain", tmp_path / "older")
    state = tiny_llama().state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")  # fp32, so that rounding twice would tell
    whole = {dtype: load_base(str(folder), dtype=dtype, say=lambda _: None).hash for dtype in ("fp32", "fp16")}
    left = write_adapter(tmp_path / "left", base="somebody/else-7b")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(left / name, folder)
    assert {dtype: load_base(str(folder), dtype=dtype, say=lambda _: None).hash for dtype in whole} == whole
    assert len(set(whole.values())) == 1


def test_an_adapter_left_beside_a_gguf_file_is_not_converted_with_it(monkeypatch, tmp_path):
    left = write_adapter(tmp_path / "models", base="somebody/else-7b")
    file = write_gguf(left / "tiny.gguf")
    asked = {}

    def load(place, **named):
        asked.update(named)
        raise ValueError("enough is seen")

    monkeypatch.setenv("MIRROR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", load)
    with pytest.raises(EngineError, match="enough is seen"):
        load_base(str(file), say=lambda _: None)
    assert find_adapter_config_file(str(left)) and not find_adapter_config_file(str(left), **asked["adapter_kwargs"])


def write_gguf(file):
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), dtype=np.float32))
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        write()
    return file


@pytest.mark.parametrize(
    ("changes", "context"),
    [
        ({}, 256),
        ({"rope_scaling": {"factor": 4.0, "type": "linear"}, "max_sequence_length": 1024}, 1024),
        ({"rope_scaling": {"factor": 4.0, "rope_type": "yarn", "original_max_position_embeddings": 256}}, 1024),
        ({"rope_scaling": {"factor": 2.0, "rope_type": "linear"}}, 256),
        ({"rope_scaling": LLAMA3}, 256),
    ],
)
def test_a_scaled_context_is_as_long_as_it_is(copy, changes, context):
    folder = copy("plain")
    edit_json(folder / "config.json", **changes)
    assert load_base(str(folder), say=lambda _: None).context == context


def test_a_base_without_an_end_token_is_trained_with_what_ends_there(copy, tmp_path):
    folder = copy("plain")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    for key in ("eos_token", "pad_token"):
        config.pop(key, None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    settings = dict(base_model=str(folder), data_path=str(write_rows(tmp_path / "rows.json", 4)), max_steps=1, batch_size=4)
    assert run.run(Settings(output_dir=str(tmp_path / "out"), **settings)).is_dir()


@pytest.mark.parametrize("which", ["base", "delta"])
def test_deltas_name_damaged_files_too(copy, made, tmp_path, which):
    broken, whole = copy("bayling"), made / "bayling"
    parts = {"base": whole, "delta": whole, which: broken}

    def said() -> str:
        with pytest.raises(EngineError) as caught:
            apply_delta(parts["base"], parts["delta"], tmp_path / "out", say=lambda _: None)
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    index = broken / "pytorch_model.bin.index.json"
    for content in ("{", '{"weight_map": 3}', "[]", '{"weight_map": {"a": "../../x"}}'):
        index.write_text(content)
        assert "pytorch_model.bin.index.json is no index of weights" in said()
    index.write_text(POINTER)
    assert "is a Git LFS pointer" in said()
    index.unlink()
    (broken / "pytorch_model-00001-of-00002.bin").write_text(POINTER)
    assert "pytorch_model-00001-of-00002.bin is a Git LFS pointer" in said()
