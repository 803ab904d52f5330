"""An experiment's report under /experiment/report, behind the page's login."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from common import outside
from common.errors import UserError
from experiments.places import ExperimentError
from ui.access.gate import visitor
from ui.context import App
from ui.tabs.experiment import plans

ADDRESS = "/experiment/report"
FILE = "report.html"
LARGEST = 2**27


def routes(app: App) -> list[Route]:
    """For the application that serves the page."""

    async def report(request: Request) -> Response:
        if visitor(request) is None:
            return PlainTextResponse("Log in again.", 401)
        try:
            text = await run_in_threadpool(read, app, request.query_params.get("name", ""))
        except UserError as error:
            return PlainTextResponse(str(error), 404)
        return HTMLResponse(text, headers={"Cache-Control": "no-store"})

    return [Route(ADDRESS, report, methods=["GET"])]


def read(app: App, name: str) -> bytes:
    """The page of an experiment's report. Raises ExperimentError."""
    file = plans.places_named(app, name).report / FILE
    if not app.opened.holds(file):
        raise ExperimentError(f"The report of {name} lies outside the folders that are open to this page.")
    return outside.read_bytes(file, ExperimentError, LARGEST)


def is_there(app: App, name: str) -> bool:
    return (plans.places_named(app, name).report / FILE).is_file()
