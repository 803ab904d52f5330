"""An adapter as a zip under /adapters/, behind the page's login: packed when it is asked for, and nothing left of it after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from engine.types import EngineError
from ui import adapter_library
from ui.access.gate import visitor
from ui.context import App
from ui.tabs.adapters import zip_file

ADDRESS = "/adapters/download"
# In the browser, of the chosen adapter's name. Relative: the page may lie below a path of its own, behind a proxy.
FETCH = f"""(name) => {{
  const address = new URL("{ADDRESS[1:]}?name=" + encodeURIComponent(name), document.baseURI);
  Object.assign(document.createElement("a"), {{ href: address, download: "" }}).click();
}}"""


class Sent(StreamingResponse):
    """A file without a name, from its beginning; closed, and so gone, however the sending ends."""

    def __init__(self, file: IO[bytes], size: int, headers: dict[str, str]):
        super().__init__(_chunks(file), media_type="application/zip", headers=headers | {"Content-Length": str(size)})
        self.file = file

    async def __call__(self, *given) -> None:
        try:
            await super().__call__(*given)
        finally:
            self.file.close()


def routes(app: App) -> list[Route]:
    """For the application that serves the page."""

    async def download(request: Request) -> Response:
        if visitor(request) is None:
            return PlainTextResponse("Log in again.", 401)
        name = request.query_params.get("name", "")
        try:
            file, size = await run_in_threadpool(
                lambda: zip_file.pack(adapter_library.opened_folder(app, adapter_library.folder_of(app, name)), name)
            )
        except EngineError as error:
            return PlainTextResponse(str(error), 404)
        headers = {"Content-Disposition": f"attachment; filename*=utf-8''{quote(f'{name}.zip', safe='')}"}
        return Sent(file, size, headers | {"Cache-Control": "no-store"})

    return [Route(ADDRESS, download, methods=["GET"])]


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(zip_file.CHUNK):
        yield chunk
