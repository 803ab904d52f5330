"""What scripts send to the page's endpoints: each argument of its type, or a sentence that names it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal, get_type_hints

import gradio as gr
from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter

from common import outside
from common.outside import Shape
from engine.types import EngineError
from probes.run.variants import is_number, with_strengths
from ui.context import App, sentence

LONGEST = outside.LARGEST  # characters of one argument


def refuse_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a whole number")
    return value


def check_json(value: Any) -> Any:
    if not isinstance(value, str | list | dict):
        raise ValueError("JSON, or the list or object itself,")
    return value


# a whole number may be written as a text or with .0: scripts in other languages do
KINDS = {
    str: Annotated[str, Field(max_length=LONGEST)],
    int: Annotated[int, BeforeValidator(refuse_truth), Field(ge=-outside.INT64, lt=outside.INT64)],
    bool: bool,
}
JSON = Annotated[str, "JSON"]  # in a signature: a client may send the text, or what it says
PLAIN = Annotated[Any, AfterValidator(check_json)]


class MessageShape(Shape):
    """A message of a history."""

    role: Literal["system", "user", "assistant"]
    content: str
    input: str | None = None


class VariantShape(Shape):
    """A variant, as far as types go; `ui.variants` and the engine say the rest."""

    name: str | None = None
    adapters: Annotated[Any, AfterValidator(lambda value: strengths(value))] = None
    identity: str | None = None
    prompt: str | None = None
    mode: str | None = None
    format: str | None = None
    decoding: dict[str, Annotated[Any, AfterValidator(lambda value: number(value))]] | None = None


def number(value: Any) -> Any:
    if not is_number(value):
        raise ValueError("a number")
    return value


def strengths(value: Any) -> Any:
    """Names with strengths, or names alone."""
    found = {} if value is None else with_strengths(value)
    if not isinstance(found, dict) or not all(map(is_number, found.values())):
        raise ValueError("an object of names and numbers, or a list of names,")
    return value


HISTORY, VARIANTS = TypeAdapter(list[MessageShape]), TypeAdapter(list[VariantShape])


def one_of(*words: str) -> Callable[[Any], Any]:
    def check(value: str) -> str:
        if value not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return value

    return check


def add_endpoints(app: App, *endpoints: Callable) -> None:
    """Inside a Blocks: functions as endpoints for scripts, under their names. A mistake in a call comes back as one sentence."""
    for endpoint in endpoints:
        gr.api(check_arguments(app, endpoint), api_name=endpoint.__name__, concurrency_limit=None)


@contextmanager
def raise_sentence(app: App) -> Iterator[None]:
    """Whatever goes wrong is a gr.Error in the page's language."""
    try:
        yield
    except gr.Error:
        raise
    except Exception as error:
        raise gr.Error(sentence(app.language(None), error), print_exception=False) from None


def check_arguments(app: App, endpoint: Callable) -> Callable:
    """The endpoint, its arguments of the types that its signature names. A generator stays one."""
    hints = get_type_hints(endpoint, include_extras=True)
    hints = {name: kind for name, kind in hints.items() if name != "return" and kind is not gr.Request}
    kinds = {name: TypeAdapter(PLAIN if kind == JSON else KINDS.get(kind, kind)) for name, kind in hints.items()}

    def read(given: tuple, named: dict) -> inspect.BoundArguments:
        found = inspect.signature(endpoint).bind(*given, **named)
        sent = {name: value for name, value in found.arguments.items() if name in kinds}
        wrong: dict[str, str] = {}
        for name, value in sent.items():
            wrong |= outside.faults(kinds[name], value, name)
        if wrong:
            raise EngineError(f"{endpoint.__name__}: {outside.describe_faults(wrong)}.")
        found.arguments |= {name: kinds[name].validate_python(value) for name, value in sent.items()}
        return found

    @functools.wraps(endpoint)
    def call(*given: Any, **named: Any) -> Any:
        with raise_sentence(app):
            found = read(given, named)
            return endpoint(*found.args, **found.kwargs)

    @functools.wraps(endpoint)
    def stream(*given: Any, **named: Any) -> Iterator:
        with raise_sentence(app):
            found = read(given, named)
            yield from endpoint(*found.args, **found.kwargs)

    return stream if inspect.isgeneratorfunction(endpoint) else call


def read_list(text: str | list | dict, name: str) -> list[dict]:
    """A list of objects from JSON text, or the list itself; a single object counts as a list of it. Raises EngineError."""
    plain = read_plain(text, name)
    plain = [plain] if isinstance(plain, dict) else plain
    if not isinstance(plain, list) or not all(isinstance(entry, dict) for entry in plain):
        raise EngineError(f"{name} is a JSON list of objects, not {outside.abbreviate(text)}.")
    return plain


def read_object(text: str | dict, name: str) -> dict:
    """A JSON object from text, or the object itself. Raises EngineError."""
    plain = read_plain(text, name)
    if not isinstance(plain, dict):
        raise EngineError(f"{name} is a JSON object, not {outside.abbreviate(text)}.")
    return plain


def read_plain(text: str | list | dict, name: str) -> Any:
    if isinstance(text, str):
        return outside.from_json(text, name, EngineError, broken="is no JSON")
    return outside.check_bounds(text, name, EngineError)
