"""Logging in and out: the page that asks, how often one may try, and how long one stays logged in."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from html import escape

import anyio
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from store import StoreError
from store.names import person
from ui.accounts import Account, Accounts
from ui.words import Languages, choose_language, say

IDLE_S, LONGEST_S = 8 * 3600, 7 * 24 * 3600  # without a request, and in all: a working day, a week
MOST = 1000  # sessions at a time; the one unused for longest goes first
WINDOW_S = 300
BY_NAME, BY_ADDRESS = 10, 30  # wrong passwords in a window: a name's, an address's (many people may share one)
LARGEST = 10_000  # bytes of a form with a name and a password


@dataclass
class Session:
    name: str
    account: Account  # as it was: another password, or another role, asks for a new session
    begun: float
    used: float


class Sessions:
    """Who is logged in, by the token in their cookie. In memory: they end with the program."""

    def __init__(self, accounts: Accounts, clock: Callable[[], float] = time.monotonic):
        self.accounts, self.clock = accounts, clock
        self.cookie = f"mirror-login-{secrets.token_hex(4)}"  # another program's on this host, at another port, has another
        self.known: dict[str, Session] = {}
        self.lock = threading.Lock()  # guards `known`

    def begin(self, name: str, account: Account) -> str:
        token, now = secrets.token_urlsafe(32), self.clock()
        with self.lock:
            if len(self.known) >= MOST:
                del self.known[min(self.known, key=lambda one: self.known[one].used)]
            self.known[token] = Session(name, account, now, now)
        return token

    def end(self, token: str) -> None:
        with self.lock:
            self.known.pop(token, None)

    def who(self, token: str | None) -> str | None:
        """The name behind a token, if its session has not ended and the account is as it was."""
        token = token or ""
        with self.lock:
            session = self.known.get(token)
            if session is None:
                return None
            now = self.clock()
            over = now - session.used > IDLE_S or now - session.begun > LONGEST_S
            if over or self.accounts.get(session.name) != session.account:
                del self.known[token]
                return None
            session.used = now
            return session.name


class Attempts:
    """Wrong passwords of late, by name and by address."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self.wrong: dict[tuple[str, str], list[float]] = {}
        self.trusted: set[tuple[str, str]] = set()  # (name, address) that have come in: others' guesses do not keep them out
        self.lock = threading.Lock()  # guards both

    def wait(self, name: str, address: str) -> int:
        """Seconds until this name may be tried from this address again; 0 for at once."""
        with self.lock:
            keys = {("name", f"{name}\n{address}") if (name, address) in self.trusted else ("name", name): BY_NAME}
            keys |= {("address", address): BY_ADDRESS}
            return max(self._wait(key, most) for key, most in keys.items())

    def failed(self, name: str, address: str) -> None:
        with self.lock:
            now = self.clock()
            self.wrong = {key: kept for key, times in self.wrong.items() if (kept := [at for at in times if now - at < WINDOW_S])}
            own = ("name", f"{name}\n{address}") if (name, address) in self.trusted else ("name", name)
            for key in (own, ("address", address)):
                self.wrong.setdefault(key, []).append(now)

    def succeeded(self, name: str, address: str) -> None:
        with self.lock:
            if len(self.trusted) < 10_000:
                self.trusted.add((name, address))

    def _wait(self, key: tuple[str, str], most: int) -> int:
        times = [at for at in self.wrong.get(key, ()) if self.clock() - at < WINDOW_S]
        return int(times[-most] + WINDOW_S - self.clock()) + 1 if len(times) >= most else 0


def routes(sessions: Sessions, language: Languages, secure: bool = False) -> list[Route]:
    """/login and /logout, before Gradio's own. secure: people come by https, whatever the proxy speaks to us."""
    attempts = Attempts()
    one = anyio.CapacityLimiter(1)  # of those who guess at the same moment, each is counted before the next one is tried

    def attempt(name: str, password: str, address: str) -> tuple[int, Account | None]:
        if wait := attempts.wait(name, address):
            return wait, None
        account = sessions.accounts.verify(name, password)
        (attempts.succeeded if account else attempts.failed)(name, address)
        return 0, account

    async def login(request: Request) -> Response:
        lang, page = language_of(request, language), "text/html" in request.headers.get("accept", "")
        if int(request.headers.get("content-length") or LARGEST + 1) > LARGEST:
            return JSONResponse({"detail": say("en", "login_wrong")}, 413)
        async with request.form(max_files=0, max_fields=10) as form:
            name, password = (str(form.get(field) or "") for field in ("username", "password"))
        with suppress(StoreError):  # as accounts spell it; what can be nobody's name stays wrong as it is
            name = person(name)
        name, address = name.strip()[:200], request.client.host if request.client else ""
        wait, account = await anyio.to_thread.run_sync(attempt, name, password, address, limiter=one)
        if account is None:
            why = say(lang, "login_wait", seconds=wait) if wait else say(lang, "login_wrong")
            status, headers = (429, {"Retry-After": str(wait)}) if wait else (400, {})
            return login_page(lang, why, name, status, headers) if page else JSONResponse({"detail": why}, status, headers)
        answer = RedirectResponse("./", 303) if page else JSONResponse({"success": True})
        answer.set_cookie(
            sessions.cookie, sessions.begin(name, account), max_age=LONGEST_S, httponly=True, samesite="lax",
            secure=secure or request.url.scheme == "https",
        )  # fmt: skip
        return answer

    async def logout(request: Request) -> Response:
        sessions.end(request.cookies.get(sessions.cookie, ""))
        answer = RedirectResponse("./", 303)
        answer.delete_cookie(sessions.cookie)
        return answer

    async def ask(_request: Request) -> Response:
        return RedirectResponse("./", 303)

    return [
        Route("/login", login, methods=["POST"]),
        Route("/login", ask, methods=["GET"]),
        Route("/logout", logout, methods=["POST"]),
        Route("/logout", ask, methods=["GET"]),
    ]


def language_of(request: Request, language: Languages) -> str:
    return choose_language(dict(request.cookies), request.headers.get("accept-language", ""), language.default)


def login_page(lang: str, why: str = "", name: str = "", status: int = 401, headers: dict | None = None) -> HTMLResponse:
    """The page that asks for name and password; it needs no script."""
    said = f'<p role="alert">{escape(why)}</p>' if why else ""
    html = f"""<!doctype html><html lang="{lang}"><head><meta charset="utf-8"><title>Mirror Test 镜测</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>
<form method="post" action="login"><h1>Mirror Test<span lang="zh-CN">镜测</span></h1>{said}
<label>{escape(say(lang, "login_name"))}
<input name="username" value="{escape(name)}" autocomplete="username" required autofocus></label>
<label>{escape(say(lang, "login_password"))}
<input name="password" type="password" autocomplete="current-password" required></label>
<button>{escape(say(lang, "login_enter"))}</button></form></body></html>"""
    return HTMLResponse(html, status, {"Cache-Control": "no-store"} | (headers or {}))


STYLE = """:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;display:grid;place-items:center;min-height:90vh;
margin:0;background:light-dark(#faf9f6,#131312);color:light-dark(#1c1b1a,#f3f1ec)}form{display:grid;gap:14px;width:min(320px,90vw)}
h1{font-size:20px;margin:0;font-weight:600}h1 span{margin-left:.5em;font-weight:400;opacity:.6}
p{margin:0;color:light-dark(#9c3f2e,#e08a78)}
label{display:grid;gap:4px;font-size:13px}input,button{font:inherit;padding:8px 10px;border-radius:4px;
border:1px solid light-dark(#d3cfc6,#43413d);background:light-dark(#fff,#1c1b1a);color:inherit}
button{background:#236a63;border-color:#236a63;color:#fff;cursor:pointer}"""
