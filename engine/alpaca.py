"""The prompts of an alpaca-lora template file, taken apart and put together as a chat template."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path

from engine.types import EngineError


@dataclass(frozen=True)
class AlpacaPrompt:
    """One alpaca-lora prompt taken apart."""

    preamble: str
    opening: str  # between the preamble and the instruction
    before_input: str
    before_response: str
    response: str  # the response marker, and what follows it


def take_apart(path: Path, key: str, text: str, split: str, needed: list[str]) -> AlpacaPrompt:
    """The text of the file's `key`; needed: the fields that it has to hold, in this order. Raises EngineError."""
    literals, fields = [""], []
    try:
        for literal, field, _, _ in string.Formatter().parse(text):
            literals[-1] += literal
            if field is not None:
                fields.append(field)
                literals.append("")
    except ValueError as error:
        raise EngineError(f"{path}: {key} has an unpaired brace ({error}); a brace of its own is written twice.") from None
    if fields != needed:
        wanted = " and then ".join(f"{{{field}}}" for field in needed)
        raise EngineError(f"{path}: {key} has to hold {wanted}, once and nothing else in braces.")
    head, tail = literals[0], literals[-1]
    marker = tail.find(split)
    if marker < 0:
        raise EngineError(f"{path}: in {key}, the response_split {split!r} does not stand after {{{needed[-1]}}}.")
    blank = head.rstrip("\n").rfind("\n\n")
    cut = blank + 2 if blank >= 0 else 0
    return AlpacaPrompt(head[:cut], head[cut:], literals[1] if len(fields) > 1 else "", tail[:marker], tail[marker:])


def template_of(with_input: AlpacaPrompt, no_input: AlpacaPrompt) -> str:
    """The chat template that renders conversations as the two prompts render one turn."""

    def text(literal: str) -> str:  # Python's and Jinja's string escapes agree
        return "{{- " + repr(literal) + " -}}" if literal else ""

    def turn(prompt: AlpacaPrompt, given: str) -> str:
        return text(prompt.opening) + "{{- message.content -}}" + given + text(prompt.before_response)

    def by_input(message: str, yes: str, no: str) -> str:
        return "{%- if " + message + ".input -%}" + yes + "{%- else -%}" + no + "{%- endif -%}" if yes != no else no

    gap = no_input.before_response[len(no_input.before_response.rstrip("\n")) :] or "\n"
    preamble = by_input("first", text(with_input.preamble), text(no_input.preamble))
    return "".join(
        [
            "{%- set first = messages[1] if messages[0].role == 'system' else messages[0] -%}",
            "{%- if messages[0].role == 'system' -%}{{- messages[0].content -}}",
            "{{- '' if messages[0].content.endswith('\\n') else '\\n' -}}{{- '\\n' -}}{%- else -%}",
            preamble,
            "{%- endif -%}{%- for message in messages -%}{%- if message.role == 'user' -%}",
            by_input("message", turn(with_input, text(with_input.before_input) + "{{- message.input -}}"), turn(no_input, "")),
            "{%- elif message.role == 'assistant' -%}",
            text(no_input.response),
            "{{- message.content + eos_token -}}{%- if not loop.last -%}" + text(gap) + "{%- endif -%}",
            "{%- endif -%}{%- endfor -%}{%- if add_generation_prompt -%}",
            text(no_input.response),
            "{%- endif -%}",
        ]
    )
