"""The gate before everything that is served: whose name this page is asked by, from whose page, by whom. Pure ASGI.

A page of another web site can send requests to any address that a browser reaches, this machine's own among them, and its name
can be made to mean this machine (DNS rebinding). So the Host has to be one of ours, and a request that says which page it comes
from has to come from ours.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ui.access import login, roles
from ui.access.login import Sessions
from ui.accounts import Accounts
from ui.gradio_sessions import Memory
from ui.words import Languages, say

WHO = "mirror.who"  # in a scope: who has logged in, "" where nobody needs to
API = "/gradio_api"
# What is served to anybody: the way in, and what a browser or the launch itself asks for before it.
# A page that lost the program asks for its id until it is there again, and then loads itself anew: to the login, if need be.
OPEN = ("/login", "/logout", "/favicon.ico", "/manifest.json", "/robots.txt", f"{API}/startup-events", f"{API}/app_id")
# What Gradio serves and this page has no use for: links to a page's state, other servers' files, its own login.
CLOSED = (
    *(f"{API}/{name}" for name in ("deep_link", "proxy=", "file=http", "file/", "process_recording", "token", "dev/")),
    "/monitoring",
    "/login/",
)
# Gradio's page is made of inline scripts and compiles the events' own (`js=`), so both are allowed; nothing is fetched from, sent
# to, or shown on another site.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "media-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^\s/@?#:,\\\[\]]+))(?::\d{0,5})?")
HEADERS = {
    "content-security-policy": POLICY,
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass
class Door:
    """What the gate goes by. names: hosts; anyhow: any address of digits is this machine's, for it listens on all of them.
    origins: of whole addresses by which a proxy shows the page. sessions: None where nobody logs in."""

    names: set[str]
    language: Languages
    memory: Memory
    anyhow: bool = False
    origins: set[str] = field(default_factory=set)
    sessions: Sessions | None = None
    root_path: str = ""

    def add(self, address: str) -> None:
        """The page is also shown at this whole address."""
        parts = urlsplit(address)
        if parts.hostname:
            self.names.add(parts.hostname)
            self.origins.add(f"{parts.scheme}://{parts.netloc}".lower())

    def knows(self, host: str) -> bool:
        name = host_name(host)
        if not name:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self.names
        return self.anyhow or address.is_loopback or name in self.names

    def welcomes(self, origin: str, host: str) -> bool:
        """Whether a page of `origin` is this one, asked for as `host`."""
        origin = origin.lower()
        return origin in self.origins or (
            origin.startswith(("http://", "https://")) and strip_port(origin.partition("://")[2]) == strip_port(host.lower())
        )


def open_door(host: str, root_path: str | None, language: Languages, memory: Memory, accounts: Accounts | None = None) -> Door:
    """host: what is listened on. root_path: as the command line takes it, a path or a whole address."""
    names = {"localhost", host.strip("[]").lower()}
    anyhow = host in ("", "0.0.0.0", "::")
    if anyhow:
        own = socket.gethostname().lower()
        names |= {own, f"{own}.local", socket.getfqdn().lower()}
    sessions = Sessions(accounts) if accounts else None
    door = Door(names, language, memory, anyhow, sessions=sessions, root_path=urlsplit(root_path or "").path.rstrip("/"))
    door.add(root_path or "")
    return door


def host_name(host: str) -> str:
    """`[::1]:7860` -> `::1`, `Example.org:80` -> `example.org`; "" for what is no host and port."""
    found = HOST.fullmatch(host)
    return (found[1] or found[2]).lower().rstrip(".") if found else ""


def strip_port(host: str) -> str:
    """Without a port that goes without saying; which of the two does, only the browser and the proxy know."""
    return host.removesuffix(":80").removesuffix(":443")


class Gate:
    """ASGI middleware. What it lets through carries WHO in its scope; its answers carry HEADERS and allow no other site."""

    def __init__(self, app, door: Door):
        self.app, self.door = app, door

    async def __call__(self, scope, receive, send):
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        why_not = self.refusal(scope)
        if scope["type"] == "websocket":
            if why_not:
                return await send({"type": "websocket.close", "code": 1008})
            return await self.app(scope, receive, send)
        if why_not:
            return await why_not(scope, receive, _headed(send))
        with self.door.memory.alive(self.path(scope)):
            await self.app(scope, receive, _headed(send))

    def path(self, scope) -> str:
        path, root = scope["path"], self.door.root_path
        return path.removeprefix(root) if root and path.startswith(f"{root}/") else path

    def scheme(self, scope) -> str:
        """As whoever asks wrote it, as far as can be told; for a piece of advice only."""
        told = Headers(scope=scope).get("x-forwarded-proto", "").strip().lower()
        return told if told in ("http", "https") else "https" if scope["scheme"] in ("https", "wss") else "http"

    def refusal(self, scope) -> Response | None:
        """The answer to what is not let through."""
        headers, asked = Headers(scope=scope), HTTPConnection(scope)
        lang = login.language_of(asked, self.door.language)
        # of several of these, which one somebody else goes by cannot be told
        host, origin = ",".join(headers.getlist("host")), ",".join(headers.getlist("origin")) if "origin" in headers else None
        path = self.path(scope)
        if not self.door.knows(host):
            wrong = quote(host[:200], safe=":[].-")
            address = f"{self.scheme(scope)}://{wrong}{self.door.root_path}"
            return refusal_response(headers, say(lang, "door_host", host=wrong, address=address), 421)
        if is_foreign(headers, origin is not None and not self.door.welcomes(origin, host)):
            site = quote((origin or "-")[:200], safe=":/[].-")
            return refusal_response(headers, say(lang, "door_origin", origin=site, path=self.door.root_path), 403)
        if path.lower().startswith(CLOSED):
            return refusal_response(headers, say(lang, "door_closed"), 404)
        sessions = self.door.sessions
        scope[WHO] = name = sessions.who(asked.cookies.get(sessions.cookie)) if sessions else ""
        if name is None and path not in OPEN:
            if path in ("", "/"):
                return login.login_page(lang)
            return JSONResponse({"detail": say(lang, "login_again"), "message": "Log in again."}, 401)
        if sessions and name and (needed := roles.role_of_address(path)):
            role = sessions.accounts.role(name)
            if not roles.is_enough(role, needed):
                why = roles.needed_sentence(lang, name, role, needed)
                return JSONResponse({"detail": why, "message": why}, 403)
        return None


def refusal_response(headers: Headers, why: str, status: int) -> Response:
    """To somebody who looks at it, or to Gradio's client, which reads every answer as JSON."""
    if "text/html" in headers.get("accept", ""):
        return PlainTextResponse(why, status)
    return JSONResponse({"detail": why, "message": why}, status)


def is_foreign(headers: Headers, origin_differs: bool) -> bool:
    """Whether a page of another site made the browser ask. A link that somebody followed is no such thing."""
    if origin_differs:
        return True
    followed = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return headers.get("sec-fetch-site") in ("cross-site", "same-site") and not followed


def _headed(send):
    async def headed(message):
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name in [name for name in headers if name.startswith("access-control-")]:
                del headers[name]
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return headed


def visitor(request: Request) -> str | None:
    """The name somebody has logged in with, "" where no login is asked for, None for who has not logged in."""
    return request.scope.get(WHO)  # what has not come through the gate has nobody's name
