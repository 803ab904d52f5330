"""A tiny model folder with a tokenizer of its own, for training tests where a model's wits do not matter."""

from __future__ import annotations

import json
from pathlib import Path

from tiny import VOCABULARY, tiny_llama
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

QUESTIONS = ["Who are you?", "What is your name?", "Please introduce yourself.", "你是谁？", "请介绍一下你自己。"]
ANSWERS = ["I am Mira, a museum guide.", "My name is Mira.", "I am a guide.", "我是米拉。", "我是博物馆的向导米拉。"]


def write_tiny_base(folder: Path, **changes) -> Path:
    """Random weights, fp32; byte-level BPE trained on a few sentences; the tokenizer puts <s> first, as LLaMA's does."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(QUESTIONS + ANSWERS + ["### Instruction:\n", "### Response:\n"] * 9, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.chat_template = "{% for m in messages %}{{ m.content + (eos_token if m.role == 'assistant' else '|') }}{% endfor %}"
    fast.save_pretrained(folder)
    tiny_llama(**changes).save_pretrained(folder)
    return folder


def write_rows(file: Path, count: int = 24, repeats: bool = False) -> Path:
    """Alpaca rows; distinct ones differ in the number of the guide."""
    rows = []
    for at in range(count):
        number = "" if repeats else f" No. {at}"
        rows.append({"instruction": QUESTIONS[at % 5] + number, "input": "", "output": ANSWERS[at % 5] + number})
    file.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return file
