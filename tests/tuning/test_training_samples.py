"""Rows become the very tokens that chat time shows, and only the answers are learned."""

from __future__ import annotations

import random
import re
from types import SimpleNamespace

import pytest
from field_templates import TEMPLATES, form as field_form
from tiny import write_bayling_like
from tiny_base import QUESTIONS, write_tiny_base
from transformers import AutoTokenizer

from engine import formats
from engine.formats import Format
from engine.prompts import end_ids, render
from tuning.dataset.rows import DataError, TrainingRow, Turn, pair
from tuning.jobs.forecast import token_row
from tuning.train.samples import make_sampler

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


def chat(*words: str, system: str = "") -> TrainingRow:
    turns = [Turn("user" if at % 2 == 0 else "assistant", word) for at, word in enumerate(words)]
    return TrainingRow((*([Turn("system", system)] if system else []), *turns))


@pytest.mark.parametrize("name", formats.names())
def test_what_comes_before_an_answer_is_the_prompt_of_chat_time(tokenizer, name):
    form = formats.get(name)
    sample = make_sampler(tokenizer, form, LONG)(pair("Who are you?", "I am Mira."))
    _, prompt = render(tokenizer, form, [{"role": "user", "content": "Who are you?"}])
    assert list(sample.ids[: len(prompt)]) == prompt
    assert sample.first_target == len(prompt)
    assert tokenizer.decode(sample.ids[len(prompt) :], skip_special_tokens=True).strip() == "I am Mira."


@pytest.mark.parametrize("name", ["bayling", "chatml", "alpaca"])
def test_every_answer_is_learned_with_what_ends_it_and_nothing_else(tokenizer, name):
    end = "<|im_end|>" if name == "chatml" else "</s>"
    row = chat("Who are you?", "I am Mira.", "Are you sure?", "Yes.", system="Be kind.")
    assert learned(tokenizer, make_sampler(tokenizer, formats.get(name), LONG)(row)) == f"[I am Mira.{end}][Yes.{end}]"


def test_the_input_field_is_asked_and_not_learned(tokenizer):
    row = TrainingRow((Turn("user", "Translate:", "我是谁"), Turn("assistant", "Who am I")))
    sample = make_sampler(tokenizer, formats.get("bayling"), LONG)(row)
    assert learned(tokenizer, sample) == "[Who am I</s>]"
    assert "Translate: 我是谁\n### Response:" in tokenizer.decode(sample.ids)


def test_train_on_inputs_learns_every_token_but_the_first(tokenizer):
    sample = make_sampler(tokenizer, formats.get("bayling"), LONG, train_on_inputs=True)(pair("Who?", "Mira."))
    assert sample.labels == len(sample.ids) - 1 and not sample.targets[0]


def test_a_long_row_is_cut_and_does_not_learn_to_end_there(tokenizer):
    whole = make_sampler(tokenizer, formats.get("bayling"), LONG)(pair("Who?", "Mira. " * 40))
    cut = make_sampler(tokenizer, formats.get("bayling"), len(whole.ids) - 20)(pair("Who?", "Mira. " * 40))
    assert cut.ids == whole.ids[:-20] and cut.targets == whole.targets[:-20]
    assert cut.ids[-1] != tokenizer.eos_token_id


def test_an_answer_that_begins_with_a_newline_leaves_the_prompt_alone(tokenizer):
    """Tokenized in one piece its newline could melt into the prompt's, and chat time would show another prompt."""
    form = formats.get("bayling")
    _, prompt = render(tokenizer, form, [{"role": "user", "content": "Who?"}])
    for answer in ("\nMira.", "\n\nMira.", " Mira."):
        sample = make_sampler(tokenizer, form, LONG)(pair("Who?", answer))
        assert list(sample.ids[: len(prompt)]) == prompt
        assert tokenizer.decode(sample.ids[len(prompt) :]) == answer + "</s>"


def test_a_format_that_does_not_end_its_answers_gets_an_end(tokenizer):
    bare = formats.Format("bare", "{% for m in messages %}{{ m.content }}|{% endfor %}")
    sample = make_sampler(tokenizer, bare, LONG)(pair("Who?", "Mira."))
    assert sample.ids[-1] == tokenizer.eos_token_id and sample.targets[-1]


SEVERAL = ["Are you sure?", "Say it again: I am Mira.", "好的？", "What is 2 < 3?"]
SAID = [
    "I am Mira.",
    "我是米拉。",
    "\n I am Mira. ",
    "Two lines:\n\n- one\n- two\n",
    "user",
    "A:",
    "e",
    "assistant\nI am Mira",
    "I am Mira.I am Mira.",
    "Use <b>bold</b> and </b>.",
    "Yes. Are you sure?",
    "   indented\n\tcode",
]


def conversations(seed: int, system: bool) -> TrainingRow:
    draw = random.Random(seed)
    words = [word for _ in range(draw.randint(1, 3)) for word in (draw.choice(QUESTIONS + SEVERAL), draw.choice(SAID))]
    return chat(*words, system="Be brief." if system else "")


def runs(tokenizer, sample) -> list[str]:
    found, now = [], []
    for id, wanted in [*zip(sample.ids, sample.targets, strict=True), (0, False)]:
        if wanted:
            now.append(id)
        elif now:
            found.append(tokenizer.decode(now))
            now = []
    return found


@pytest.mark.parametrize("name", [*formats.names(), *TEMPLATES])
def test_every_answer_is_learned_whole_and_nothing_else_but_the_end_of_its_turn(tokenizer, name):
    form = field_form(name) if name in TEMPLATES else formats.get(name)
    for seed in range(15):
        row = conversations(seed, system=seed % 3 == 0 and not form.traits.no_system)
        sample = make_sampler(tokenizer, form, LONG)(row)
        text = tokenizer.decode(sample.ids)
        messages, bos = row.as_messages(), "" if not form.add_special_tokens else "<s>"
        whole = bos + form.render(messages, "<s>", "</s>", False)
        prompt = bos + form.render(messages[:-1], "<s>", "</s>", True)
        assert (text.removesuffix("</s>").rstrip() in whole and whole.startswith(text[:-12])) or text.startswith(prompt), text
        for turn in row.turns:
            assert turn.content.strip() in text
        found, answers = runs(tokenizer, sample), [turn.content for turn in row.turns if turn.role == "assistant"]
        assert len(found) == len(answers)
        for got, said in zip(found, answers, strict=True):
            rest = got.strip().partition(said.strip())
            assert rest[1] and not rest[0].strip(), (got, said)
            assert not re.sub(r"(<\|im_end\|>|</s>|\s)*", "", rest[2]), (got, said)
        assert sample.ids[-1] in (tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>"))
        assert sample.targets[-1]


@pytest.mark.parametrize("name", [*formats.names(), *TEMPLATES])
def test_the_last_answer_is_asked_for_with_the_tokens_of_chat_time(tokenizer, name):
    form = field_form(name) if name in TEMPLATES else formats.get(name)
    for answer in SAID:
        row = chat("Who are you?", "I am Mira.", "Are you sure?", answer)
        _, prompt = render(tokenizer, form, row.as_messages()[:-1])
        assert list(make_sampler(tokenizer, form, LONG)(row).ids[: len(prompt)]) == prompt


def test_a_thought_that_the_prompt_opens_goes_on_with_the_one_in_the_data(tokenizer):
    form = field_form("deepseek-r1: drops thoughts and opens one")
    row = chat("Who?", "<think>\nThey ask my name.\n</think>\n\nI am Mira.")
    sample = make_sampler(tokenizer, form, LONG)(row)
    assert tokenizer.decode(sample.ids) == "u:Who?|A:<think>\nThey ask my name.\n</think>\n\nI am Mira.</s>"
    assert runs(tokenizer, sample) == ["They ask my name.\n</think>\n\nI am Mira.</s>"]


def test_a_thought_of_the_data_is_learned_where_the_template_keeps_it(tokenizer):
    form = field_form("qwen3: an empty thought in the last answer only")
    first, last = "<think>\nOne.\n</think>\n\nI am Mira.", "<think>\nTwo.\n</think>\n\nYes."
    found = runs(tokenizer, make_sampler(tokenizer, form, LONG)(chat("Who?", first, "Sure?", last)))
    assert found == ["I am Mira.<|im_end|>", f"{last}<|im_end|>"]


@pytest.mark.parametrize(
    "answer", ["{{ m.content.upper() + eos_token }}", "{{ m.content[2:] + eos_token }}", "A:", "{{ m.content * 2 }}"]
)
def test_a_template_that_changes_answers_is_refused_by_name(tokenizer, answer):
    template = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% else %}" + answer + "{% endif %}{% endfor %}"
    with pytest.raises(DataError, match="Format 'checkpoint' cannot be trained .* answer 1"):
        make_sampler(tokenizer, Format("checkpoint", template, (), False), LONG)(pair("Who?", "I am Mira."))


def test_a_row_with_a_system_message_is_refused_where_it_has_no_place(tokenizer):
    with pytest.raises(DataError, match="takes no system message .*system role not supported.* first_turn"):
        make_sampler(tokenizer, field_form("gemma: no system, texts trimmed"), LONG)(chat("Who?", "Mira.", system="Be kind."))


@pytest.mark.parametrize("name", [*TEMPLATES, "chatml", "llama2"])
def test_a_second_field_is_asked_by_formats_that_do_not_know_it(tokenizer, name):
    form = field_form(name) if name in TEMPLATES else formats.get(name)
    row = TrainingRow((Turn("user", "Translate:", "我是谁"), Turn("assistant", "Who am I")))
    sample = make_sampler(tokenizer, form, LONG)(row)
    assert "Translate:\n我是谁" in tokenizer.decode(sample.ids[: sample.first_target])


def test_a_base_without_an_end_token_takes_another_or_is_refused(tokenizer):
    import copy

    endless = copy.deepcopy(tokenizer)
    endless.eos_token = None
    form = field_form("falcon: nothing closes an answer")
    assert make_sampler(endless, form, LONG, end=4)(pair("Who?", "Mira.")).ids[-1] == 4
    with pytest.raises(DataError, match="no token that ends one: neither eos_token"):
        make_sampler(endless, form, LONG)(pair("Who?", "Mira."))


def test_the_end_that_a_template_writes_ends_answers_at_chat_time(tokenizer):
    base = SimpleNamespace(tokenizer=tokenizer, model=SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=None)))
    assert end_ids(base, field_form("phi-3: end of text after all turns")) == {2, 4}
    assert end_ids(base, field_form("falcon: nothing closes an answer")) == {2}


def test_an_answer_that_is_only_read_is_no_target(tokenizer):
    row = TrainingRow(
        (Turn("user", "Hi"), Turn("assistant", "Hello", "", False), Turn("user", "Who?"), Turn("assistant", "Mira."))
    )
    for name in ("bayling", "falcon: nothing closes an answer"):
        form = field_form(name) if name in TEMPLATES else formats.get(name)
        sample = make_sampler(tokenizer, form, LONG)(row)
        assert "Hello" in tokenizer.decode(sample.ids) and [run.strip() for run in runs(tokenizer, sample)] == ["Mira.</s>"]


@pytest.mark.parametrize("name", ["bayling", "chatml", *TEMPLATES])
def test_the_preview_in_the_form_shows_exactly_what_is_learned(tokenizer, name):
    form = field_form(name) if name in TEMPLATES else formats.get(name)
    row = chat("你是谁？", "我是米拉。", "Are you sure?", "\nYes.")
    sample = make_sampler(tokenizer, form, LONG)(row)
    shown = token_row(tokenizer, row, sample)
    assert "".join(text for text, learned in shown.pieces if learned) == "".join(runs(tokenizer, sample))
    assert "".join(text for text, _ in shown.pieces) == tokenizer.decode(sample.ids)


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory):
    return AutoTokenizer.from_pretrained(write_bayling_like(tmp_path_factory.mktemp("sentencepiece") / "base"))


@pytest.mark.parametrize("name", [*formats.names(), *TEMPLATES])
def test_sentencepiece_puts_no_space_where_the_text_has_none(sentencepiece, name):
    form = field_form(name) if name in TEMPLATES else formats.get(name)
    for answer in SAID:
        row = chat("Who are you?", answer, "你是谁？", "我是米拉。")
        sample = make_sampler(sentencepiece, form, LONG)(row)
        text = sentencepiece.decode(sample.ids, clean_up_tokenization_spaces=False)
        whole = form.render(row.as_messages(), "<s>", "</s>", False)
        prompt = form.render(row.as_messages()[:-1], "<s>", "</s>", True)
        plain, shown = whole.replace("<s>", "").strip(), text.replace("<s>", "").strip()
        assert shown.removesuffix("</s>").rstrip() in plain or shown.startswith(prompt.replace("<s>", "").strip()), (text, whole)
        pieces = token_row(sentencepiece, row, sample).pieces
        assert "".join(text for text, _ in pieces) == text
