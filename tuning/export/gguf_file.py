"""A LLaMA-architecture model as one GGUF file, for llama.cpp and what is built on it (Ollama, LM Studio, ...)."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from gguf import (
    GGML_QUANT_SIZES,
    MODEL_ARCH,
    GGMLQuantizationType,
    GGUFWriter,
    LlamaFileType,
    RopeScalingType,
    get_tensor_name_map,
    quants,
)
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.checkpoint import context_of
from engine.types import EngineError
from tuning.export.gguf_vocabulary import Vocabulary, read_vocabulary

KINDS = {
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
MODELS = ("llama", "mistral")  # what llama.cpp computes as `llama`
BLOCK = 32  # numbers that share a scale in q8_0
TOLD = 50  # tensors between two lines of progress


class Planned(NamedTuple):
    """name: in GGUF. heads: of queries or keys, whose rows go into another order; else 0."""

    name: str
    tensor: torch.Tensor
    stored: GGMLQuantizationType
    heads: int

    @property
    def bytes(self) -> int:
        numbers, size = GGML_QUANT_SIZES[self.stored]
        return self.tensor.numel() // numbers * size


def write_gguf(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    file: Path,
    *,
    kind: str,
    name: str,
    template: str,
    ends: Collection[int],
    say: Callable[[str], None] = print,
) -> None:
    """template: the chat template, with all special tokens written. ends: ids that end an answer. kind: a key of KINDS.

    One tensor is in memory beside the model. Raises EngineError, before anything is written, for what has no place in GGUF here.
    """
    refuse_other_models(model)
    vocabulary = read_vocabulary(tokenizer, model.get_input_embeddings().weight.shape[0])
    writer = GGUFWriter(None, "llama")
    try:
        writer.add_type("model")
        writer.add_name(name)
        writer.add_file_type(KINDS[kind][1])
        writer.add_quantization_version(2)  # of ggml's blocks since 2023
        describe_model(writer, model)
        describe_tokenizer(writer, tokenizer, vocabulary, template, ends)
        planned = list(tensors(model, KINDS[kind][0]))
        for one in planned:
            writer.add_tensor_info(one.name, tuple(one.tensor.shape), np.dtype(np.float32), one.bytes, one.stored)
        writer.write_header_to_file(file)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for at, one in enumerate(planned):
            if at % TOLD == 0:
                say(f"writing {file.name}: tensor {at + 1} of {len(planned)}")
            tensor = interleave(one.tensor, one.heads) if one.heads else one.tensor
            writer.write_tensor_data(np.ascontiguousarray(quants.quantize(tensor.float().numpy(), one.stored)))
    finally:
        writer.close()


def refuse_other_models(model: PreTrainedModel) -> None:
    """Raises EngineError for what llama.cpp's `llama` would compute otherwise, or not at all."""
    config = model.config
    wrong = ""
    if config.model_type not in MODELS:
        wrong = f"this base is a {config.model_type}"
    elif getattr(config, "hidden_act", "silu") != "silu":
        wrong = f"this base's activation is {config.hidden_act}"
    elif getattr(config, "sliding_window", None):
        wrong = f"this base's attention reaches back {config.sliding_window} tokens only"
    elif (rope := rope_of(model)["rope_type"]) not in ("default", "linear", "llama3"):
        wrong = f"this base's positions are scaled in another way ({rope})"
    if wrong:
        raise EngineError(
            f"GGUF files are written here for models as LLaMA is one, and {wrong}; export it as a folder, and let llama.cpp's "
            "own converter (convert_hf_to_gguf.py) make one."
        )


def rope_of(model: PreTrainedModel) -> dict:
    return {"rope_type": "default", "rope_theta": 10000.0} | (getattr(model.config, "rope_parameters", None) or {})


def head_size(model: PreTrainedModel) -> int:
    config = model.config
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def describe_model(writer: GGUFWriter, model: PreTrainedModel) -> None:
    config, rope, size = model.config, rope_of(model), head_size(model)
    writer.add_vocab_size(model.get_input_embeddings().weight.shape[0])
    writer.add_context_length(context_of(config))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(rope["rope_theta"])
    if size * config.num_attention_heads != config.hidden_size:
        writer.add_key_length(size)
        writer.add_value_length(size)
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])


def describe_tokenizer(
    writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, vocabulary: Vocabulary, template: str, ends: Collection[int]
) -> None:
    writer.add_tokenizer_model(vocabulary.scheme)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.scores is not None:
        writer.add_token_scores(vocabulary.scores)
    if vocabulary.merges is not None:
        writer.add_token_merges(vocabulary.merges)
    if vocabulary.space_prefix is not None:
        writer.add_add_space_prefix(vocabulary.space_prefix)
    eos = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else min(ends, default=None)
    ids = {
        writer.add_bos_token_id: tokenizer.bos_token_id,
        writer.add_eos_token_id: eos,
        # one more that ends a turn; llama.cpp knows the usual ones by their names besides
        writer.add_eot_token_id: min(set(ends) - {eos}, default=None),
        writer.add_unk_token_id: tokenizer.unk_token_id,
        writer.add_pad_token_id: tokenizer.pad_token_id,
    }
    for add, at in ids.items():
        if at is not None:
            add(at)
    # whoever reads the file takes the template's own away where they add one
    writer.add_add_bos_token("bos_token" in template)
    writer.add_add_eos_token(False)
    writer.add_chat_template(template)


def tensors(model: PreTrainedModel, wanted: GGMLQuantizationType) -> Iterator[Planned]:
    """Every tensor of the file; vectors in fp32, and a matrix that does not fit the wanted type in a wider one."""
    config = model.config
    names = get_tensor_name_map(MODEL_ARCH.LLAMA, config.num_hidden_layers)
    rotated = {".q_proj.": config.num_attention_heads, ".k_proj.": config.num_key_value_heads}
    for name, tensor in stored_tensors(model).items():
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if known is None:
            raise EngineError(f"The model holds {name}, for which GGUF's LLaMA has no place; export it as a folder.")
        heads = next((count for part, count in rotated.items() if part in name), 0)
        yield Planned(known, tensor, storage(tensor, wanted), heads)
    if (factors := rope_factors(model)) is not None:
        yield Planned("rope_freqs.weight", factors, GGMLQuantizationType.F32, 0)


def stored_tensors(model: PreTrainedModel) -> Mapping[str, torch.Tensor]:
    """Without a head that is the embeddings once more."""
    found = model.state_dict()
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    shared = head is not None and head.weight is embeddings.weight
    return {name: tensor for name, tensor in found.items() if not (shared and name == "lm_head.weight")}


def interleave(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of queries or keys from transformers' order, halves of a rotation apart, to llama.cpp's, side by side."""
    return tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(tensor.shape)


def storage(tensor: torch.Tensor, wanted: GGMLQuantizationType) -> GGMLQuantizationType:
    if tensor.dim() < 2:
        return GGMLQuantizationType.F32
    if wanted is GGMLQuantizationType.Q8_0 and tensor.shape[-1] % BLOCK:
        wanted = GGMLQuantizationType.F16
    too_wide = wanted is GGMLQuantizationType.F16 and tensor.abs().max() > torch.finfo(torch.float16).max
    return GGMLQuantizationType.F32 if too_wide else wanted


def rope_factors(model: PreTrainedModel) -> torch.Tensor | None:
    """Llama 3.1's scaling: by how much each rotation is slowed, as llama.cpp reads it. Published with the model."""
    rope = rope_of(model)
    if rope["rope_type"] != "llama3":
        return None
    size = head_size(model)
    lengths = 2 * math.pi * rope["rope_theta"] ** (torch.arange(0, size, 2, dtype=torch.float32) / size)
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    smooth = ((rope["original_max_position_embeddings"] / lengths - low) / (high - low)).clamp(0, 1)
    return 1 / ((1 - smooth) / factor + smooth)
