"""What people type is text: no control token comes into being from it.

A prompt's structure is written by its template, and the template's `<|im_start|>` and `</s>` are control tokens. The same letters
in a question, an identity, a data row or an answer given as context are letters. Only where such letters occur, which is nearly
never, is anything done: in the messages every character with which a control token begins gets a mark that no template touches
(`mark`); what the template then writes is tokenized with the marked characters as plain text (`ids`) and read without the marks
(`unmark`). One character stays one, so that places in the text stay what they are.

A fast tokenizer splits a text at its added tokens before anything else. Here a copy of it is asked, in which the control tokens
have names that nobody can type, and the structure's are written by those names. The rest of it is the same, and so are the ids of
ordinary text.
"""

from __future__ import annotations

import json
import re
import secrets
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import jinja2
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from engine import thoughts
from engine.formats import Format
from engine.types import EngineError, Message

# A mark is a UTF-16 unit of the character it stands for, in Unicode's last plane: private use, nobody's white space or letter.
_PLANE = 0x100000
_MARKS = re.compile("[\U00100000-\U0010ffff]+")
# An added token that is not called special and is one: <|fim_prefix|>, [PAD], <reserved_7>. An HTML tag is ordinary text.
_SHAPED = re.compile(r"[<\[◁✿](?=.*\w)\S+[>\]▷✿]")
_BLACK = re.compile(r"\S")
_HTML = re.compile(r"</?[a-z]+[1-6]?/?>")
_FORMATS, _COPIES = 64, 4  # that are remembered of a tokenizer

Place = tuple[int, int]


def mark(tokenizer: PreTrainedTokenizerBase, form: Format, messages: Sequence[Message]) -> Sequence[Message]:
    """The messages with what could be taken for a control token marked; the very same ones where there is nothing to mark.

    Markup that parts the thoughts of an answer from it stays what it is: it is the answer's own structure.
    Raises EngineError, one sentence, for text that this base can read as a control token only.
    """
    known = controls(tokenizer, form)
    texts = [message[field] for message in messages for field in ("content", "input") if message.get(field)]
    if not known.near(texts):
        return messages
    kept = [thoughts.places(message["content"]) if message["role"] == "assistant" else [] for message in messages]
    typed = [part for message, places in zip(messages, kept, strict=True) for part in _typed(message, places)]
    if not known.near(typed) and not any(map(_MARKS.search, texts)):
        return messages
    marked: list[Message] = []
    for message, places in zip(messages, kept, strict=True):
        where = f"the {message['role']}'s text"
        changed: Message = {**message, "content": _mark(tokenizer, known, message["content"], places, where)}
        if message.get("input"):
            changed["input"] = _mark(tokenizer, known, message["input"], (), where)
        marked.append(changed)
    return marked


def mark_text(tokenizer: PreTrainedTokenizerBase, form: Format, text: str, where: str) -> str:
    """The same for one text. where: what it is, for the sentence that refuses it."""
    known = controls(tokenizer, form)
    return _mark(tokenizer, known, text, (), where) if known.near([text]) else text


def unmark(text: str) -> str:
    """A rendered text as people read it."""

    def meant(run: re.Match[str]) -> str:
        units = b"".join((ord(one) - _PLANE).to_bytes(2, "little") for one in run.group())
        return units.decode("utf-16-le", "replace")

    return _MARKS.sub(meant, text)


def ids(tokenizer: PreTrainedTokenizerBase, form: Format, text: str, special: bool | None = None) -> list[int]:
    """Token ids of a text rendered from marked messages; of one without marks, what the tokenizer says.

    special: whether the tokenizer adds its special tokens; None takes the format's word. Raises EngineError, one sentence,
    where this base reads a control token in marked text all the same.
    """
    special = form.add_special_tokens if special is None else special
    if not _MARKS.search(text):
        plain: list[int] = tokenizer(text, add_special_tokens=special)["input_ids"]
        return plain
    known = controls(tokenizer, form)
    structure, found = known.ids(tokenizer, text, special)
    if known.count(structure) != known.count(found):
        raise EngineError(
            f"This base's tokenizer reads a control token in what was typed; in format {form.name!r} leave out such texts as "
            f"{', '.join(sorted(known.tokens)[:3])}."
        )
    return found


def literals(template: str) -> list[str]:
    """What a template writes by itself."""
    pieces = jinja2.Environment().lex(template)
    return [text[1:-1] if kind == "string" else text for _, kind, text in pieces if kind in ("data", "string")]


def control_tokens(tokenizer: PreTrainedTokenizerBase, template: str) -> dict[str, int]:
    """The tokens that steer a model, with their ids: special ones, and other added ones that the template writes or that look so.

    The rest of the added tokens are words: white space, HTML tags.
    """
    written = "\0".join(literals(template))
    added = tokenizer.added_tokens_decoder
    special = {*tokenizer.all_special_tokens, *(token.content for token in added.values() if token.special)}
    found = {token.content: at for at, token in added.items()}
    found |= {token: tokenizer.convert_tokens_to_ids(token) for token in special - set(found)}

    def steers(token: str) -> bool:
        shaped = _SHAPED.fullmatch(token) and not _HTML.fullmatch(token)
        in_template = token in written and re.search(r"[^\w\s]", token)
        return token in special or bool(shaped or in_template) or thoughts.is_markup(token)

    return {token: at for token, at in found.items() if token.strip() and steers(token)}


class Renamed(NamedTuple):
    """A tokenizer in which the control tokens have other names; token -> name; ids of its added tokens -> the true ones."""

    tokenizer: Tokenizer
    names: dict[str, str]
    ids: dict[int, int]


class Controls:
    """The control tokens of a tokenizer under one template, and how texts are spelled with them. Keeps no hold on the tokenizer,
    under which it is remembered."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str, copies: dict[Any, Renamed]) -> None:
        self.tokens = control_tokens(tokenizer, template)
        self.by_id = {at: token for token, at in self.tokens.items()}
        self.added = tokenizer.added_tokens_decoder
        self.backend = getattr(tokenizer, "backend_tokenizer", None)
        self.copies = copies
        self.unknown = tokenizer.unk_token_id
        self.counted = frozenset(self.by_id) - {self.unknown}
        self.find = any_of(self.tokens)
        self.squeezed = any_of(squeeze([token]) for token in self.tokens)
        self.begins = re.compile(f"[{re.escape(''.join({token.strip()[0] for token in self.tokens}))}\U00100000-\U0010ffff]")
        # what would be a control token behind the words of the template, as "/s>" is where it writes "<" before a text
        ends = {text[-size:] for text in literals(template) for size in range(1, 1 + min(len(text), 64))}
        self.rests = {token[size:] for token in self.tokens for size in range(1, len(token)) if token[:size] in ends}
        self.sayable: dict[str, bool] = {}

    def near(self, texts: Iterable[str]) -> bool:
        """Whether a control token could come out of these texts, trimmed, lowered and put together as a template may."""
        texts = list(texts)
        found = self.squeezed.search(squeeze(texts)) or any(map(_MARKS.search, texts))
        return bool(found) or (bool(self.rests) and any(map(self.continues, texts)))

    def continues(self, text: str) -> bool:
        text = text.strip()
        return bool(text) and any(text.startswith(rest) or rest.startswith(text) for rest in self.rests)

    def marked(self, text: str) -> str:
        first = len(text) - len(text.lstrip()) + 1 if self.rests else 0
        return _marked(_BLACK, text[:first]) + _marked(self.begins, text[first:])

    def count(self, found: Sequence[int]) -> Counter[int]:
        return Counter(one for one in found if one in self.counted)

    def can_say(self, tokenizer: PreTrainedTokenizerBase, token: str) -> bool:
        if token not in self.sayable:
            _, spelled = self.ids(tokenizer, _marked(_BLACK, token), False)
            self.sayable[token] = not self.count(spelled) and self.unknown not in spelled
        return self.sayable[token]

    def ids(self, tokenizer: PreTrainedTokenizerBase, text: str, special: bool) -> tuple[list[int], list[int]]:
        """(ids of the text with its marks, in which all control tokens are the structure's; ids of the text as it is meant)."""
        if not isinstance(self.backend, Tokenizer):
            return tokenizer(text, add_special_tokens=special)["input_ids"], self.in_pieces(tokenizer, text, special)
        renamed, names, back = self.renamed()
        structure = self.backend.encode(text, add_special_tokens=special)
        parts, done = [], 0
        for one, (start, end) in zip(structure.ids, structure.offsets, strict=True):
            token = self.by_id.get(one, "")
            at = text.find(token, start, end) if token else -1
            if at >= done:
                parts += [text[done:at], names[token]]
                done = at + len(token)
        found = renamed.encode(unmark("".join([*parts, text[done:]])), add_special_tokens=special).ids
        return structure.ids, [back.get(one, one) for one in found]

    def renamed(self) -> Renamed:
        key = frozenset(self.tokens), len(self.added)
        found = self.copies.get(key)
        if found is None:
            letters = ["".join(secrets.choice(string.ascii_lowercase) for _ in range(32)) for _ in self.tokens]
            names = dict(zip(self.tokens, letters, strict=True))
            copy = rename(self.backend, names)
            back = {copy.token_to_id(names.get(token.content, token.content)): at for at, token in self.added.items()}
            found = Renamed(copy, names, back)
            if len(self.copies) >= _COPIES:
                self.copies.clear()
            self.copies[key] = found
        return found

    def in_pieces(self, tokenizer: PreTrainedTokenizerBase, text: str, special: bool) -> list[int]:
        """For tokenizers written in Python, which tokenize what stands between two added tokens by itself."""
        known = {token.content: (at, token) for at, token in self.added.items()}
        words = re.compile(f"({any_of(known.keys() - self.tokens.keys()).pattern})")
        pieces: list[tuple[str, Any]] = []
        for at, piece in enumerate(re.split(f"({self.find.pattern})", text)):
            parts = [piece] if at % 2 else words.split(unmark(piece))
            pieces += [(part, known[part][1] if (at + place) % 2 else None) for place, part in enumerate(parts) if part]
        found: list[int] = []
        around = [None, *(token for _, token in pieces), None]
        for (piece, token), before, after in zip(pieces, around, around[2:], strict=False):
            piece = piece.lstrip() if before and before.rstrip else piece
            piece = piece.rstrip() if after and after.lstrip else piece  # of a token that is white space nothing is left
            if token and piece == token.content:
                found.append(known[piece][0])
            elif piece:
                found += tokenizer.encode(piece, add_special_tokens=False, split_special_tokens=True)
        return tokenizer.build_inputs_with_special_tokens(found) if special else found


def controls(tokenizer: PreTrainedTokenizerBase, form: Format) -> Controls:
    formats, copies = _known.setdefault(tokenizer, ({}, {}))
    key = (form.template, len(tokenizer))  # tokens may be added to it
    found = formats.get(key)
    if found is None:
        found = Controls(tokenizer, form.template, copies)
        if len(formats) >= _FORMATS:
            formats.clear()
        formats[key] = found
    return found


_known: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[dict[Any, Controls], dict[Any, Renamed]]] = WeakKeyDictionary()


def rename(backend: Tokenizer, names: Mapping[str, str]) -> Tokenizer:
    """The same tokenizer in which some added tokens have other names, in its vocabulary, too: a unigram model would find them."""
    told = json.loads(backend.to_str())
    model = told["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(piece, piece): at for piece, at in vocabulary.items()}
    else:
        model["vocab"] = [[names.get(piece, piece), *rest] for piece, *rest in vocabulary]
    if "merges" in model:  # letters that melt into a control token stay apart
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        model["merges"] = [pair for pair in pairs if not names.keys() & {*pair, "".join(pair)}]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    for token in told["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    told |= {"truncation": None, "padding": None}
    return Tokenizer.from_str(json.dumps(told))


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Finds the first of some texts, the longest of those that begin at one place."""
    return re.compile("|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True)) or "(?!)")


def squeeze(texts: Iterable[str]) -> str:
    return re.sub(r"\s+", "", "".join(texts)).casefold()


def _typed(message: Message, kept: Sequence[Place]) -> list[str]:
    """The texts of a message without the places that stay, a NUL in each one's stead."""
    text, parts, done = message["content"], [], 0
    for start, end in kept:
        parts += [text[done:start], "\0"]
        done = end
    return [*parts, text[done:], message.get("input", "")]


def _mark(tokenizer: PreTrainedTokenizerBase, known: Controls, text: str, kept: Sequence[Place], where: str) -> str:
    parts, done = [], 0
    for start, end in [*kept, (len(text), len(text))]:
        typed = text[done:start]
        for token in {found.group() for found in known.find.finditer(typed)}:
            if not known.can_say(tokenizer, token):
                at = typed.index(token)
                near = typed[max(0, at - 20) : at + len(token) + 20]
                raise EngineError(
                    f"In {where} ({near!r}) {token!r} is a control token of this base, and its tokenizer has no way to write it "
                    "as text; write it otherwise."
                )
        parts += [known.marked(typed), _marked(_MARKS, text[start:end])]
        done = end
    return "".join(parts)


def _marked(which: re.Pattern[str], text: str) -> str:
    def units(found: re.Match[str]) -> str:
        told = found.group().encode("utf-16-le", "surrogatepass")
        return "".join(chr(_PLANE + int.from_bytes(told[at : at + 2], "little")) for at in range(0, len(told), 2))

    return which.sub(units, text)
