"""Texts from chat templates: the project's own are rendered here, all others in a process that can be cut (`engine.sandbox`).

A card, a checkpoint or an upload brings its template along. Whatever that does - loop, grow, call a costly filter - ends after
a second of computing, with a sentence, and holds nobody else up.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

from engine.types import EngineError

SANDBOX = Path(__file__).parent / "sandbox.py"
SECONDS = 1.0  # of computing for one text, compiling the template included; 10,000 messages take 0.1
PATIENCE = 5.0  # seconds of waiting where the system has no clock that counts a process's computing: Windows
KEPT = 4  # processes kept for the next text


class TemplateLimit(EngineError):
    """A template took too much: no other conversation is worth trying with it."""


class Sandboxed:
    """One process. Not for two threads at a time."""

    def __init__(self) -> None:
        # -P: else the modules beside the script, `types` among them, would stand before Python's own
        command = [sys.executable, "-P", str(SANDBOX)]
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=SANDBOX.parent
            )
        except OSError as error:
            raise EngineError(f"The process that renders chat templates cannot be started ({error.strerror or error}).") from None
        self.requests, self.replies = cast(IO[bytes], self.process.stdin), cast(IO[bytes], self.process.stdout)

    def ask(self, request: bytes) -> dict[str, str]:
        """The reply; {"limit": ...} where the process had to be ended."""
        timer = threading.Timer(PATIENCE, self.process.kill) if not hasattr(signal, "setitimer") else None
        if timer:
            timer.start()
        try:
            self.requests.write(request + b"\n")
            self.requests.flush()
            said = self.replies.readline()
        except OSError:  # it ended while it was written to
            said = b""
        finally:
            if timer:
                timer.cancel()
        return json.loads(said) if said.endswith(b"\n") else {"limit": self.ended()}

    def ended(self) -> str:
        self.close()
        cut = {-getattr(signal, name) for name in ("SIGPROF", "SIGKILL") if hasattr(signal, name)}
        if self.process.returncode in cut or os.name == "nt":
            return "computes for too long"
        return f"broke the process that rendered it (exit status {self.process.returncode})"

    def alive(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        for pipe in (self.requests, self.replies):
            try:
                pipe.close()
            except OSError:  # unsent bytes of a request to one that is gone
                continue
        try:
            self.process.wait(1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Pool:
    """Processes that wait for the next text; as many threads as like may ask at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting: list[Sandboxed] = []
        self.owner = os.getpid()

    def take(self) -> Sandboxed:
        with self.lock:
            if self.owner != os.getpid():  # after a fork the pipes are still the other process's
                self.waiting, self.owner = [], os.getpid()
            while self.waiting:
                if (one := self.waiting.pop()).alive():
                    return one
                one.close()
        return Sandboxed()

    def give(self, one: Sandboxed) -> None:
        with self.lock:
            if len(self.waiting) < KEPT and one.alive():
                self.waiting.append(one)
                return
        one.close()

    def close(self) -> None:
        with self.lock:
            waiting, self.waiting = self.waiting, []
        for one in waiting if self.owner == os.getpid() else ():
            one.close()


POOL = Pool()
atexit.register(POOL.close)


def render(name: str, template: str, variables: Mapping[str, Any], *, ours: bool = False) -> str:
    """The text of a format called `name`; `variables` are what JSON can hold. ours: the template is the project's own and is
    rendered in this process. Raises EngineError, one sentence."""
    request = {"template": template, "variables": variables, "seconds": SECONDS}
    if ours:
        from engine import sandbox  # Jinja is not needed where formats are only listed

        reply = sandbox.reply_to(request)
    else:
        one = POOL.take()
        try:
            reply = one.ask(json.dumps(request).encode())
        except BaseException:  # a reply that nobody reads must not become the next one's
            one.close()
            raise
        POOL.give(one)
    if "text" in reply:
        return reply["text"]
    if "limit" in reply:
        raise TemplateLimit(f"Format {name!r} cannot be used: its template {reply['limit']}; name another format.")
    if "refused" in reply:
        raise EngineError(f"Format {name!r} cannot render this conversation: {reply['refused']}.")
    raise EngineError(f"Format {name!r} has a fault in its template: {reply['fault']}.")
