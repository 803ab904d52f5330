"""A training conversation as its template writes it, and which parts of that text are learned.

Where an answer stands is found by what the template renders with a mark in the answer's place: templates strip texts, drop
thoughts of earlier turns, open one in the prompt, write an empty one before the last answer, or close the whole text once more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from engine.formats import Format
from engine.types import EngineError, Message
from tuning.dataset.rows import DataError

MARK = "\ue000answer\ue000"
# what ends a thought: templates may leave out an answer's text up to there
_THOUGHT_ENDS = re.compile(r"(?:</[\w:|]+>|\[/\w+\])\s*\Z")

Messages = Sequence[Message]
Place = tuple[int, int]


@dataclass(frozen=True)
class Conversation:
    """learned: (start, end) of each answer in `text`, with what ends its turn. closed: whether the last one is ended there."""

    text: str
    learned: tuple[Place, ...]
    closed: bool


def render_conversation(format: Format, messages: Messages, bos: str, eos: str, closers: Collection[str] = ()) -> Conversation:
    """The text of a conversation whose last message is an answer. Raises DataError where the template loses an answer.

    It is the template's own text of the whole conversation, up to the end of the last turn. Where that does not begin with what
    the model is shown at chat time (a thought that the prompt opens), it is that prompt and the answer.
    closers: texts of special tokens; the first one behind an answer ends its turn.
    """
    try:
        return _conversation(format, messages, bos, eos, {*closers, eos} - {""})
    except EngineError as error:
        raise DataError(str(error)) from None


def _conversation(format: Format, messages: Messages, bos: str, eos: str, closers: Collection[str]) -> Conversation:
    def render(some: Messages, open: bool) -> str:
        return format.render(some, bos, eos, open)

    answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    last = answers[-1]
    text, prompt = render(messages, False), render(messages[:last], True)
    places = locate(format.name, lambda some: render(some, False), messages, answers, text)
    if not text.startswith(prompt):
        start, end = places[-1]
        said = continuation(prompt, messages[last]["content"], text[start:end])
        places = locate(format.name, lambda some: render(some, True), messages[:last], answers[:-1], prompt)
        places.append((len(prompt), len(prompt) + len(said)))
        text = prompt + said + text[end:]
    closing = text[places[-1][1] :]
    learned = [
        (learning_start(text, start, render(messages[:at], True)), end + len(turn_end(text[end:], closing, closers)))
        for at, (start, end) in zip(answers, places, strict=True)
    ]
    end = learned[-1][1]
    return Conversation(text[:end], tuple(learned), any(text[:end].endswith(one) for one in closers))


def locate(name: str, render: Callable[[Messages], str], messages: Messages, answers: Sequence[int], text: str) -> list[Place]:
    """Where each of the answers stands in `text`, which is `render(messages)`."""
    places: list[Place] = []
    for at in answers:
        marked = render([*messages[:at], {**messages[at], "content": MARK}, *messages[at + 1 :]])
        if marked.count(MARK) != 1:
            raise refusal(name, "repeats" if MARK in marked else "leaves out", len(places), messages[at]["content"])
        before, _, after = marked.partition(MARK)
        content = messages[at]["content"]
        place = place_exactly(text, before, after, content) or place_nearby(text, after, content, places[-1][1] if places else 0)
        if place is None:
            raise refusal(name, "changes the text of", len(places), content)
        places.append(place)
    return places


def refusal(name: str, does: str, number: int, content: str) -> EngineError:
    """The error for an answer that the template does not show as it is."""
    return EngineError(
        f"Format {name!r} cannot be trained on this conversation: its template {does} answer {number + 1} ({content[:40]!r}); "
        "name another format."
    )


def place_exactly(text: str, before: str, after: str, content: str) -> Place | None:
    """The place between what the template writes around a mark, if the answer stands there."""
    start, end = len(before), len(text) - len(after)
    fits = start <= end and text.startswith(before) and text.endswith(after)
    return (start, end) if fits and is_answer(text[start:end], content) else None


def place_nearby(text: str, after: str, content: str, floor: int) -> Place | None:
    """The same where the template writes other things around this very answer, as around one that holds a thought."""
    ceiling = len(text)
    while ceiling > floor and len(text) - ceiling < len(after) and text[ceiling - 1] == after[ceiling - 1 - len(text)]:
        ceiling -= 1
    for said in (content, content.strip(), strip_thought(content)):
        start = text.rfind(said, floor, ceiling) if said else -1
        if start >= 0 and not text[start + len(said) : ceiling].strip():
            return start, start + len(said)
    return None


def is_answer(shown: str, content: str) -> bool:
    """Whether this is the answer but for the white space around it, or what follows its thought."""
    shown, content = shown.strip(), content.strip()
    cut = content[: len(content) - len(shown)]
    return shown == content or bool(shown and content.endswith(shown) and _THOUGHT_ENDS.search(cut))


def strip_thought(content: str) -> str:
    """What follows the last thought."""
    return content.rpartition("</think>")[2].strip()


def continuation(prompt: str, content: str, shown: str) -> str:
    """What the model is to write behind the prompt: the answer as shown, or whole where the prompt opens its thought."""
    for length in range(min(len(prompt), len(content)), 0, -1):
        opened = content[:length]
        if prompt.endswith(opened) and opened.strip().startswith(("<", "[")):
            return content[length:]
    return shown


def learning_start(text: str, start: int, asked: str) -> int:
    """Where learning begins: the white space that the template puts between the prompt of chat time and an answer is written by
    the model.
    """
    head = text[:start].rstrip()
    gap, opened = text[len(head) : start], asked[len(asked.rstrip()) :]
    same = head.endswith(asked.rstrip()[-12:]) and gap.startswith(opened)
    return len(head) + len(opened) if same else start


def turn_end(rest: str, closing: str, closers: Collection[str]) -> str:
    """What ends a turn that `rest` follows: the first special token, with white space before it, else the words that also
    stand behind the last answer (`closing`).
    """
    bare = rest.lstrip()
    found = max((one for one in closers if bare.startswith(one)), key=len, default="")
    if found:
        return rest[: len(rest) - len(bare) + len(found)]
    return closing.rstrip() if rest.startswith(closing.rstrip()) else ""
