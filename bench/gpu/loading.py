"""Loading: the 7B shape from its .bin shards, and a small checkpoint in the very form that BayLing-7B has on disk."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bench.gpu import models
from bench.gpu.session import Session
from engine.engine import Engine
from engine.types import Decoding, Message, Request, Variant

PIECES = 2000


def run(session: Session) -> dict[str, Any]:
    if "load" not in session.results:
        models.big(session)
    place = session.results.setdefault("load", {})
    session.attempt(place, "sentencepiece and shards", lambda: like_bayling(session))
    return place


def like_bayling(session: Session) -> dict[str, Any]:
    """fp16 .bin shards and a tokenizer.model without tokenizer.json; its format is recognised, and it answers."""
    folder = session.folder / "like-bayling"
    torch.manual_seed(0)
    shape = models.SMALL if session.on_gpu else models.TINY
    models.write_shards(LlamaForCausalLM(LlamaConfig(**shape | models.SPECIAL, vocab_size=PIECES)), folder, 60)
    write_tokenizer(folder)
    base, found = models.load_watched(folder, session)
    message: Message = {"role": "user", "content": "Who are you?  你是谁？"}
    answer = Engine(base).answer([Request([message], Variant(decoding=Decoding(max_new_tokens=8)))])[0]
    read = base.tokenizer.decode(base.tokenizer("Who are you? 你是谁？")["input_ids"], skip_special_tokens=True)
    right = found["format"] == "bayling" and answer.new_tokens > 0 and read == "Who are you? 你是谁？"
    return found | {"answered_tokens": answer.new_tokens, "text_read_back": read, "ok": right}


def write_tokenizer(folder: Path) -> None:
    """A real sentencepiece model with LLaMA's special pieces."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in models.texts() for line in text.splitlines()),
        model_writer=model,
        vocab_size=PIECES,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.98,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    about = special | {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(about | {"model_max_length": 2048}))
