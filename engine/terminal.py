"""How a conversation in a terminal is read and shown: the three styles of FastChat's and BayLing's chat programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TextIO

END = " __END_OF_A_MESSAGE_47582648__\n"  # FastChat's, behind every question that a program asks


@dataclass(frozen=True)
class Style:
    """ask: the next question; EOFError when there is none any more. show: prints an answer that grows, from its texts so far."""

    ask: Callable[[], str]
    show: Callable[[Iterable[str]], None]


def simple() -> Style:
    """Text as it comes; a mark before a question where a person types it."""
    return Style(lambda: input("> " if sys.stdin.isatty() else ""), print_growing)


def print_growing(texts: Iterable[str]) -> None:
    shown = ""
    try:
        for text in texts:
            print(text[len(shown) :], end="", flush=True)
            shown = text
    finally:
        print(flush=True)


def programmatic(source: TextIO | None = None) -> Style:
    """For programs: a question ends with END, and both sides' words stand behind [!OP:USER] and [!OP:ASSISTANT]."""
    read = source or sys.stdin

    def ask() -> str:
        said = ""
        while not said.endswith(END):
            line = read.readline()
            if not line:
                if said.strip():
                    print(f"The last question was not asked: it does not end with{END}", end="", file=sys.stderr)
                raise EOFError
            said += line
        question = said.removesuffix(END)
        print(f"[!OP:USER]: {question}", flush=True)
        return question

    def show(texts: Iterable[str]) -> None:
        print("[!OP:ASSISTANT]: ", end="", flush=True)
        print_growing(texts)

    return Style(ask, show)


def rich() -> Style:
    """Answers as Markdown, questions with an editor that knows wide characters, and those of before on the arrow keys."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
    from rich.console import Console
    from rich.live import Live

    console = Console()
    # in memory: what is asked stands in no file
    session: PromptSession[str] | None = PromptSession(auto_suggest=AutoSuggestFromHistory()) if sys.stdin.isatty() else None

    def ask() -> str:
        line: str = session.prompt("> ") if session else input()
        return line

    def show(texts: Iterable[str]) -> None:
        with Live(console=console, refresh_per_second=8) as live:
            for text in texts:
                live.update(markdown(text))
        console.print()

    return Style(ask, show)


def markdown(text: str) -> object:
    """The text as Rich shows Markdown, with nothing lost: tags are text, lines end where they end, links show where they lead."""
    from markdown_it import MarkdownIt
    from rich.markdown import Markdown

    shown = Markdown("", hyperlinks=False)
    shown.parsed = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"]).disable("image").parse(text)
    for token in shown.parsed:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type, child.tag = "hardbreak", "br"
    return shown


STYLES: dict[str, Callable[[], Style]] = {"simple": simple, "rich": rich, "programmatic": programmatic}
