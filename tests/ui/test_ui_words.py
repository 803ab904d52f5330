"""Two languages: complete, alike, and chosen the same way on the server and in the browser."""

from __future__ import annotations

import ast
import asyncio
import string
from pathlib import Path

import pytest

from ui import words
from ui.words import LanguageMiddleware, choose_language, say

UI = Path(words.__file__).parent


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_say_the_same_things_with_the_same_values():
    english, chinese = words.WORDS["en"], words.WORDS["zh-CN"]
    assert set(english) == set(chinese)
    for key, text in english.items():
        assert placeholders(text) == placeholders(chinese[key]), key
        assert chinese[key].strip(), key


def keys_in_code() -> set[str]:
    """The literal keys given to `say` and `i18n` anywhere in ui/."""
    keys = set()
    for file in UI.rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("say", "i18n"):
                place = 1 if call.func.id == "say" else 0
                nodes = ast.walk(call.args[place]) if len(call.args) > place else ()
                keys |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {key for key in keys if len(key) > 1} - {
        "first_turn",
        "stopped",
        "system",
    }  # what a key is made with, or compared with


def test_every_key_the_code_names_is_in_the_dictionaries():
    named = keys_in_code()
    assert len(named) > 60, "the search for keys finds nothing any more"
    known = set(words.WORDS["en"])
    # keys that are put together, such as fact_name, appear as their beginning
    assert {key for key in named if key not in known and not any(other.startswith(key) for other in known)} == set()


@pytest.mark.parametrize(
    "cookies, accept, default, chosen",
    [
        ({}, "", None, "en"),
        ({}, "zh-TW,zh;q=0.9,en;q=0.8", None, "zh-CN"),
        ({}, "fr-FR,fr;q=0.9,en;q=0.3,zh;q=0.5", None, "zh-CN"),
        ({}, "de", None, "en"),
        ({}, "en-GB", "zh", "zh-CN"),
        ({"mirror_lang": "en"}, "zh-CN", "zh", "en"),
        ({"mirror_lang": "<script>"}, "zh-CN", None, "zh-CN"),
        ({}, "zh;q=oops,en", None, "en"),
    ],
)
def test_the_switch_beats_the_flag_beats_the_browser(cookies, accept, default, chosen):
    assert choose_language(cookies, accept, default) == chosen


def test_a_sentence_takes_its_values():
    assert say("zh-CN", "finish_length", tokens=8) == "在 8 词元处截断"
    assert say("en", "finish_length", tokens=8) == "cut at 8 tokens"
    with pytest.raises(KeyError):
        say("en", "no_such_key")


async def answer_through_door(content_type: bytes, body: bytes, cookie: str = "") -> tuple[list, bytes]:
    async def app(scope, receive, send):
        headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body[:10], "more_body": True})
        await send({"type": "http.response.body", "body": body[10:]})

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "headers": [(b"cookie", cookie.encode()), (b"accept-language", b"en")]}
    await LanguageMiddleware(app)(scope, None, send)
    return sent[0]["headers"], b"".join(message.get("body", b"") for message in sent[1:])


def test_the_browser_is_told_the_chosen_language_and_nothing_else_is_touched():
    page = b'<!doctype html><html lang="en"><head><title>x</title></head></html>'
    headers, body = asyncio.run(answer_through_door(b"text/html; charset=utf-8", page, "mirror_lang=zh-CN"))
    assert b'lang="zh-CN"' in body and b"'language', 'zh-CN'" in body
    assert dict(headers)[b"content-length"] == str(len(body)).encode()
    script = b'{"lang": "en", "html": "<head>"}'
    assert asyncio.run(answer_through_door(b"application/json", script))[1] == script
