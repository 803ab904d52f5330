"""The desk's own addresses under /label/: JSON in and out, behind the page's login, past Gradio's queue.

A key press has to be stored while answers are being generated, and once only; a plain request with a token does that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from store import StoreError
from ui import label_desk
from ui.gate import WHO
from ui.house import House, sentence

LARGEST = 2_000_000  # bytes of one request
FOLDER = "/label/"


def routes(house: House) -> list[Route]:
    """For the application that serves the page."""

    def opened(asked: dict) -> dict:
        return label_desk.opened(house, int(asked["queue"]), asked["annotator"])

    def more(asked: dict) -> dict:
        return label_desk.more(house, int(asked["queue"]), asked["annotator"], _ids(asked, "without"), bool(asked.get("skipped")))

    def told(asked: dict) -> dict:
        return label_desk.told(house, int(asked["queue"]), asked["annotator"], _ids(asked, "held"))

    def decide(asked: dict) -> dict:
        """Each decision is its own annotator's; where there is a login only that one's, others wait for theirs."""
        results = []
        for decision in list(asked["decisions"])[: label_desk.MOST]:
            who = str(decision.get("annotator") or "")
            if asked["login"] and who != asked["login"]:
                results.append({"token": decision.get("token"), "status": label_desk.ELSEWHERE})
            else:
                results += label_desk.decide(house, who, [decision])
        if not asked.get("queue"):
            return {"results": results}
        queue, held = int(asked["queue"]), _ids(asked, "held")
        items = [int(decision["item"]) for decision in asked["decisions"] if decision.get("queue") == queue]
        return {"results": results} | label_desk.told(house, queue, asked["annotator"], held, items, everybody=False)

    found = {"open": opened, "more": more, "told": told, "decide": decide}
    return [Route(f"{FOLDER}{name}", _endpoint(house, act), methods=["POST"]) for name, act in found.items()]


def _endpoint(house: House, act: Callable[[dict], dict]) -> Callable:
    async def endpoint(request: Request) -> JSONResponse:
        login = visitor(request)
        if login is None:
            return JSONResponse({"message": "Log in again."}, 401)
        # Another site's page cannot send this type without asking first, and is then refused by Gradio.
        if not request.headers.get("content-type", "").startswith("application/json"):
            return JSONResponse({"message": "This address takes JSON."}, 415)
        if int(request.headers.get("content-length") or LARGEST + 1) > LARGEST:
            return JSONResponse({"message": "This is too much at once."}, 413)
        try:
            asked = await request.json()
            asked["login"] = login
            asked["annotator"] = login or str(asked.get("annotator") or "")
            return JSONResponse(await run_in_threadpool(act, asked))
        except sqlite3.OperationalError as error:
            return JSONResponse({"message": f"The database is busy ({error})."}, 503)
        except StoreError as error:
            busy = isinstance(error.__cause__, sqlite3.OperationalError)
            return JSONResponse({"message": str(error)}, 503 if busy else 409)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return JSONResponse({"message": sentence("en", StoreError(f"The request could not be read ({error!r})."))}, 400)

    return endpoint


def visitor(request: Request) -> str | None:
    """The name somebody has logged in with, "" where no login is asked for, None for who has not logged in."""
    return request.scope.get(WHO)  # what has not come through the gate has nobody's name


def _ids(asked: dict, key: str) -> list[int]:
    return [int(id) for id in asked.get(key) or ()][:1000]
