"""Requests with a body, held to bounds before anything parses them: how long it is and how deep."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import pydantic_core
from starlette.responses import JSONResponse

from common import outside

GRADIO = "/gradio_api/"
LARGEST = 4 * 2**20  # bytes of a body that is no upload; a long text pasted into a form travels with each of its events
DEEPEST = 2 * outside.DEPTH  # Gradio wraps what a form holds
TOO_DEEP = f"This request is nested more than {DEEPEST} deep; nothing that is asked here is."
UPLOAD = f"{GRADIO}upload"  # has a limit of its own, and writes to the disk what comes
log = logging.getLogger("mirror")


class Refused(Exception):
    """What is wrong with a body, a sentence for whoever sent it; `status` is HTTP's."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


async def read_body(receive, length: str | None, largest: int = LARGEST) -> bytes:
    """The body of an ASGI request. length: what its header promises, if anything. Raises Refused, without reading further."""
    if length and length.isdecimal() and int(length[:20]) > largest:
        raise Refused(f"This request has more than {outside.size(largest)}; send less at once.", 413)
    parts, had = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused("The request ended before its body did.")
        parts.append(message.get("body", b""))
        had += len(parts[-1])
        if had > largest:
            raise Refused(f"This request has more than {outside.size(largest)}; send less at once.", 413)
        if not message.get("more_body"):
            return b"".join(parts)


class BodyLimit:
    """ASGI middleware: a body that is too long, or JSON that is nested too deep, goes no further."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        headers = {name: value.decode("latin-1") for name, value in scope.get("headers", ())}
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD") or scope["path"].rstrip("/").endswith(UPLOAD):
            return await self.app(scope, receive, send)
        try:
            body = await read_body(receive, headers.get(b"content-length"))
            check_nesting(body, headers.get(b"content-type", "").startswith("application/json"))
        except Refused as refused:
            return await refusal_response(refused)(scope, receive, send)
        given = started = False

        async def replay():
            nonlocal given
            if given:
                return await receive()  # a client that leaves
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def note_start(message):
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, replay, note_start)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            # Gradio's routes look up what a body names before they ask whether it is there
            if started or GRADIO not in scope["path"]:
                raise
            log.warning("a request that names nothing here: %s: %r", scope["path"], error)
            said = f"This request names nothing that this page has ({type(error).__name__}); load the page again."
            await refusal_response(Refused(said))(scope, receive, send)


def refusal_response(refused: Refused) -> JSONResponse:
    """`detail` is where Gradio's client looks, `message` what our own routes say."""
    said = {"detail": str(refused), "message": str(refused)}
    return JSONResponse(said, refused.status, {"Connection": "close"})


def check_nesting(body: bytes, promised: bool = False) -> None:
    """Raises Refused for JSON that is nested too deep. promised: its type says that it is JSON; else it may be something else."""
    if not body or not (promised or body.lstrip()[:1] in (b"{", b"[")):
        return
    try:
        level, depth = [pydantic_core.from_json(body)], 0
    except ValueError as error:
        if "recursion" in str(error):  # the parser's own bound is 200
            raise Refused(TOO_DEEP) from None
        if promised:
            raise Refused(f"This request is not readable as JSON: {error}.") from None
        return
    while level := [item for one in level if isinstance(one, list | dict) for item in items(one)]:
        depth += 1
        if depth > DEEPEST:
            raise Refused(TOO_DEEP)


def items(one: list | dict) -> Iterable:
    return one.values() if isinstance(one, dict) else one
