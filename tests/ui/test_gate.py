"""Who is let in at all: known hosts, this page's own requests, and what every answer says of itself."""

from __future__ import annotations

import itertools
import re

import httpx
import pytest
from hypothesis import given, settings, strategies as st
from label_page import PageEngine
from served import served
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from ui.access import gate
from ui.access.gate import Gate, open_door
from ui.gradio_sessions import Memory
from ui.words import Languages


def door(host: str = "127.0.0.1", root_path: str | None = None, accounts=None) -> gate.Door:
    return open_door(host, root_path, Languages("en"), Memory(), accounts)


def behind(door: gate.Door) -> TestClient:
    """Anything that answers every request, as an application would that looks at nothing, with the gate before it."""

    async def everything(request):
        loose = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true"}
        return Response(request.url.path, headers=loose)

    async def socket(socket):
        await socket.accept()
        await socket.close()

    methods = ["GET", "POST", "OPTIONS", "PUT", "DELETE", "HEAD"]
    routes = [WebSocketRoute("/socket", socket), Mount("/", routes=[Route("/{rest:path}", everything, methods=methods)])]
    site = Starlette(routes=routes, middleware=[Middleware(Gate, door=door)])
    return TestClient(site, base_url="http://127.0.0.1:7860")


@pytest.mark.parametrize(
    "listening, root_path, known, unknown",
    [
        ("127.0.0.1", None, ["localhost:7860", "127.0.0.1:7860", "[::1]:7860", "LOCALHOST", "127.0.0.2"], ["10.0.0.1", "a.org"]),
        ("192.168.0.9", None, ["192.168.0.9:80", "localhost"], ["192.168.0.10", "lab.example.org", "192.168.0.9.evil.org"]),
        ("lab.example.org", None, ["lab.example.org", "Lab.Example.org.:7860"], ["example.org", "xlab.example.org"]),
        ("0.0.0.0", None, ["10.1.2.3:7860", "[fe80::1]:1", "localhost"], ["evil.org", "localhost.evil.org", "127.0.0.1.nip.io"]),
        ("127.0.0.1", "https://lab.org/mirror", ["lab.org", "127.0.0.1:7860"], ["evil.org", "lab.org.evil.org"]),
        ("127.0.0.1", "/mirror", ["localhost"], ["lab.org"]),
    ],
)
def test_the_names_it_goes_by(listening, root_path, known, unknown):
    client = behind(door(listening, root_path))
    for host in known:
        assert client.get("/", headers={"host": host}).status_code == 200, host
    for host in unknown:
        answer = client.get("/", headers={"host": host})
        assert answer.status_code == 421 and f"--root-path http://{host}" in answer.text, host


FOREIGN = ("http://evil.org", "https://127.0.0.1:7861", "http://localhost:3000", "null", "http://127.0.0.1", "file://", "")


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "PUT", "DELETE"])
def test_a_page_of_another_site_gets_nothing_and_is_allowed_nothing(method):
    client = behind(door())
    for origin in FOREIGN:
        headers = {"origin": origin, "access-control-request-method": "POST"}
        answer = client.request(method, "/gradio_api/component_server", headers=headers)
        assert answer.status_code == 403, origin
        assert not [name for name in answer.headers if name.startswith("access-control")]
    own = client.request(method, "/x", headers={"origin": "http://127.0.0.1:7860"})
    assert own.status_code == 200 and not [name for name in own.headers if name.startswith("access-control")]


def test_what_a_browser_says_of_a_request_without_an_origin_counts_too():
    client = behind(door())
    for site in ("cross-site", "same-site"):
        assert (
            client.get("/gradio_api/heartbeat/x", headers={"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}).status_code
            == 403
        )
        framed = {"sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
        assert client.get("/", headers=framed).status_code == 403
        followed = {"sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
        assert client.get("/", headers=followed).status_code == 200
    assert client.get("/", headers={"sec-fetch-site": "same-origin"}).status_code == 200


def test_two_hosts_or_origins_are_none():
    client, own = behind(door()), "127.0.0.1:7860"
    for host in (f"{own},evil.org", "evil.org@localhost", "localhost/x", "localhost:x", "", "[::1", "[localhost]"):
        assert client.get("/", headers={"host": host}).status_code == 421, host
    assert client.get("/", headers=[("host", own), ("host", "evil.org")]).status_code == 421
    assert client.get("/", headers=[("origin", f"http://{own}"), ("origin", "http://evil.org")]).status_code == 403


def test_a_proxys_address_is_our_own_too():
    client = behind(door(root_path="https://lab.org/mirror"))
    assert client.post("/x", headers={"host": "lab.org", "origin": "https://lab.org"}).status_code == 200
    assert client.post("/x", headers={"origin": "https://lab.org"}).status_code == 200  # a proxy that does not pass the Host on
    assert client.post("/x", headers={"host": "lab.org", "origin": "https://evil.org"}).status_code == 403


def test_sockets_are_held_to_the_same():
    client = behind(door())
    with client.websocket_connect("ws://127.0.0.1:7860/socket", headers={"origin": "http://127.0.0.1:7860"}):
        pass
    for headers in ({"origin": "http://evil.org"}, {"host": "evil.org"}):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("ws://127.0.0.1:7860/socket", headers=headers):
            pass


LETTERS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(host=LETTERS, origin=st.one_of(LETTERS, LETTERS.map(lambda rest: f"http://{rest}")))
def test_no_other_spelling_is_one_of_ours(host, origin):
    ours = door(root_path="https://lab.org")
    if ours.knows(host):
        assert gate.host_name(host) in ("localhost", "lab.org", "::1") or gate.host_name(host).startswith("127.")
    if ours.welcomes(origin, "localhost:7860"):
        assert origin.lower() in ("https://lab.org", "http://localhost:7860", "https://localhost:7860")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with served(PageEngine(), tmp_path_factory.mktemp("gate"), "en") as site:
        yield site


def test_the_page_itself_is_behind_the_gate(site):
    address = site.address.rstrip("/")
    page = httpx.get(site.address)
    assert page.status_code == 200 and "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-frame-options"] == "DENY" and page.headers["x-content-type-options"] == "nosniff"
    evil = {"origin": "http://evil.org"}
    for path in ("/", "/config", "/gradio_api/info", "/gradio_api/queue/join", "/gradio_api/component_server", "/label/open",
                 "/gradio_api/upload", "/gradio_api/heartbeat/abc", "/adapters/download?name=x"):  # fmt: skip
        for method, headers in itertools.product(("GET", "POST", "OPTIONS"), (evil, {"host": "evil.org"})):
            answer = httpx.request(method, address + path, headers=headers | {"access-control-request-method": "POST"})
            assert answer.status_code in (403, 421), (method, path, headers)
            assert not [name for name in answer.headers if name.startswith("access-control")], (method, path)
    own = httpx.get(f"{address}/config", headers={"origin": address})
    assert own.status_code == 200 and "access-control-allow-origin" not in own.headers


def test_a_share_loads_nothing_from_elsewhere(tmp_path, monkeypatch):
    """Gradio's own page for it has its only script on another site, which the policy refuses: nothing would be seen."""
    monkeypatch.setattr("gradio.networking.setup_tunnel", lambda **_: "https://abc.gradio.live")
    with served(PageEngine(), tmp_path / "app", "en", share=True) as site:
        page = httpx.get(site.demo.local_url, headers={"host": "abc.gradio.live"})
        assert page.status_code == 200 and site.demo.share_url == "https://abc.gradio.live"
        assert not re.findall(r"<script[^>]+src=.https?://[^>]*>", page.text)


def test_a_refusal_can_be_read_by_whom_it_reaches(site):
    told = httpx.post(f"{site.address}gradio_api/queue/join", headers={"host": "lab.org", "x-forwarded-proto": "https"})
    assert told.status_code == 421 and "--root-path https://lab.org" in told.json()["detail"] == told.json()["message"]
    shown = httpx.get(site.address, headers={"origin": "https://lab.org", "accept": "text/html,*/*"})
    assert shown.status_code == 403 and shown.text.endswith("--root-path https://lab.org")


def test_what_gradio_serves_and_the_page_does_not_need_is_closed(site):
    for path in ("deep_link?session_hash=x", "proxy=https://a.hf.space/", "file=https://example.org/x", "token", "dev/reload"):
        assert httpx.get(f"{site.address.rstrip('/')}/gradio_api/{path}").status_code == 404, path
