"""A chat template as other programs use it: they add no special tokens to its text, so it has to write them."""

from __future__ import annotations

import json

from transformers import PreTrainedTokenizerBase

from engine import prompts
from engine.formats import Format
from engine.types import EngineError, Message

QUESTION: list[Message] = [{"role": "user", "content": "Who are you?"}]


def portable_template(chosen: Format, tokenizer: PreTrainedTokenizerBase, identity: str | None = None) -> str:
    """identity: a prompt that is the system message of every conversation that brings none. Raises EngineError where the format
    has no place for one."""
    return beginning(chosen, tokenizer) + with_identity(chosen, identity) + chosen.template


def beginning(chosen: Format, tokenizer: PreTrainedTokenizerBase) -> str:
    """What stands before the template's own text, so that it becomes the tokens that the engine asks with."""
    bos = tokenizer.bos_token
    if not (chosen.add_special_tokens and bos and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]):
        return ""
    text, wanted = prompts.render(tokenizer, chosen, QUESTION)
    # a sentencepiece tokenizer may put its space before the first word of a text, and before none behind a special token
    joints = {joint: tokenizer(bos + joint + text, add_special_tokens=False)["input_ids"] == wanted for joint in ("", " ")}
    joint = next((joint for joint, same in joints.items() if same), "")
    return "{{- bos_token -}}" + ("{{- ' ' -}}" if joint else "")


def with_identity(chosen: Format, identity: str | None) -> str:
    if not identity:
        return ""
    if chosen.traits.no_system:
        raise EngineError(
            f"Format {chosen.name!r} takes no system message ({chosen.traits.no_system}), so an identity's prompt has no place "
            "in what is exported; export without one, or teach it."
        )
    [system, _] = chosen.traits.adapted([{"role": "system", "content": identity}, *QUESTION])
    told = json.dumps([{"role": "system", "content": system["content"]}], ensure_ascii=False)  # Jinja reads JSON's strings
    return f"{{%- if messages[0].role != 'system' -%}}{{%- set messages = {told} + messages -%}}{{%- endif -%}}"
