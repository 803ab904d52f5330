"""The two languages of the page: the browser's words through gr.I18n, the server's sentences through `say`.

One language is decided per request, in this order: the switch on the page (a cookie), `--lang`, the browser's
Accept-Language, English. `LanguageMiddleware` tells the browser's side of Gradio the same decision.
"""

from __future__ import annotations

import json
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

import gradio as gr

FOLDER = Path(__file__).parent / "locales"
LANGUAGES = ("en", "zh-CN")
COOKIE = "mirror_lang"


def read_words(lang: str) -> dict[str, str]:
    """Every file of a language: `en.json`, and `en.training.json` and the like beside it."""
    return {
        key: text for file in sorted(FOLDER.glob(f"{lang}*.json")) for key, text in json.loads(file.read_text("utf-8")).items()
    }


WORDS: dict[str, dict[str, str]] = {lang: read_words(lang) for lang in LANGUAGES}

# Gradio looks for "zh-CN"; plain "zh" falls back to English (its own dictionaries are named that way). The keys have a prefix:
# it translates every text that is a key, also the value of a choice and what somebody wrote.
PREFIX = "mt:"
dictionaries = gr.I18n(**{lang: {PREFIX + key: text for key, text in words.items()} for lang, words in WORDS.items()})


_of_components: set[str] = set()


def i18n(key: str) -> Any:
    """A text of a component, which the browser says in its language. KeyError for a key that is in no dictionary."""
    WORDS["en"][key]
    _of_components.add(key)
    return dictionaries(PREFIX + key)


def components_words() -> gr.I18n:
    """The words that components have been made with, for the browser: the others are the server's to say."""
    return gr.I18n(**{lang: {PREFIX + key: words[key] for key in sorted(_of_components)} for lang, words in WORDS.items()})


def say(lang: str, key: str, **values) -> str:
    """One sentence in one language. KeyError for a key that is in no dictionary."""
    text = WORDS.get(lang, WORDS["en"])[key]
    return text.format(**values) if values else text


def nearest_language(tag: str | None) -> str | None:
    """`zh-TW` -> `zh-CN`, `en-GB` -> `en`, anything else -> None."""
    short = (tag or "").strip().lower()[:2]
    return next((lang for lang in LANGUAGES if lang[:2] == short), None)


def accepted_language(header: str) -> str | None:
    """The first language of an Accept-Language header that we speak, by weight."""
    weighted = []
    for position, part in enumerate(header.split(",")):
        tag, _, weight = part.partition(";q=")
        try:
            weighted.append((-float(weight or 1), position, tag))
        except ValueError:
            continue
    return next((lang for _, _, tag in sorted(weighted) if (lang := nearest_language(tag))), None)


def choose_language(cookies: dict[str, str], accept_language: str, default: str | None = None) -> str:
    """The language of one request, by the order in this module's first lines."""
    return nearest_language(cookies.get(COOKIE)) or nearest_language(default) or accepted_language(accept_language) or "en"


class Languages:
    """The language of a Gradio request; holds only the `--lang` default."""

    def __init__(self, default: str | None = None):
        self.default = default

    def __call__(self, request: gr.Request | None) -> str:
        if request is None or getattr(request, "headers", None) is None:
            return nearest_language(self.default) or "en"
        return choose_language(dict(request.cookies or {}), request.headers.get("accept-language", ""), self.default)


class LanguageMiddleware:
    """ASGI middleware: writes the chosen language into the page before Gradio's scripts read the browser's.

    Gradio takes `navigator.language` once, while it starts, and offers no way to set it from Python.
    """

    def __init__(self, app, default: str | None = None):
        self.app, self.default = app, default

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope.get("method") != "GET":
            return await self.app(scope, receive, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            cookies = {name: morsel.value for name, morsel in SimpleCookie(headers.get("cookie", "")).items()}
        except CookieError:
            cookies = {}
        lang = choose_language(cookies, headers.get("accept-language", ""), self.default)
        start, page = None, []

        async def rewrite(message):
            nonlocal start
            if message["type"] == "http.response.start":
                kind = dict(message["headers"]).get(b"content-type", b"")
                if not kind.startswith(b"text/html"):
                    await send(message)
                else:
                    start = message
                return
            if start is None:
                await send(message)
                return
            page.append(message.get("body", b""))
            if message.get("more_body"):
                return
            body = set_browser_language(b"".join(page), lang)
            kept = [(name, value) for name, value in start["headers"] if name != b"content-length"]
            await send(start | {"headers": [*kept, (b"content-length", str(len(body)).encode())]})
            await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, rewrite)


def set_browser_language(page: bytes, lang: str) -> bytes:
    """The page with its `lang` attribute and the browser's reported language set to `lang`."""
    script = (
        f"<script>for (const [name, value] of [['language', '{lang}'], ['languages', ['{lang}']]])"
        " Object.defineProperty(navigator, name, {get: () => value, configurable: true});</script>"
    )
    page = page.replace(b'lang="en"', f'lang="{lang}"'.encode(), 1)
    return page.replace(b"<head>", b"<head>" + script.encode(), 1)
