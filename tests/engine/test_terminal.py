"""The terminal's three styles."""

from __future__ import annotations

import io
import sys

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console

from engine import terminal


def shown(text: str) -> str:
    console = Console(file=io.StringIO(), width=60)
    console.print(terminal.markdown(text))
    return console.file.getvalue()


def test_markdown_loses_nothing():
    answer = "First\nsecond <b>tag</b> [名字] ![picture](http://a.b/c.png) [link](http://d.e)\n\n"
    answer += "<div>block</div>\n\n```\nif a:\n    b\n```"
    lines = [line.rstrip() for line in shown(answer).split("\n")]
    assert lines[0] == "First"  # a line ends where the model ended it
    text = " ".join("".join(lines).split())
    for part in ("<b>tag</b>", "[名字]", "http://a.b/c.png", "http://d.e", "<div>block</div>", "if a:", "    b"):
        assert part.strip() in text, part


def test_rich_edits_chinese_and_remembers(monkeypatch):
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        style = terminal.rich()
        typed.send_text("你号\x7f好吗\x1b[D，\r")  # backspace, an arrow to the left: a character each, however wide
        assert style.ask() == "你好，吗"
        typed.send_text("\x1b[A\r")
        assert style.ask() == "你好，吗"


def test_rich_shows_the_last_text_once(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Who?\n"))
    style = terminal.rich()
    assert style.ask() == "Who?"
    style.show(iter(["**a", "**ab** 你"]))
    assert capsys.readouterr().out.split() == ["ab", "你"]


def test_programmatic_speaks_fastchats_marks(capsys):
    style = terminal.programmatic(io.StringIO(f"two\nlines{terminal.END}next{terminal.END}half"))
    assert style.ask() == "two\nlines" and style.ask() == "next"
    style.show(iter(["I", "I am"]))
    with pytest.raises(EOFError):
        style.ask()
    heard = capsys.readouterr()
    assert "was not asked" in heard.err
    assert heard.out == "[!OP:USER]: two\nlines\n[!OP:USER]: next\n[!OP:ASSISTANT]: I am\n"
