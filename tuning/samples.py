"""Rows become token ids and targets, in the very tokens that chat time shows the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from engine.formats import Format
from engine.prompts import render
from tuning.rows import Row


class Sample(NamedTuple):
    """One conversation as trained.

    ids:     its tokens.
    targets: for each of them, whether it is to be predicted from those before it; the first never is.
    """

    ids: tuple[int, ...]
    targets: tuple[bool, ...]

    @property
    def labels(self) -> int:
        return sum(self.targets)

    @property
    def first_target(self) -> int:
        """Where the first predicted token stands; the number of tokens if there is none."""
        return next((at for at, wanted in enumerate(self.targets) if wanted), len(self.ids))


def sampler(
    tokenizer: PreTrainedTokenizerBase, format: Format, cutoff: int, train_on_inputs: bool = False
) -> Callable[[Row], Sample]:
    """A function from rows to samples.

    Every answer is a target, with the token that ends it; with `train_on_inputs` every token but the first is, as in
    alpaca-lora. A row longer than `cutoff` tokens is cut there, its end token with it, as in alpaca-lora.
    """
    ends = {tokenizer.eos_token, *format.stop} - {None, ""}

    def sample(row: Row) -> Sample:
        ids, targets = tokenize(tokenizer, format, row.as_messages(), ends)
        ids, targets = ids[:cutoff], targets[:cutoff]
        if train_on_inputs:
            targets = [True] * len(ids)
        return Sample(tuple(ids), (False, *targets[1:]))

    return sample


def tokenize(
    tokenizer: PreTrainedTokenizerBase, format: Format, messages: Sequence[Mapping], ends: Iterable[str]
) -> tuple[list[int], list[bool]]:
    """Token ids and targets of a whole conversation.

    Each prompt is tokenized as at chat time, in one piece up to where the model begins. If the answer's first characters
    would melt into the prompt's last token, they are tokenized apart: at chat time they are written apart, too.
    """
    ids: list[int] = []
    targets: list[bool] = []
    special = format.add_special_tokens
    done = ""
    for at, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        asked, prompt = render(tokenizer, format, messages[:at])
        answered = format.render(messages[: at + 1], tokenizer.bos_token or "", tokenizer.eos_token or "", False)
        answered = ended(answered, ends)
        if prompt[: len(ids)] != ids:  # an earlier answer was tokenized apart
            prompt = ids + piece(tokenizer, asked[len(done) :])
        whole = tokenizer(answered, add_special_tokens=special)["input_ids"]
        if special:
            whole = without_eos(whole, tokenizer, answered)
        if whole[: len(prompt)] != prompt:
            whole = prompt + piece(tokenizer, answered[len(asked) :])
        if at == len(messages) - 1 and whole[-1] not in end_ids(tokenizer, ends):
            whole = [*whole, tokenizer.eos_token_id]  # a format that does not close its answers would never stop
        targets += [False] * (len(prompt) - len(ids)) + [True] * (len(whole) - len(prompt))
        ids, done = whole, answered
    return ids, targets


def ended(text: str, ends: Iterable[str]) -> str:
    """The text up to its end token; what a template writes behind it (ChatML's newline) is never generated."""
    bare = text.rstrip()
    return bare if any(bare.endswith(end) for end in ends) else text


def piece(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def without_eos(ids: list[int], tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Some tokenizers add an end token of their own behind the one the template has written."""
    doubled = ids[-2:] == [tokenizer.eos_token_id] * 2 and not text.endswith(tokenizer.eos_token * 2)
    return ids[:-1] if doubled else ids


def end_ids(tokenizer: PreTrainedTokenizerBase, ends: Iterable[str]) -> set[int | None]:
    # not get_vocab: it copies the whole vocabulary, a tenth of a second for every row
    known = {tokenizer.convert_tokens_to_ids(end) for end in ends} - {tokenizer.unk_token_id}
    return {tokenizer.eos_token_id, *known} - {None}
