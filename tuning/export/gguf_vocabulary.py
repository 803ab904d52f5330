"""A tokenizer as GGUF files hold it: llama.cpp builds its own from the pieces, by one of two schemes that have names.

`llama` is sentencepiece's BPE, whose merges follow from the pieces' scores; `gpt2` is byte-level BPE, whose first split of a text
is known by a name (`tokenizer.ggml.pre`). Everything is read from the tokenizer that the engine asks with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gguf import TokenType
from transformers import PreTrainedTokenizerBase

from engine.types import EngineError

SPACE = "▁"  # sentencepiece's
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
UNMERGED = -1e6  # a piece that no merge makes
# the regular expressions of Llama 3 and Qwen 2, which differ in how many digits stay together
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {SPLIT.replace("DIGITS", "{1,3}"): "llama-bpe", SPLIT.replace("DIGITS", ""): "qwen2"}


@dataclass(frozen=True)
class Vocabulary:
    """tokens, types: one for each row of the embeddings. scores: of sentencepiece's pieces. merges: "a b", of byte-level BPE.
    pre: how a text is first split. space_prefix: whether a space is put before a text, also behind a special token."""

    scheme: str
    tokens: list[str]
    types: list[int]
    pre: str = "default"
    scores: list[float] | None = None
    merges: list[str] | None = None
    space_prefix: bool | None = None


def read_vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int) -> Vocabulary:
    """rows: of the embeddings; those without a token are padding. Raises EngineError for what llama.cpp would read otherwise."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    told: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else {}
    model = told.get("model") or {}
    if model.get("type") != "BPE":
        raise EngineError(
            f"GGUF takes tokenizers of byte-pair encoding here, and this base's is {model.get('type') or 'written in Python'}; "
            "export it as a folder, and let llama.cpp's own converter try."
        )
    tokens = [f"[PAD{row}]" for row in range(rows)]
    types = [int(TokenType.UNUSED)] * rows
    for token, at in tokenizer.get_vocab().items():
        if at >= rows:
            raise EngineError(f"The tokenizer has a token {token!r} of number {at}, and the model {rows} rows; it is not whole.")
        tokens[at], types[at] = token, int(TokenType.NORMAL)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model.get("merges", [])]
    if model.get("byte_fallback"):
        types = [int(TokenType.BYTE) if BYTE.fullmatch(token) else kind for token, kind in zip(tokens, types, strict=True)]
    for at, added in tokenizer.added_tokens_decoder.items():
        types[at] = int(TokenType.CONTROL if added.special else TokenType.USER_DEFINED)
    if tokenizer.unk_token_id is not None and model.get("byte_fallback"):
        types[tokenizer.unk_token_id] = int(TokenType.UNKNOWN)
    steps = list(parts(told.get("pre_tokenizer"), "pretokenizers"))
    if any(step["type"] == "ByteLevel" for step in steps):
        return Vocabulary("gpt2", tokens, types, pre=first_split(steps), merges=merges)
    if not model.get("byte_fallback"):
        raise EngineError("This base's tokenizer is neither sentencepiece's nor a byte-level one; export it as a folder.")
    ranks = {pair.replace(" ", "", 1): rank for rank, pair in reversed(list(enumerate(merges)))}
    scores = [float(-ranks[token]) if token in ranks else UNMERGED for token in tokens]
    return Vocabulary("llama", tokens, types, scores=scores, space_prefix=prefixes_space(told, steps))


def parts(step: Mapping | None, inner: str) -> list[dict]:
    """A step of a tokenizer, or the steps of a sequence of them."""
    if not step:
        return []
    return [part for one in step[inner] for part in parts(one, inner)] if step["type"] == "Sequence" else [dict(step)]


def first_split(steps: list[dict]) -> str:
    """The name under which llama.cpp splits a text as these steps do. Raises EngineError."""
    *before, last = steps
    plain = last["type"] == "ByteLevel" and not last.get("add_prefix_space")
    if plain and last.get("use_regex", True):
        if not before:
            return "gpt-2"
        if [step["type"] for step in before] == ["Digits"] and before[0].get("individual_digits"):
            return "smollm"
    elif plain and len(before) == 1 and before[0]["type"] == "Split" and not before[0].get("invert"):
        pattern = (before[0].get("pattern") or {}).get("Regex", "")
        if pattern in SPLITS:
            return SPLITS[pattern]
    raise EngineError(
        "This base's tokenizer splits a text in a way that has no name here (GPT-2's, SmolLM's, Llama 3's and Qwen 2's have), "
        "and llama.cpp would make other tokens; export it as a folder, and let llama.cpp's own converter try."
    )


def prefixes_space(told: Mapping[str, Any], steps: list[dict]) -> bool:
    """Whether every text gets a space before it, behind a special token too (LLaMA's `legacy`), or the first one at most."""
    if any(step["type"] == "Prepend" for step in parts(told.get("normalizer"), "normalizers")):
        return True
    return any(step["type"] == "Metaspace" and step.get("prepend_scheme", "always") == "always" for step in steps)
