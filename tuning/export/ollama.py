"""A Modelfile, from which `ollama create NAME -f Modelfile` makes a model.

Ollama renders conversations with Go's templates. What a chat template writes around the texts is found by rendering conversations
of marks; a template that does more than put words around texts has no such form, and is refused. White space at the ends of what
is said, which some strip, stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from engine.formats import Format
from engine.types import EngineError, Message

QUOTES = '"""'
LONGEST = 8192  # tokens of context that are asked for; a longer one costs memory, and whoever wants it says so
ROLES = ("system", "user", "assistant")
MARKS = [f"\ue000{letter}\ue001" for letter in "suavbwc"]

Render = Callable[[Sequence[Message]], str]


@dataclass(frozen=True)
class Around:
    """What a template writes before the first question without a system message and with one, behind it, behind a question, and
    before and behind an answer that is not the last."""

    opening: str
    before_system: str
    after_system: str
    after_question: str
    before_answer: str
    after_answer: str

    def text(self, messages: Sequence[Message]) -> str:
        system = [message["content"] for message in messages if message["role"] == "system"]
        parts = [self.before_system, system[0], self.after_system] if system else [self.opening]
        for message in messages:
            if message["role"] == "user":
                parts += [message["content"], self.after_question]
            elif message["role"] == "assistant":
                parts += [self.before_answer, message["content"], self.after_answer]
        return "".join(parts)

    def go(self) -> str:
        """The same as a Go template."""
        system = f"{literal(self.before_system)}{{{{ .System }}}}{literal(self.after_system)}"
        opening = f"{{{{ if .System }}}}{system}{{{{ else }}}}{literal(self.opening)}{{{{ end }}}}" if system else ""
        question = f'{{{{ if eq .Role "user" }}}}{{{{ .Content }}}}{literal(self.after_question)}'
        answered = f"{literal(self.before_answer)}{{{{ .Content }}}}{literal(self.after_answer)}"
        answer = f'{{{{ else if eq .Role "assistant" }}}}{answered}{{{{ end }}}}'
        return f"{opening}{{{{ range .Messages }}}}{question}{answer}{{{{ end }}}}"


def modelfile(
    gguf: str,
    chosen: Format,
    template: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    ends: Collection[int],
    context: int,
    identity: str | None,
) -> str:
    """gguf: the file's name, beside it. template: the chat template as that file has it, without an identity in it.
    ends: ids that end an answer. Raises EngineError for a template that has no form in Go."""
    portable = Format(chosen.name, template, (), False)
    bos = tokenizer.bos_token or ""
    around = find_around(
        chosen.name,
        lambda messages: portable.render(messages, bos_token=bos, eos_token=tokenizer.eos_token or "").removeprefix(bos),
    )  # Ollama puts it before the text, as the file says
    names = tokenizer.convert_ids_to_tokens(sorted(ends))
    stops = dict.fromkeys([*names, *chosen.stop])
    lines = [
        "# ollama create NAME -f Modelfile",
        f"FROM ./{gguf}",
        f"TEMPLATE {quoted(around.go(), 'The template')}",
        *([f"SYSTEM {quoted(identity.strip(), 'The identity')}"] if identity else []),
        *(f"PARAMETER stop {quoted(stop, 'A stop string', short=True)}" for stop in stops),
        f"PARAMETER num_ctx {min(context, LONGEST)}",
    ]
    return "\n".join(lines) + "\n"


def find_around(name: str, render: Render) -> Around:
    """render: a conversation that ends with a question -> its text. Raises EngineError."""
    s, u, a, v, b, w, _ = MARKS
    plain, with_system, longer = (render(conversation(texts)) for texts in ([None, u], [s, u], [None, u, a, v]))
    opening, _, after_question = plain.partition(u)
    before_system, _, rest = with_system.partition(s)
    before_answer = longer.partition(u)[2].partition(a)[0].removeprefix(after_question)
    after_answer = longer.partition(a)[2].partition(v)[0]
    around = Around(opening, before_system, rest.partition(u)[0], after_question, before_answer, after_answer)
    for texts in ([None, u], [s, u], [None, u, a, v], [s, u, a, v, b, w]):
        messages = conversation(texts)
        if around.text(messages) != render(messages):
            raise EngineError(
                f"Format {name!r} does more than put words around what is said, and has no form as one of Ollama's templates; "
                "export it as GGUF, which keeps the chat template as it is."
            )
    return around


def conversation(texts: Sequence[str | None]) -> list[Message]:
    """A system message, or None, and questions and answers in turn."""
    system, *turns = texts
    said: list[Message] = [{"role": ("user", "assistant")[at % 2], "content": text or ""} for at, text in enumerate(turns)]
    return [{"role": "system", "content": system}, *said] if system else said


def literal(text: str) -> str:
    """Text as it stands in a Go template."""
    return text.replace("{{", '{{ "{{" }}')


def quoted(text: str, what: str, short: bool = False) -> str:
    """Ends at the first three quotation marks; what stands on one line may do without any."""
    if '"' not in text and short:
        return f'"{text}"'
    if text.endswith('"') and not text.startswith('"') and "\n" not in text and text == text.strip():
        return text
    if QUOTES in text or text.endswith('"'):
        raise EngineError(f"{what} holds quotation marks that a Modelfile has no way to write; export it as GGUF.")
    return QUOTES + text + QUOTES
