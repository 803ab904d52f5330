"""A merged folder as programs of 2023 and of the years since read it: the base's own tokenizer files, names that they know."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny import write_adapter, write_bayling_like
from tiny_base import write_tiny_base
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from engine import load as load_engine, prompts
from tuning import model_folder
from tuning.merge import merge


def silent(_text: str) -> None:
    pass


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    base = write_bayling_like(root / "BayLing-7B")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    write_adapter(root / "otter", model, base="BayLing-7B")
    (root / "otter" / "card.json").write_text(json.dumps({"base": "BayLing-7B", "format": "bayling"}))
    return root


def merged(place, target, **how):
    return merge({str(place / "otter"): 1.0}, target, base=str(place / "BayLing-7B"), say=silent, **how)


def test_the_merged_folder_is_what_the_work_of_2023_lists(place, tmp_path):
    folder = merged(place, tmp_path / "m", bin=True, max_shard_size="300KB")
    plain = merged(place, tmp_path / "n")
    shards = sorted(path.name for path in folder.glob("pytorch_model-*.bin"))
    count = len(shards)
    assert count > 2 and shards[0] == f"pytorch_model-00001-of-{count:05d}.bin"
    others = {path.name for path in folder.iterdir()} - set(shards)
    listed = {"config.json", "generation_config.json", "pytorch_model.bin.index.json", "special_tokens_map.json"}
    assert others == {*listed, "tokenizer.model", "tokenizer_config.json", "chat_template.jinja", "card.json"}
    index = json.loads((folder / "pytorch_model.bin.index.json").read_text())["weight_map"]
    wanted = load_file(plain / "model.safetensors")
    found = {}
    for name in shards:
        part = torch.load(folder / name, weights_only=True)
        assert all(index[tensor] == name for tensor in part)
        assert (folder / name).stat().st_size < sum(t.nbytes for t in part.values()) + 20_000, "whole storages were written"
        found |= part
    assert found.keys() == wanted.keys() == index.keys()
    assert all(type(found[name]) is torch.Tensor and torch.equal(found[name], wanted[name]) for name in wanted)


def test_the_tokenizer_is_the_base_s_own_and_says_what_is_taken_for_granted(place, tmp_path):
    folder, base = merged(place, tmp_path / "m"), place / "BayLing-7B"
    assert (folder / "tokenizer.model").read_bytes() == (base / "tokenizer.model").read_bytes()
    own, special = (json.loads((place / "special_tokens_map.json").read_text()) for place in (base, folder))
    assert {key: token["content"] for key, token in special.items()} == own
    assert not any(token["lstrip"] or token["rstrip"] for token in special.values())  # 4.31 would take newlines behind </s> away
    told = json.loads((folder / "tokenizer_config.json").read_text())
    assert told["tokenizer_class"] == "LlamaTokenizer" and told["add_bos_token"] and told["model_max_length"] == 2048
    assert told["legacy"] is AutoTokenizer.from_pretrained(base).legacy
    assert told["chat_template"] == (folder / "chat_template.jinja").read_text()


@pytest.mark.parametrize("legacy", [None, True])
def test_the_template_makes_the_tokens_that_the_engine_asks_with(place, tmp_path, legacy):
    base = tmp_path / "BayLing-7B"
    base.mkdir()
    for path in (place / "BayLing-7B").iterdir():
        (base / path.name).symlink_to(path)
    config = json.loads((base / "tokenizer_config.json").read_text()) | ({"legacy": legacy} if legacy else {})
    (base / "tokenizer_config.json").unlink()
    (base / "tokenizer_config.json").write_text(json.dumps(config))
    folder = merge({str(place / "otter"): 1.0}, tmp_path / "m", base=str(base), say=silent)
    engine = load_engine(str(folder), device="cpu", say=silent)
    assert engine.base.format.name == "bayling"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for talk in (["Who are you?"], ["你是谁？", "我是米拉。\n", "Who made you?"]):
        messages = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(talk)]
        _, asked = prompts.render(engine.base.tokenizer, engine.base.format, messages)
        assert tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"] == asked


def test_what_transformers_4_calls_otherwise_is_said_both_ways(tmp_path):
    rope = {"rope_type": "linear", "rope_theta": 50000.0, "factor": 2.0}
    base = write_tiny_base(tmp_path / "base", rope_parameters=rope)
    write_adapter(tmp_path / "a", AutoModelForCausalLM.from_pretrained(base), base="base")
    folder = merge({str(tmp_path / "a"): 1.0}, tmp_path / "m", base=str(base), format="chatml", say=silent)
    config = json.loads((folder / "config.json").read_text())
    assert config["rope_theta"] == 50000.0 and config["rope_scaling"] == {"type": "linear", "factor": 2.0}
    assert config["torch_dtype"] == config["dtype"] == "float32"
    again = AutoConfig.from_pretrained(folder).rope_parameters
    assert again["rope_type"] == "linear" and again["rope_theta"] == 50000.0 and again["factor"] == 2.0
    told = json.loads((folder / "tokenizer_config.json").read_text())
    assert told["tokenizer_class"] == "PreTrainedTokenizerFast" and "extra_special_tokens" not in told
    assert not json.loads((folder / "generation_config.json").read_text())["_from_model_config"]


def test_a_tokenizer_that_would_read_otherwise_is_written_as_it_is(place, tmp_path, monkeypatch):
    """Where the base's files and the tokenizer in memory do not agree, the one that was asked with counts."""
    monkeypatch.setattr(model_folder, "same_tokens", lambda tokenizer, folder: False)
    said: list[str] = []
    folder = merge({str(place / "otter"): 1.0}, tmp_path / "m", base=str(place / "BayLing-7B"), say=said.append)
    assert any("as transformers 5 has it" in line for line in said)
    assert (folder / "tokenizer.json").is_file()
    text = "### Instruction:\n你是谁？\n### Response:\n"
    own = AutoTokenizer.from_pretrained(place / "BayLing-7B")
    assert AutoTokenizer.from_pretrained(folder)(text)["input_ids"] == own(text)["input_ids"]
