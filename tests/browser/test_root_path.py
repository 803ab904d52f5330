"""Under a path of a reverse proxy: the page, its own addresses, its questions and its labels."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import httpx
import label_page
import pytest
import uvicorn
from label_page import PageEngine
from served import open_page, served
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

import chat_app
import store

HOPS = ("connection", "transfer-encoding", "content-length", "content-encoding")


@contextlib.contextmanager
def proxied(behind: str, path: str):
    """A proxy that shows `behind` under `path` and nothing else; it takes the path off and passes the Host on."""
    client = httpx.AsyncClient(timeout=60)

    async def pass_on(request: Request):
        if request.url.path != path and not request.url.path.startswith(f"{path}/"):
            return PlainTextResponse("There is nothing here.", 404)
        address = behind.rstrip("/") + (request.url.path.removeprefix(path) or "/")
        asked = client.build_request(
            request.method, address, params=request.query_params, headers=request.headers.raw, content=await request.body()
        )
        answer = await client.send(asked, stream=True)
        kept = {name: value for name, value in answer.headers.items() if name not in HOPS}
        return StreamingResponse(answer.aiter_bytes(), answer.status_code, kept, background=BackgroundTask(answer.aclose))

    methods = ["GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    site = Starlette(routes=[Route("/{rest:path}", pass_on, methods=methods)])
    server = uvicorn.Server(uvicorn.Config(site, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}{path}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with (
        served(PageEngine(), tmp_path_factory.mktemp("proxied"), "en", root_path="/tools/mirror") as site,
        proxied(site.address, "/tools/mirror") as address,
    ):
        site.proxied = address
        yield site


def test_page_assets_and_the_desks_addresses_lie_under_the_path(site):
    page = httpx.get(f"{site.proxied}/")
    assert page.status_code == 200 and '"root":"' in page.text.replace('"root": "', '"root":"')
    assert httpx.get(f"{site.proxied}/config").json()["root"] == site.proxied
    assert httpx.get(site.proxied.removesuffix("/tools/mirror") + "/config").status_code == 404
    queue = label_page.queue(site.db, 3, blind=False)
    told = httpx.post(f"{site.proxied}/label/open", json={"queue": queue, "annotator": "An"})
    assert told.status_code == 200 and len(told.json()["items"]) == 3


def test_the_flag_is_checked_before_anything_slow(capsys):
    for wrong in ("mirror", "/mir ror", "/a?b", "ftp://x/mirror"):
        assert chat_app.main(["--root-path", wrong]) == 2
        assert f"--root-path {wrong} is no path" in capsys.readouterr().err
    for good in ("/mirror", "/tools/mirror/", "https://example.org/mirror", "https://example.org"):
        args = chat_app.flags().parse_args(["--root-path", good, "--port", "1"])
        assert not [one for one in chat_app.problems(args) if "root-path" in one]


@pytest.mark.browser
def test_labels_are_stored_from_a_page_under_the_path(site, page):
    queue = label_page.queue(site.db, 6, blind=False)
    strange = []
    page.on(
        "request",
        lambda request: None if request.url.startswith((site.proxied, "data:", "blob:")) else strange.append(request.url),
    )
    open_page(page, f"{site.proxied}/")
    page.get_by_role("tab", name="Label", exact=True).click()
    name = page.locator("#lb-annotator :is(input, textarea)")
    name.fill("An")
    name.press("Enter")
    page.click("#lb-queue input")
    page.get_by_role("option").filter(has_text=store.queues.get(site.db, queue)["name"]).first.click()
    label_page.wait_for_desk(page, f"[data-queue='{queue}']")
    page.keyboard.press("1")
    page.wait_for_selector("mirror-desk .lb-saved")
    page.wait_for_function("() => document.querySelectorAll('mirror-desk .lb-entry').length === 1")
    for _ in range(50):
        if store.labels.standing(site.db, queue):
            break
        time.sleep(0.1)
    assert len(store.labels.standing(site.db, queue)) == 1
    assert not [url for url in strange if site.proxied.removesuffix("/tools/mirror") in url], strange
