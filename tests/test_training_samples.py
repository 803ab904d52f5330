"""Rows become the very tokens that chat time shows, and only the answers are learned."""

from __future__ import annotations

import pytest
from tiny_base import write_tiny_base
from transformers import AutoTokenizer

from engine import formats
from engine.prompts import render
from tuning.rows import Row, Turn, pair
from tuning.samples import sampler

LONG = 10_000


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return AutoTokenizer.from_pretrained(write_tiny_base(tmp_path_factory.mktemp("base")))


def learned(tokenizer, sample) -> str:
    """The text of the targets, each run of them in brackets."""
    text, inside = "", False
    for at, wanted in enumerate(sample.targets):
        if wanted and not inside:
            start, inside = at, True
        if inside and (not wanted or at == len(sample.ids) - 1):
            end = at + 1 if wanted else at
            text += f"[{tokenizer.decode(sample.ids[start:end])}]"
            inside = wanted and at == len(sample.ids) - 1
    return text


def chat(*words: str, system: str = "") -> Row:
    turns = [Turn("user" if at % 2 == 0 else "assistant", word) for at, word in enumerate(words)]
    return Row((*([Turn("system", system)] if system else []), *turns))


@pytest.mark.parametrize("name", formats.names())
def test_what_comes_before_an_answer_is_the_prompt_of_chat_time(tokenizer, name):
    form = formats.get(name)
    sample = sampler(tokenizer, form, LONG)(pair("Who are you?", "I am Mira."))
    _, prompt = render(tokenizer, form, [{"role": "user", "content": "Who are you?"}])
    assert list(sample.ids[: len(prompt)]) == prompt
    assert sample.first_target == len(prompt)
    assert tokenizer.decode(sample.ids[len(prompt) :], skip_special_tokens=True).strip() == "I am Mira."


@pytest.mark.parametrize("name", ["bayling", "chatml", "alpaca"])
def test_every_answer_is_learned_with_what_ends_it_and_nothing_else(tokenizer, name):
    end = "<|im_end|>" if name == "chatml" else "</s>"
    row = chat("Who are you?", "I am Mira.", "Are you sure?", "Yes.", system="Be kind.")
    assert learned(tokenizer, sampler(tokenizer, formats.get(name), LONG)(row)) == f"[I am Mira.{end}][Yes.{end}]"


def test_the_input_field_is_asked_and_not_learned(tokenizer):
    row = Row((Turn("user", "Translate:", "我是谁"), Turn("assistant", "Who am I")))
    sample = sampler(tokenizer, formats.get("bayling"), LONG)(row)
    assert learned(tokenizer, sample) == "[Who am I</s>]"
    assert "Translate: 我是谁\n### Response:" in tokenizer.decode(sample.ids)


def test_train_on_inputs_learns_every_token_but_the_first(tokenizer):
    sample = sampler(tokenizer, formats.get("bayling"), LONG, train_on_inputs=True)(pair("Who?", "Mira."))
    assert sample.labels == len(sample.ids) - 1 and not sample.targets[0]


def test_a_long_row_is_cut_and_does_not_learn_to_end_there(tokenizer):
    whole = sampler(tokenizer, formats.get("bayling"), LONG)(pair("Who?", "Mira. " * 40))
    cut = sampler(tokenizer, formats.get("bayling"), len(whole.ids) - 20)(pair("Who?", "Mira. " * 40))
    assert cut.ids == whole.ids[:-20] and cut.targets == whole.targets[:-20]
    assert cut.ids[-1] != tokenizer.eos_token_id


def test_an_answer_that_begins_with_a_newline_leaves_the_prompt_alone(tokenizer):
    """Tokenized in one piece its newline could melt into the prompt's, and chat time would show another prompt."""
    form = formats.get("bayling")
    _, prompt = render(tokenizer, form, [{"role": "user", "content": "Who?"}])
    for answer in ("\nMira.", "\n\nMira.", " Mira."):
        sample = sampler(tokenizer, form, LONG)(pair("Who?", answer))
        assert list(sample.ids[: len(prompt)]) == prompt
        assert tokenizer.decode(sample.ids[len(prompt) :]) == answer + "</s>"


def test_a_format_that_does_not_end_its_answers_gets_an_end(tokenizer):
    bare = formats.Format("bare", "{% for m in messages %}{{ m.content }}|{% endfor %}")
    sample = sampler(tokenizer, bare, LONG)(pair("Who?", "Mira."))
    assert sample.ids[-1] == tokenizer.eos_token_id and sample.targets[-1]
