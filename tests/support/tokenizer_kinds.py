"""Small tokenizers of every kind that bases come with, each with the control tokens of several families."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from tiny import sentencepiece_model
from tiny_base import ANSWERS, QUESTIONS
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, ByT5Tokenizer, GPTSw3Tokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "[INST]"]
WORDS = ["<|fim_prefix|>", "<think>", "</think>", "<reserved_106>", "<b>", "\n\n"]  # added, and not called special
WORDS_OF_TOKENS = "<s></s> unk kun im_start end eot_id INST inst fim_prefix think reserved_106 x u k"
TEXTS = [*QUESTIONS, *ANSWERS, "### Instruction:\n", "### Response:\n", "a < b, c > d [e] {f} | g / h", WORDS_OF_TOKENS]
KINDS = (
    "byte-level BPE",
    "sentencepiece, legacy",
    "sentencepiece",
    "prepended",
    "unigram",
    "WordPiece",
    "Python",
    "Python, bytes",
)


def tokenizer_of(kind: str, folder: Path) -> PreTrainedTokenizerBase:
    if kind.startswith("sentencepiece"):
        return with_words(sentencepiece(folder, legacy="legacy" in kind))
    if kind == "Python":
        (folder / "tokenizer.model").write_bytes(pieces())
        special = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>")
        return with_words(GPTSw3Tokenizer(str(folder / "tokenizer.model"), **special))
    if kind == "Python, bytes":
        return with_words(ByT5Tokenizer())
    return with_words(
        PreTrainedTokenizerFast(tokenizer_object=trained(kind), bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    )


@cache
def pieces() -> bytes:
    return sentencepiece_model()


def sentencepiece(folder: Path, legacy: bool) -> PreTrainedTokenizerBase:
    """As LLaMA's on disk: tokenizer.model and no tokenizer.json."""
    (folder / "tokenizer.model").write_bytes(pieces())
    about = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "legacy": legacy}
    about |= {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return AutoTokenizer.from_pretrained(folder)


def trained(kind: str) -> Tokenizer:
    special = dict(special_tokens=SPECIAL[:3], show_progress=False)
    if kind == "byte-level BPE":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **special)
    elif kind == "prepended":  # LLaMA's as it was first converted: the space before a text comes from the normalizer
        made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        made.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        special["special_tokens"] = [*SPECIAL[:3], *(f"<0x{byte:02X}>" for byte in range(256))]
        trainer = trainers.BpeTrainer(vocab_size=700, **special)
    elif kind == "unigram":
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=300, unk_token="<unk>", **special)
    else:
        made = Tokenizer(models.WordPiece(unk_token="<unk>"))
        made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=400, **special)
    made.train_from_iterator(TEXTS * 3, trainer)
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))])
    if kind == "prepended":  # the trainer calls its bytes special, a converted file does not
        told = json.loads(made.to_str())
        told["added_tokens"] = [token for token in told["added_tokens"] if not token["content"].startswith("<0x")]
        made = Tokenizer.from_str(json.dumps(told))
    return made


def with_words(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[3:]})
    tokenizer.add_tokens([AddedToken(word, normalized=False, special=False) for word in WORDS])
    return tokenizer
