"""The desk's own addresses under /label/: JSON in and out, behind the page's login, past Gradio's queue.

A key press has to be stored while answers are being generated, and once only; a plain request with a token does that.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from typing import Annotated

from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from common import outside
from common.errors import UserError
from common.outside import Shape
from store import StoreError
from store.names import person
from ui.access import request_limits
from ui.access.gate import visitor
from ui.context import App, sentence
from ui.tabs.label import desk
from ui.tabs.label.desk import whole_number

log = logging.getLogger("mirror")

LARGEST = 2_000_000  # bytes of one request
FOLDER = "/label/"


Id = Annotated[int, Field(ge=0, lt=outside.INT64)]
Ids = Annotated[list[Id], Field(max_length=10_000)]


class DeskRequest(Shape):
    """The body of any of the four."""

    queue: Id | None = None
    annotator: Annotated[str, Field(max_length=1000)] | None = None
    without: Ids | None = None
    held: Ids | None = None
    skipped: bool | None = None
    decisions: list[dict] | None = None


def routes(app: App) -> list[Route]:
    """For the application that serves the page."""

    def opened(asked: dict) -> dict:
        return desk.open_desk(app, whole_number(asked["queue"]), asked["annotator"])

    def more(asked: dict) -> dict:
        skipped = bool(asked.get("skipped"))
        return desk.more_items(app, whole_number(asked["queue"]), asked["annotator"], _ids(asked, "without"), skipped)

    def state(asked: dict) -> dict:
        return desk.queue_state(app, whole_number(asked["queue"]), asked["annotator"], _ids(asked, "held"))

    def decide(asked: dict) -> dict:
        """Each decision is its own annotator's; where there is a login only that one's, others wait for theirs."""
        results, decisions = [], list(asked["decisions"])[: desk.MOST]
        if not all(isinstance(decision, dict) for decision in decisions):
            raise ValueError("a decision is an object")  # before any of them is carried out
        for decision in decisions:
            who = str(decision.get("annotator") or "")
            if asked["login"] and not _same(who, asked["login"]):
                results.append({"token": decision.get("token"), "status": desk.ELSEWHERE})
            else:
                results += desk.carry_out(app, who, [decision])
        if not asked.get("queue"):
            return {"results": results}
        queue, held = whole_number(asked["queue"]), _ids(asked, "held")
        items = [
            whole_number(decision["item"]) for decision in decisions if decision.get("queue") == queue and "item" in decision
        ]
        return {"results": results} | desk.queue_state(app, queue, asked["annotator"], held, items, everybody=False)

    found = {"open": opened, "more": more, "state": state, "decide": decide}
    return [Route(f"{FOLDER}{name}", _endpoint(app, act), methods=["POST"]) for name, act in found.items()]


def _endpoint(app: App, act: Callable[[dict], dict]) -> Callable:
    async def endpoint(request: Request) -> JSONResponse:
        login = visitor(request)
        if login is None:
            return JSONResponse({"message": "Log in again."}, 401)
        # Another site's page cannot send this type without asking first, and is then refused by Gradio.
        if not request.headers.get("content-type", "").startswith("application/json"):
            return JSONResponse({"message": "This address takes JSON."}, 415)
        try:
            asked = read_request(await request_limits.read_body(request.receive, request.headers.get("content-length"), LARGEST))
        except request_limits.Refused as error:
            return JSONResponse({"message": str(error)}, error.status)
        try:
            asked["login"] = login
            asked["annotator"] = person(login or str(asked.get("annotator") or ""))
            return JSONResponse(await run_in_threadpool(act, asked))
        except sqlite3.OperationalError as error:
            return JSONResponse({"message": f"The database is busy ({error})."}, 503)
        except UserError as error:
            busy = isinstance(error.__cause__, sqlite3.OperationalError)
            return JSONResponse({"message": str(error)}, 503 if busy else 409)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
            log.warning("a request of the desk that could not be read", exc_info=error)
            why = f"{type(error).__name__}: {str(error)[:200]}"
            return JSONResponse({"message": sentence("en", StoreError(f"The request could not be read ({why})."))}, 400)

    return endpoint


def read_request(body: bytes) -> dict:
    """What is asked, its own fields of the right types; each decision is looked at when it is carried out. Raises Refused."""
    asked = outside.from_json(body, "This request", request_limits.Refused, largest=LARGEST)
    outside.check(DeskRequest, asked, "This request", request_limits.Refused, "load the page again")
    return asked


def _ids(asked: dict, key: str) -> list[int]:
    return [whole_number(id) for id in list(asked.get(key) or ())[:1000]]


def _same(who: str, login: str) -> bool:
    """Whether both are one person, as names are stored."""
    try:
        return person(who) == person(login)
    except StoreError:
        return False
