"""Files that the browser keeps: the page's own scripts, and one file of Gradio's with a fault mended."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import gradio as gr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ui import theme

KEPT = {"cache-control": "public, max-age=31536000, immutable"}  # addresses change with what is behind them
SCRIPT = "text/javascript; charset=utf-8"
# Gradio's browser side, at the end of an event: all that the event reads is noted down as a stream that has closed, and told the
# news of every event from then on, several times each. A form of sixty fields that was read once keeps the browser busy for good.
FAULT, MENDED = "n=`closed`,a.forEach", "r.connection_type===`stream`&&(n=`closed`),a.forEach"


def head() -> str:
    """What the page loads of its own, by an address that a path before it does not change."""
    return f'<script src="{_own_name()}"></script>'


def routes() -> list[Route]:
    """For the application that serves the page; before Gradio's own."""
    name, text = gradio_client()
    given = [Route(f"/{_own_name()}", _giving(theme.scripts()))]
    return [*given, Route(f"/assets/{name}", _giving(text))] if text else given


def gradio_client() -> tuple[str, str]:
    """Name and mended text of the file that holds the fault; the text is "" where this Gradio has none."""
    folder = Path(gr.__file__).parent / "templates" / "frontend" / "assets"
    for file in sorted(folder.glob("Blocks-*.js")):
        text = file.read_text("utf-8")
        if text.count(FAULT) == 1:
            return file.name, text.replace(FAULT, MENDED)
    return "", ""


def _own_name() -> str:
    return f"mirror-test-{hashlib.sha256(theme.scripts().encode()).hexdigest()[:12]}.js"


def _giving(text: str) -> Callable:
    async def give(_request: Request) -> Response:
        return Response(text, media_type=SCRIPT, headers=KEPT)

    return give
