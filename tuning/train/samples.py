"""Rows become token ids and targets, in the very tokens that chat time shows the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from engine import literal
from engine.formats import Format
from engine.prompts import special_texts
from engine.types import EngineError
from tuning.dataset.rows import DataError, TrainingRow, Turn
from tuning.train.rendered import Conversation, render_conversation

ANCHORS = ("\n", "a", "。")  # what a text may be tokenized behind, to be told from one that stands alone


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


def make_sampler(
    tokenizer: PreTrainedTokenizerBase,
    format: Format,
    cutoff: int,
    train_on_inputs: bool = False,
    end: int | None = None,
) -> Callable[[TrainingRow], Sample]:
    """A function from rows to samples. It raises DataError for a row that the format cannot show whole.

    Every answer that is to be learned is a target, with what ends its turn; with `train_on_inputs` every token but the first
    is, as in alpaca-lora. A row longer than `cutoff` tokens is cut there, its end token with it, as in alpaca-lora.
    end: the token that ends an answer which the format does not close; None takes the tokenizer's.
    The text of a row is text: what reads like a control token in it becomes none (`literal`).
    """
    closers = special_texts(tokenizer)
    end = tokenizer.eos_token_id if end is None else end

    def sample(row: TrainingRow) -> Sample:
        bos, eos = tokenizer.bos_token or "", tokenizer.eos_token or ""
        learn = [turn.learn for turn in row.turns if turn.role == "assistant"]
        try:
            shown = render_conversation(format, literal.mark(tokenizer, format, row.as_messages()), bos, eos, closers)
            ids, targets = tokenize(tokenizer, format, shown, learn)
        except (EngineError, DataError) as error:
            raise DataError(literal.unmark(str(error))) from None
        if not shown.closed:
            if end is None:
                raise DataError(
                    f"Format {format.name!r} does not close an answer and this base names no token that ends one: neither "
                    "eos_token in its tokenizer nor eos_token_id in generation_config.json; add one, or train in another format."
                )
            if ids[-1] != end:  # an answer that is never closed would never stop
                ids, targets = [*ids, end], [*targets, row.turns[-1].learn]
        ids, targets = ids[:cutoff], targets[:cutoff]
        if train_on_inputs:
            targets = [True] * len(ids)
        return Sample(tuple(ids), (False, *targets[1:]))

    return sample


def cache_samples(
    make_sample: Callable[[TrainingRow], Sample],
) -> tuple[Callable[[TrainingRow], Sample], dict[tuple[Turn, ...], Sample]]:
    """The same function, tokenizing repeated rows once; and what it has made so far, by the row's turns."""
    known: dict[tuple[Turn, ...], Sample] = {}

    def sampled(row: TrainingRow) -> Sample:
        if row.turns not in known:
            known[row.turns] = make_sample(row)
        return known[row.turns]

    return sampled, known


def tokenize(
    tokenizer: PreTrainedTokenizerBase, format: Format, shown: Conversation, learn: Sequence[bool]
) -> tuple[list[int], list[bool]]:
    """Token ids and targets of a whole conversation. learn: for each answer, whether it is a target.

    What stands before an answer is tokenized as at chat time, in one piece up to where the model begins. If the answer's first
    characters would melt into the prompt's last token, they are tokenized apart: at chat time they are written apart, too.
    """
    ids: list[int] = []
    targets: list[bool] = []
    done = 0
    for (start, stop), wanted in zip(shown.learned, learn, strict=True):
        prompt = token_ids(tokenizer, format, shown.text[:start])
        if prompt[: len(ids)] != ids:  # an earlier answer was tokenized apart
            prompt = ids + piece_ids(tokenizer, format, ids, shown.text[done:start])
        whole = token_ids(tokenizer, format, shown.text[:stop])
        if whole[: len(prompt)] != prompt:
            whole = prompt + piece_ids(tokenizer, format, prompt, shown.text[start:stop])
        targets += [False] * (len(prompt) - len(ids)) + [wanted] * (len(whole) - len(prompt))
        ids, done = whole, stop
    return ids, targets


def token_ids(tokenizer: PreTrainedTokenizerBase, format: Format, text: str) -> list[int]:
    """Ids of a text from its beginning; an end token that the tokenizer adds of its own is left out."""
    ids = literal.ids(tokenizer, format, text)
    ends = text.endswith(tokenizer.eos_token) if tokenizer.eos_token else False
    added = 1 if format.add_special_tokens and ids and ids[-1] == tokenizer.eos_token_id else 0
    if added and ends:
        added = 1 if ids[-2:] == [tokenizer.eos_token_id] * 2 and not text.endswith(tokenizer.eos_token * 2) else 0
    return ids[: len(ids) - added]


def piece_ids(tokenizer: PreTrainedTokenizerBase, format: Format, before: list[int], text: str) -> list[int]:
    """Ids that read as `text` behind those of `before`; sentencepiece would put a space before a text that stands alone."""

    def read(ids: list[int]) -> str:
        return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def ids_of(text: str) -> list[int]:
        return literal.ids(tokenizer, format, text, special=False)

    alone, meant = ids_of(text), literal.unmark(text)
    if read([*before, *alone]) == read(before) + meant:
        return alone
    for anchor in ANCHORS:
        head, both = ids_of(anchor), ids_of(anchor + text)
        if both[: len(head)] == head and read([*before, *both[len(head) :]]) == read(before) + meant:
            return both[len(head) :]
    return alone
