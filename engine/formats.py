"""Formats: how a conversation becomes the one exact text a model reads.

A format is a chat template in the Hugging Face convention, so that any other server renders the same prompt.
The project's own stand in `templates/`, one file each; others come from a checkpoint or from an alpaca-lora JSON.
From the command line, `python -m engine.formats NAME < messages.json` prints the prompt byte for byte.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import outside, paths
from common.errors import nearest
from engine import alpaca, rendering
from engine.traits import Traits, examine
from engine.types import EngineError, Message, short_hash

if TYPE_CHECKING:  # transformers takes seconds, and formats are often only listed
    from transformers import PreTrainedTokenizerBase

TEMPLATES = Path(__file__).parent / "templates"
ROLES = ("system", "user", "assistant")
SUFFIXES = (".json", ".jinja")  # of template files; alpaca-lora's own come first
_FRONT_MATTER = re.compile(r"\A\s*\{#-?\s*(\{(?![%{]).*?\})\s*-?#\}\s*", re.DOTALL)


@dataclass(frozen=True)
class Format:
    """A chat template and what goes with it.

    template:           Jinja text over `messages`, `add_generation_prompt`, `bos_token`, `eos_token`.
    stop:               strings that end an answer, beside the tokenizer's eos.
    add_special_tokens: True if the tokenizer puts its special tokens around the rendered text,
                        False if the template has written them.
    source:             where the template comes from, one line for a person.
    """

    name: str
    template: str
    stop: tuple[str, ...] = ()
    add_special_tokens: bool = True
    source: str = ""

    @property
    def hash(self) -> str:
        """Twelve hex digits that change with the template or the stop strings, and with nothing else."""
        return short_hash({"template": self.template, "stop": list(self.stop)})

    def render(
        self,
        messages: Sequence[Message],
        bos_token: str | None = "<s>",
        eos_token: str | None = "</s>",
        add_generation_prompt: bool = True,
    ) -> str:
        """The exact text for `messages`.

        With `add_generation_prompt` the text ends where the model is to begin; the last message is then the user's.
        Without it a last message of the assistant is rendered whole, closed by eos: a training row.
        Raises EngineError for a conversation that is no conversation, or one the template refuses.
        """
        check(messages, add_generation_prompt)
        if messages[0]["role"] == "system" and self.traits.no_system:
            raise EngineError(
                f"Format {self.name!r} takes no system message ({self.traits.no_system}); "
                "give the text as a first turn instead: mode first_turn sends it as the user's first message."
            )
        return _render(self, self.traits.adapted(messages), bos_token or "", eos_token or "", add_generation_prompt)

    @functools.cached_property
    def traits(self) -> Traits:
        """What the template does with what it is given. Raises EngineError if it shows no question."""
        return examine(self.name, lambda messages, open: _render(self, messages, "<s>", "</s>", open))

    @functools.cached_property
    def default_system(self) -> str | None:
        """The system text the template itself adds when no system message is given; None if it adds none."""
        mark = "\ue000system\ue000"
        user: Message = {"role": "user", "content": "\ue000user\ue000"}
        if self.traits.no_system:
            return None
        with_mark = self.render([{"role": "system", "content": mark}, user])
        without = self.render([user])
        before, found, after = with_mark.partition(mark)
        hidden = without[len(before) : len(without) - len(after)]
        whole = before + hidden + after == without
        return hidden if found and whole and hidden.strip() else None


def names() -> list[str]:
    """The names of the project's own formats, sorted."""
    return sorted(path.stem for path in TEMPLATES.glob("*.jinja"))


@functools.cache
def get(name: str) -> Format:
    """One of the project's own formats by name; EngineError lists them if there is none of that name."""
    if name not in names():
        near = nearest(name, names())
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise EngineError(f"There is no format {name!r}; known are {', '.join(names())}.{hint}")
    return from_jinja(TEMPLATES / f"{name}.jinja")


def find(name_or_path: str) -> Format:
    """What a person may write after `--format`: a name, a `.jinja` file or an alpaca-lora `.json` file.

    As alpaca-lora, it takes a path without the ending, and a name that is none of ours as a file in the folder templates/.
    """
    file = template_file(name_or_path)
    if file is None:
        return get(name_or_path)
    form = check_template(from_alpaca_json(file) if file.suffix.lower() == ".json" else from_jinja(file))
    if form.name not in names():
        return form
    own = get(form.name)  # adapters record a format's name, and under this one ours would be meant
    return own if alike(own, form) else replace(form, name=f"{form.name}-file")


def template_file(name_or_path: str) -> Path | None:
    """The template file that is meant, None for a name."""
    path = Path(name_or_path)
    if path.suffix.lower() in SUFFIXES:
        return path
    place = path if "/" in name_or_path else Path("templates") / path
    there = (file for suffix in SUFFIXES if (file := Path(f"{place}{suffix}")).is_file())
    return None if name_or_path in names() else next(there, None)


def alike(one: Format, other: Format) -> bool:
    """Whether both make the same text of one turn, with a second field and without, and of two."""
    said: list[Message] = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    talks: list[list[Message]] = [said[:1], [{**said[0], "input": "i"}], [*said, *said[:1]]]
    return one.add_special_tokens == other.add_special_tokens and all(one.render(talk) == other.render(talk) for talk in talks)


def check_template(form: Format) -> Format:
    """The same; a foreign template that shows no question is refused here, once, and not at the first answer."""
    _ = form.traits
    return form


def from_jinja(path: str | Path) -> Format:
    """A template file. Its first comment may say `{stop: [...], bos: tokenizer|template, source: "..."}` in YAML;
    a file that says nothing is taken as Hugging Face takes it: the template writes the special tokens."""
    path = Path(path)
    text = _read(path)
    found = _FRONT_MATTER.match(text)
    about = _front_matter(path, found.group(1)) if found else {}
    return Format(
        name=path.stem,
        template=text[found.end() :] if found else text,
        stop=tuple(about.get("stop", ())),
        add_special_tokens=about.get("bos", "template") == "tokenizer",
        source=str(about.get("source", path.name)),
    )


def from_alpaca_json(path: str | Path) -> Format:
    """An alpaca-lora prompt template (`prompt_input`, `prompt_no_input`, `response_split`, all needed) as a format.

    The file describes one turn. Further turns repeat what follows the preamble, which ends at the last blank line
    before the instruction's own line; a turn is closed by eos and the newlines that stand before the response, so
    that BayLing's and Alpaca's files give BayLing's and Alpaca's dialogs. A system message replaces the preamble.
    """
    path = Path(path)
    try:
        plain = json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise EngineError(f"{path}, line {error.lineno}: this is no JSON ({error.msg}).") from None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, 1,000 lists in one another
        raise EngineError(f"{path}: this is no JSON that can be read ({error}).") from None
    keys = ("prompt_input", "prompt_no_input", "response_split")
    wrong = [key for key in keys if not isinstance(plain, dict) or not isinstance(plain.get(key), str) or not plain[key]]
    if wrong:
        raise EngineError(f"{path}: an alpaca-lora template needs the texts {', '.join(keys)}; missing: {', '.join(wrong)}.")
    split = plain["response_split"]
    with_input = alpaca.take_apart(path, "prompt_input", plain["prompt_input"], split, ["instruction", "input"])
    no_input = alpaca.take_apart(path, "prompt_no_input", plain["prompt_no_input"], split, ["instruction"])
    if with_input.response != no_input.response:
        raise EngineError(f"{path}: prompt_input and prompt_no_input differ from {split!r} on; both have to end alike.")
    marker = no_input.opening.strip()
    return Format(
        name=path.stem,
        template=alpaca.template_of(with_input, no_input),
        stop=(marker,) if marker else (),
        add_special_tokens=True,
        source=str(plain.get("description") or path.name),
    )


def from_tokenizer(tokenizer: PreTrainedTokenizerBase) -> Format | None:
    """The checkpoint's own chat template as the format "checkpoint", None if it has none.

    Of several named ones the one called "default" is taken, or the only one.
    """
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, (list, tuple)):
        template = {entry["name"]: entry["template"] for entry in template}
    if isinstance(template, dict):
        template = template.get("default") or (next(iter(template.values())) if len(template) == 1 else None)
    if not template:
        return None
    return _of_checkpoint(template)


@functools.lru_cache(maxsize=8)
def _of_checkpoint(template: str) -> Format:
    """Once for each template: what it does with a conversation is found out once."""
    return check_template(Format("checkpoint", template, (), False, "the checkpoint's own chat template"))


def recognise(tokenizer: PreTrainedTokenizerBase, config: object) -> tuple[Format, str]:
    """(format, why) for a checkpoint, read from its tokenizer and config and never from the name of its folder.

    Raises EngineError, listing the formats one can name, if nothing in the checkpoint tells.
    """
    own = from_tokenizer(tokenizer)
    if own:
        hidden = own.default_system
        says = f"; without a system message it adds one of its own: {_short(hidden)!r}" if hidden else ""
        return own, f"format checkpoint: the checkpoint carries its own chat template{says}."
    vocabulary = tokenizer.get_vocab()
    for token, name in (("<|im_start|>", "chatml"), ("<reserved_106>", "baichuan2")):
        if token in vocabulary:
            return get(name), f"format {name}: no chat template, but the vocabulary has the token {token}."
    model_type = getattr(config, "model_type", "")
    if model_type == "chatglm":
        return get("chatglm"), "format chatglm: no chat template, and the model type is chatglm (taken as its first version)."
    llama = model_type == "llama" or any(name.startswith("Llama") for name in getattr(config, "architectures", None) or ())
    if llama and any(piece.startswith("▁") for piece in vocabulary):
        return get("bayling"), (
            "format bayling: assumed, as this is a LLaMA with a sentencepiece vocabulary and no chat template; "
            "if it was trained in another one, name it, for example --format alpaca."
        )
    raise EngineError(
        f"This checkpoint (model type {model_type or 'unknown'}) carries no chat template and nothing that tells its format; "
        f"name one with --format: {', '.join(names())}, or a .jinja or alpaca-lora .json file."
    )


def check(messages: Sequence[Message], add_generation_prompt: bool) -> None:
    """Raises EngineError, one sentence, for what is no conversation."""
    if not messages:
        raise EngineError("The conversation is empty: it needs at least one user message.")
    previous: str | None = None
    for number, message in enumerate(messages, 1):
        role, where = (message.get("role") if isinstance(message, dict) else None), f"Message {number} of the conversation"
        if role not in ROLES:
            raise EngineError(f"{where} has the role {role!r}; a role is one of {', '.join(ROLES)}.")
        if not isinstance(message.get("content"), str):
            raise EngineError(f"{where} has no text under 'content'.")
        if not isinstance(message.get("input", ""), str):
            raise EngineError(f"{where} has an 'input' that is no text.")
        if role == "system" and number > 1:
            raise EngineError(f"{where} is a system message; only the first one may be.")
        if role == "assistant" and previous in (None, "system"):
            raise EngineError(f"{where} is the assistant's, but no user has spoken before it.")
        if role == previous:
            raise EngineError(f"{where} is the {role}'s like the one before it; user and assistant take turns.")
        previous = role
    if previous == "system":
        raise EngineError("The conversation holds a system message only; it needs a user message after it.")
    if add_generation_prompt and previous == "assistant":
        raise EngineError("The conversation ends with the assistant's answer, so there is nothing left to answer.")


def _render(form: Format, messages: Sequence[Mapping[str, Any]], bos: str, eos: str, add_generation_prompt: bool) -> str:
    variables = {"messages": list(messages), "bos_token": bos, "eos_token": eos, "add_generation_prompt": add_generation_prompt}
    return rendering.render(form.name, form.template, variables, ours=form.template in _own_templates())


@functools.cache
def _own_templates() -> frozenset[str]:
    return frozenset(get(name).template for name in names())


def _read(path: Path) -> str:
    try:
        return paths.read_text(path)
    except UnicodeDecodeError:
        raise EngineError(f"{path}: this is no UTF-8 text.") from None
    except OSError as error:
        raise EngineError(f"{path}: cannot be read ({error.strerror}).") from None


def _front_matter(path: Path, text: str) -> dict[str, Any]:
    reads = "it reads {stop: [...], bos: tokenizer}"
    about = outside.from_yaml(text, f"{path}: the first comment", EngineError, broken=f" is no YAML; {reads}")
    if not isinstance(about, dict):
        raise EngineError(f"{path}: the first comment is no mapping; {reads}.")
    wrong = [f"unknown key {key!r}" for key in about if key not in ("stop", "bos", "source")]
    stop = about.get("stop", [])
    if not isinstance(stop, list) or not all(isinstance(text, str) and text for text in stop):
        wrong.append("stop is a list of non-empty texts")
    if about.get("bos", "template") not in ("tokenizer", "template"):
        wrong.append("bos is tokenizer or template")
    if wrong:
        raise EngineError(f"{path}: in the first comment: {'; '.join(wrong)}.")
    return about


def _short(text: str, limit: int = 100) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        usage = "Usage: python -m engine.formats NAME < messages.json, NAME a .jinja or alpaca-lora .json file or one of "
        print(usage + ", ".join(names()) + ".", file=sys.stderr)
        return 2
    try:
        form = find(arguments[0])
        try:
            messages = json.loads(sys.stdin.buffer.read().decode("utf-8-sig"))
        except ValueError as error:
            raise EngineError(f"The standard input is no JSON ({error}).") from None
        if not isinstance(messages, list):
            raise EngineError('The standard input is no list of messages like [{"role": "user", "content": "Who are you?"}].')
        answered = bool(messages) and isinstance(messages[-1], dict) and messages[-1].get("role") == "assistant"
        prompt = form.render(messages, add_generation_prompt=not answered)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2
    sys.stdout.buffer.write(prompt.encode())
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
