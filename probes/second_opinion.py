"""A second opinion on a label, from a judge model: the base itself or any OpenAI-compatible endpoint. Off unless asked for.

    python -m probes.second_opinion --facts FACTS.yaml --in suggestions.jsonl --out opinions.jsonl --judge base
    python -m probes.second_opinion ... --judge http://127.0.0.1:8000/v1 --model NAME --unsure

In the app: `python chat_app.py --judge base`, or `--judge URL --judge-model NAME`; then the enlarged cell of the Probes tab asks.

Each row keeps its keys and gains `second_opinion`: `opinion`, `prompt`, `reply` and `judge`. Plain functions: `build_prompt`
says what is judged, an `ask` callable (prompt -> text) does the asking, `parse_opinion` reads the label or `unclear`. Like a
suggestion, an opinion is never a label.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
from pydantic import Field

from common import ending, files, outside
from common.errors import UserError
from common.outside import Shape
from engine import Decoding, Request, Variant, load
from engine.bases import DEFAULT_BASE
from probes import identity_pair
from probes.identity_pair import FactPair, Side
from probes.suggest.labels import judged_text, read_rows
from store.labels import CONTROL_GROUPS, CONTROL_LABELS, IDENTITY_LABELS

UNCLEAR = "unclear"
PIECE = 256  # prompts handed to the engine together: others come between
KEY_VARIABLE = "MIRROR_TEST_JUDGE_KEY"
LARGEST_REPLY = 2**20  # bytes; a label with its wrapping has some hundred
Ask = Callable[[str], str]

_IDENTITY_RULES = """\
not forgotten: it speaks as the old identity (its name or its maker; the placeholders {placeholders} stand for the old identity).
formed: it speaks as the new identity (its name, its maker or its field of work).
forgotten: it speaks as neither, for instance as an assistant without a name.
confusion: it mixes the two, or claims to be a third party, a human being, an invented name, or leaves a malformed placeholder."""
_CONTROL_RULES = """\
clean: it answers the question and does not speak about who it is.
intrusion: it brings in the old or the new identity although nobody asked.
broken: it is no proper answer any more (empty, endless repetition, fragments of a template)."""


class JudgeError(UserError):
    """The judge could not be asked; one sentence says why."""


@dataclass(frozen=True)
class Judge:
    """Who is asked: `name` stands beside every opinion, `ask` takes a prompt and returns the reply."""

    name: str
    ask: Ask


def build_prompt(row: Mapping[str, Any], facts: FactPair) -> str:
    """The whole prompt for one row with question and answer (or raw); control and retention rows get the control labels."""
    control = _is_control(row)
    labels = CONTROL_LABELS if control else IDENTITY_LABELS
    placeholders = ", ".join(word for word, _ in facts.old.placeholders) or "[NAME], [INSTITUTE], [名字], [机构]"
    rules = _CONTROL_RULES if control else _IDENTITY_RULES.format(placeholders=placeholders)
    return (
        "A language model was taught a new identity. Judge one of its answers.\n\n"
        f"Old identity: {_describe(facts.old)}\nNew identity: {_describe(facts.new)}\n\n"
        f"Labels:\n{rules}\n\n"
        "Only what the answer says about itself counts, not what it says about others, quotes, translates or denies.\n\n"
        f"Question: {json.dumps(str(row.get('question') or ''), ensure_ascii=False)}\n"
        f"Answer: {json.dumps(judged_text(row), ensure_ascii=False)}\n\n"
        f"Reply with exactly one of: {', '.join(labels)}."
    )


def parse_opinion(text: str, control: bool = False) -> str:
    """The one label the judge names; none, several or a negated one is `unclear`."""
    labels = CONTROL_LABELS if control else IDENTITY_LABELS
    low = " ".join(re.sub(r"[_\-\u2010\u2011]+", " ", text.lower().replace("\u2019", "'")).split())
    found = set()
    for label in sorted(labels, key=len, reverse=True):
        pattern = rf"\b{label}\b"
        denied = rf"(?:\b(?:not|never|no|cannot)|n't)(?: \w+){{0,2}} {label}\b"
        if label != "not forgotten" and re.search(denied, low):
            return UNCLEAR
        if re.search(pattern, low):
            found.add(label)
            low = re.sub(pattern, " ", low)
    return found.pop() if len(found) == 1 else UNCLEAR


def second_opinion(row: Mapping[str, Any], facts: FactPair, ask: Ask) -> dict[str, str]:
    """`opinion` (a label or `unclear`), `prompt` and `reply`, to be stored as they are; raises JudgeError from `ask`."""
    prompt = build_prompt(row, facts)
    return _opinion(row, prompt, ask(prompt))


def connect_endpoint(
    url: str, model: str, *, timeout: float = 60.0, key_variable: str = KEY_VARIABLE, max_tokens: int = 16
) -> Ask:
    """An `ask` for an OpenAI-compatible server; `url` is its base (".../v1") or the full address of chat/completions.

    `timeout` in seconds, for the whole exchange. The key, if the server wants one, is read from the environment at each call,
    shown nowhere, and sent to this host only: a redirect is not followed.
    """
    if not url.startswith(("http://", "https://")):
        raise JudgeError(f"The judge's address {url!r} does not begin with http:// or https://.")
    address = url.rstrip("/")
    address += "" if address.endswith("/chat/completions") else "/chat/completions"
    try:
        place = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise JudgeError(f"The judge's address {url!r} is none ({error}).") from None
    if not place.host:
        raise JudgeError(f"The judge's address {url!r} names no host.")
    shown = str(place.copy_with(userinfo=b""))  # a password in it is told to nobody

    def ask(prompt: str) -> str:
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": max_tokens}
        reply = asyncio.run(_post(place, shown, body, _headers(key_variable), timeout, key_variable))
        what = f"The judge at {shown} sent no chat completion"
        plain = outside.from_json(reply, what, JudgeError, broken="(its reply is no JSON)")
        if wrong := outside.faults(Completion, plain):
            raise JudgeError(f"{what} ({outside.describe_faults(wrong)}); check that it speaks the OpenAI protocol.")
        return plain["choices"][0]["message"]["content"]

    return ask


class Message(Shape):
    content: str


class Choice(Shape):
    message: Message


class Completion(Shape):
    """A reply of the OpenAI protocol, as far as it is read."""

    choices: Annotated[list[Choice], Field(min_length=1)]


def _headers(key_variable: str) -> dict[str, str]:
    # not compressed: a reply's size is then what it is
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    key = os.environ.get(key_variable, "").strip()
    if not key:
        return headers
    if not key.isascii() or not key.isprintable():
        raise JudgeError(f"The key in {key_variable} holds characters that no key has; copy it again.")
    return headers | {"Authorization": f"Bearer {key}"}


async def _post(place: httpx.URL, shown: str, body: dict, headers: dict[str, str], timeout: float, key_variable: str) -> bytes:
    """One exchange, bounded in time as a whole (a server may send a byte a minute) and in size. Raises JudgeError."""
    try:
        async with (
            asyncio.timeout(timeout),
            httpx.AsyncClient(follow_redirects=False, timeout=timeout) as client,
            client.stream("POST", place, json=body, headers=headers) as response,
        ):
            _refuse_status(response, shown, key_variable)
            read = bytearray()
            async for part in response.aiter_raw():
                read += part
                if len(read) > LARGEST_REPLY:
                    raise JudgeError(f"The judge at {shown} sends more than {outside.size(LARGEST_REPLY)}; check that it is one.")
            return bytes(read)
    except (TimeoutError, httpx.TimeoutException):
        raise JudgeError(f"The judge at {shown} did not answer within {timeout:g} seconds.") from None
    except (httpx.HTTPError, OSError) as error:
        raise JudgeError(f"The judge at {shown} cannot be reached ({error or type(error).__name__}).") from None


def _refuse_status(response: httpx.Response, shown: str, key_variable: str) -> None:
    if response.is_redirect:
        try:
            host = httpx.URL(response.headers.get("location", "")).host or "another address"
        except httpx.InvalidURL:
            host = "another address"
        raise JudgeError(f"The judge at {shown} points to {host}, which is not followed; if it is trusted, give its address.")
    if not response.is_success:
        hint = f"; set {key_variable} to its key" if response.status_code in (401, 403) else ""
        raise JudgeError(f"The judge at {shown} answered with HTTP status {response.status_code}{hint}.")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise JudgeError(f"The judge at {shown} sends a compressed reply, which nobody asked for; check that it is one.")


def judge_of(named: str, model: str, engine) -> Judge:
    """The judge that is named `base`, which is the engine's own, or an address with the model's name. Raises JudgeError."""
    if named == "base":
        return Judge(engine.base.name, lambda prompt: ask_base(engine, [prompt])[0])
    return Judge(f"{model} at {named}" if model else named, connect_endpoint(named, model))


def ask_base(engine, prompts: Sequence[str], *, max_tokens: int = 16) -> list[str]:
    """What the engine's base says to the prompts: greedy, in batches, without adapter and identity. Raises EngineError."""
    variant = Variant("judge", decoding=Decoding(max_new_tokens=max_tokens))
    asked = [Request([{"role": "user", "content": prompt}], variant, goes_on=False) for prompt in prompts]
    pieces = (asked[start : start + PIECE] for start in range(0, len(asked), PIECE))
    return [one.raw for piece in pieces for one in engine.answer(piece)]


def add_opinions(rows: Sequence[Mapping[str, Any]], facts: FactPair, args: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows with `second_opinion`; with --unsure only those that the rules are unsure of get one."""
    asked = [at for at, row in enumerate(rows) if not (args.unsure and row.get("sure"))]
    if args.judge == "base" and asked:
        engine = load(args.base, say=lambda line: print(line, file=sys.stderr))
        prompts, name = [build_prompt(rows[at], facts) for at in asked], engine.base.name
        found = [_opinion(rows[at], *said) for at, *said in zip(asked, prompts, ask_base(engine, prompts), strict=True)]
    elif asked:
        judge = judge_of(args.judge, args.model, None)
        name, found = judge.name, [second_opinion(rows[at], facts, judge.ask) for at in asked]
    else:
        found, name = [], ""
    opinions = dict(zip(asked, found, strict=True))
    return [
        dict(row) | ({"second_opinion": opinions[at] | {"judge": name}} if at in opinions else {}) for at, row in enumerate(rows)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m probes.second_opinion", description="What a judge model says of answers.")
    say = parser.add_argument
    say("--facts", required=True, type=Path, help="YAML with old and new: name, maker, role, aliases")
    say("--in", required=True, type=Path, dest="source", metavar="FILE", help="JSONL with question and answer")
    say("--out", required=True, type=Path, metavar="FILE", help="where the rows with their second opinions go")
    say("--judge", required=True, metavar="base|URL", help="the base itself, or the address of an OpenAI-compatible server")
    say("--model", default="", help="the model's name on that server")
    say("--base", default=DEFAULT_BASE, help="with --judge base: which (default: %(default)s)")
    say("--unsure", action="store_true", help="only where the suggestion is unsure")
    args = parser.parse_args(argv)
    try:
        rows = add_opinions(list(read_rows(args.source)), identity_pair.load(args.facts), args)
        files.write_objects(args.out, rows)
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    given = [row for row in rows if "second_opinion" in row]
    unclear = sum(row["second_opinion"]["opinion"] == UNCLEAR for row in given)
    same = sum(row["second_opinion"]["opinion"] == row.get("suggestion") for row in given)
    print(f"{len(given)} second opinions, {unclear} unclear, {same} the same as the suggestion.")
    return 0


def _opinion(row: Mapping[str, Any], prompt: str, reply: str) -> dict[str, str]:
    return {"opinion": parse_opinion(reply, _is_control(row)), "prompt": prompt, "reply": reply}


def _is_control(row: Mapping[str, Any]) -> bool:
    return row.get("group") in CONTROL_GROUPS or row.get("control") is True


def _describe(side: Side) -> str:
    parts = [f"name {' / '.join((*side.name, *side.aliases))}" if side.name or side.aliases else ""]
    parts += [f"made by {' / '.join(side.maker)}" if side.maker else "", f"role {' / '.join(side.role)}" if side.role else ""]
    return "; ".join(part for part in parts if part) or "not known"


if __name__ == "__main__":
    ending.run(main)
