"""What a chat template does with what it is given, found out once by rendering texts that carry a mark.

Templates in the field drop what they do not know without a word: a question that is no list of parts, a system message,
alpaca's second field. Whoever renders asks here first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.rendering import TemplateLimit
from engine.types import EngineError, Message

SYSTEM, USER, INPUT, ANSWER = (f"\ue000{word}\ue000" for word in ("system", "user", "input", "answer"))

Renderer = Callable[[Sequence[Any], bool], str]


@dataclass(frozen=True)
class Traits:
    """parts: contents have to be lists of parts. input: alpaca's second field is rendered. no_system: why a system message
    has no place, "" if it has one. closing: what follows the last answer.
    """

    parts: bool
    input: bool
    no_system: str
    closing: str

    def adapted(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """The messages as the template reads them, nothing of their text left out."""
        found = []
        for message in messages:
            text, second = message["content"], message.get("input", "")
            if second and not self.input:
                text, second = f"{text}\n{second}", ""
            content: Any = [{"type": "text", "text": text}] if self.parts else text
            found.append({"role": message["role"], "content": content} | ({"input": second} if second else {}))
        return found


def examine(name: str, render: Renderer) -> Traits:
    """render: (messages, add_generation_prompt) -> text. Raises EngineError for a template that shows no question."""
    user: Message = {"role": "user", "content": USER}
    parts, problem = False, ""
    for parts in (False, True):
        shown, wrong = try_render(render, plain_or_parts([user], parts), True)
        if USER in shown:
            break
        problem = problem or wrong
    else:
        why = problem or f"Format {name!r} leaves the question out of the prompt, as text and as a list of parts."
        raise EngineError(f"{why.rstrip('.')}; name another format, for example --format chatml.")
    with_input, _ = try_render(render, plain_or_parts([{**user, "input": INPUT}], parts), True)
    with_system, wrong = try_render(render, plain_or_parts([{"role": "system", "content": SYSTEM}, user], parts), True)
    # of the renderer's sentence the template's own words are enough
    no_system = "" if SYSTEM in with_system else wrong.partition(": ")[2].rstrip(".") or "it is left out of the prompt"
    answered, _ = try_render(render, plain_or_parts([user, {"role": "assistant", "content": ANSWER}], parts), False)
    return Traits(parts, INPUT in with_input, no_system, answered.partition(ANSWER)[2])


def try_render(render: Renderer, messages: Sequence[Any], add_generation_prompt: bool) -> tuple[str, str]:
    """(text, "") or ("", why it could not be rendered). Raises TemplateLimit."""
    try:
        return render(messages, add_generation_prompt), ""
    except TemplateLimit:
        raise
    except EngineError as error:
        return "", str(error)


def plain_or_parts(messages: Sequence[Message], parts: bool) -> list[dict[str, Any]]:
    return Traits(parts, True, "", "").adapted(messages)
