"""Renders chat templates in a process of its own, which can be cut: a template is somebody else's program.

It knows neither the engine nor transformers, so that it starts in a moment and is small. One request a line on the standard
input, one reply a line on the standard output, both JSON; it ends with its input. `engine.rendering` asks it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

CHARACTERS = 16_000_000  # of one text
MEMORY = 1 << 29  # bytes of this process
TOLD = 300  # characters of a template's own words that are passed on


class TooLong(Exception):
    """The text has more than CHARACTERS."""


class Generation(jinja2.ext.Extension):
    """{% generation %}, by which transformers finds what is learned; here it is what stands in it."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Any) -> nodes.CallBlock:
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("inside"), [], [], body).set_lineno(line)

    def inside(self, caller: Callable[[], str]) -> str:
        return caller()


class Dict:
    """`dict` without anything of the class to reach for."""

    def __call__(self, *args: Any, **named: Any) -> dict[str, Any]:
        return dict(*args, **named)

    def fromkeys(self, *args: Any) -> dict[str, Any]:
        return dict.fromkeys(*args)


class Namespace(jinja2.utils.Namespace):
    """Takes no name that begins with an underscore, as in transformers."""

    def __init__(*args: Any, **named: Any) -> None:  # so that namespace(self=1) works
        self, given = args[0], dict(*args[1:], **named)
        for name in given:
            Namespace.check(name)
        jinja2.utils.Namespace.__init__(self, given)

    def __setitem__(self, name: str, value: Any) -> None:
        Namespace.check(name)
        super().__setitem__(name, value)

    @staticmethod
    def check(name: object) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a namespace takes no name like {name!r}")


def environment() -> ImmutableSandboxedEnvironment:
    """What templates find around them; the same as in transformers (a test compares the texts)."""
    found = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    found.filters["tojson"] = tojson
    found.globals |= {"raise_exception": refuse, "strftime_now": now, "dict": Dict(), "namespace": Namespace}
    return found


def tojson(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def refuse(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


def now(form: str) -> str:
    return datetime.now().strftime(form)


@functools.lru_cache(maxsize=32)
def compile_template(template: str) -> jinja2.Template:
    return environment().from_string(template)


def render(template: str, variables: Mapping[str, Any]) -> str:
    """The text. Raises TooLong, and whatever the template raises."""
    pieces, size = [], 0
    for piece in compile_template(template).generate(tools=None, documents=None, **variables):
        pieces.append(piece)
        size += len(piece)
        if size > CHARACTERS:
            raise TooLong
    return "".join(pieces)


def reply_to(request: Mapping[str, Any]) -> dict[str, str]:
    """{"text": ...}, or what went wrong: "refused" in the template's own words, "fault" of the template, "limit" it ran into."""
    try:
        return {"text": render(request["template"], request["variables"])}
    except TooLong:
        return {"limit": f"makes more than {CHARACTERS:,} characters"}
    except MemoryError:
        return {"limit": f"takes more than {MEMORY >> 20} MB of memory"}
    except jinja2.TemplateError as error:
        return {"refused": str(error)[:TOLD]}
    except Exception as error:  # the template's, of any kind; it is told
        return {"fault": (str(error) or type(error).__name__)[:TOLD]}


def bound() -> None:
    """The limits that the system keeps. Windows has none of them: there whoever asked stops waiting."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the other process's
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    bound()
    timed = hasattr(signal, "setitimer")
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if timed:  # SIGPROF ends this process, whatever it is doing
            signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        said = json.dumps(reply_to(request)).encode()
        if timed:
            signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(said + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
