"""Tiny models and adapters for tests where a real model's wits do not matter."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path

import sentencepiece
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

DATA = Path(__file__).parents[2] / "data"
VOCABULARY = 512
SENTENCEPIECES = 3000  # room for the Chinese characters in data/
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]


def tiny_config(**changes) -> LlamaConfig:
    shape = dict(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return LlamaConfig(**shape | changes)


def tiny_llama(seed: int = 0, **changes) -> LlamaForCausalLM:
    """Random weights, wide enough apart that greedy choices are no ties."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(tiny_config(initializer_range=0.2, **changes)).eval()


def sentencepiece_model() -> bytes:
    """A real sentencepiece model, trained on the texts in data/, with LLaMA's special pieces."""
    lines = [line for file in sorted(DATA.iterdir()) if file.is_file() for line in file.read_text(encoding="utf-8").splitlines()]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=SENTENCEPIECES,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.98,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        add_dummy_prefix=True,
        minloglevel=2,
    )
    return model.getvalue()


def write_bayling_like(folder: Path, shards: int = 2) -> Path:
    """A checkpoint in the form BayLing-7B has on disk: fp16 .bin shards, tokenizer.model, no tokenizer.json."""
    folder.mkdir(parents=True)
    model = tiny_llama(num_key_value_heads=4, vocab_size=SENTENCEPIECES)
    config = model.config.to_dict() | {"architectures": ["LlamaForCausalLM"], "dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config, default=str))
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    names, weight_map = sorted(state), {}
    for shard in range(shards):
        file = f"pytorch_model-{shard + 1:05d}-of-{shards:05d}.bin"
        part = {name: state[name] for name in names[shard::shards]}
        torch.save(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": sum(t.numel() * 2 for t in state.values())}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (folder / "tokenizer.model").write_bytes(sentencepiece_model())
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    tokenizer = special | {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "model_max_length": 2048,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder


def write_adapter(
    folder: Path, model: torch.nn.Module | None = None, seed: int = 1, scale: float = 0.3, base: str = "", **settings
) -> Path:
    """A PEFT folder made by PEFT, with random A and B large enough to change what a model says."""
    torch.manual_seed(seed)
    config = LoraConfig(**{"r": 8, "lora_alpha": 16, "target_modules": TARGETS, "task_type": "CAUSAL_LM"} | settings)
    wrapped = get_peft_model(model if model is not None else tiny_llama(), config)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=scale)
    wrapped.save_pretrained(folder)
    edit_json(folder / "adapter_config.json", base_model_name_or_path=base)
    wrapped.unload()
    return folder


def user(text: str) -> list[dict]:
    """A conversation of one question."""
    return [{"role": "user", "content": text}]


def edit_json(file: Path, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_weights(folder: Path, change) -> None:
    """Rewrite an adapter's tensors with `change(name, tensor) -> tensor or None to drop it`."""
    file = folder / "adapter_model.safetensors"
    changed = {name: change(name, tensor) for name, tensor in load_file(file).items()}
    save_file({name: tensor for name, tensor in changed.items() if tensor is not None}, file)


def as_legacy(folder: Path, kept: Iterable[str]) -> None:
    """The form of 2023: adapter_model.bin, and only the configuration's first keys."""
    file = folder / "adapter_model.safetensors"
    torch.save(load_file(file), folder / "adapter_model.bin")
    file.unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({key: config[key] for key in kept}))


class Letters:
    """A tokenizer's part in the decoding loop: one letter a token."""

    def decode(self, ids, skip_special_tokens=True) -> str:
        return "".join(chr(97 + token % 26) for token in ids)
