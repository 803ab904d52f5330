"""Ctrl-C and SIGTERM end the program at any moment: the exit code that shells expect, no trace of calls, nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from gradio_client import Client
from tiny import write_bayling_like

import chat_app
from common import ending
from ui import app as page

ROOT = Path(__file__).parents[2]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class App:
    """`chat_app.py` in a process of its own, its words in a file."""

    def __init__(self, folder: Path, base: Path, port: int) -> None:
        self.log, self.temporary = folder / "log.txt", folder / "tmp"
        self.temporary.mkdir()
        for name in ("adapters", "identities"):
            (folder / name).mkdir()
        places = dict.fromkeys(("TMPDIR", "GRADIO_TEMP_DIR"), str(self.temporary))
        environment = os.environ | places | {"PYTHONUNBUFFERED": "1"}
        flags = ["--base", str(base), "--port", str(port), "--db", str(folder / "mirror.db")]
        flags += ["--adapters-dir", str(folder / "adapters"), "--identities-dir", str(folder / "identities")]
        with self.log.open("wb") as log:
            command = [sys.executable, str(ROOT / "chat_app.py"), *flags]
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)

    def wait_for(self, text: str, seconds: float = 240) -> str:
        deadline = time.monotonic() + seconds
        while text not in (said := self.log.read_text()):
            assert self.process.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.02)
        return said

    def end(self, number: signal.Signals) -> str:
        """What it said; it ended as it should."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        said = self.log.read_text()
        assert code == CODES[number], f"{code}: {said}"
        assert "Traceback" not in said and "Exception" not in said and "terminate called" not in said, said
        assert not list(self.temporary.glob("mirror-test-files-*")), said
        return said


@pytest.fixture(autouse=True)
def interruptible():
    """A shell that starts tests in the background lets them ignore Ctrl-C, and all that they start would inherit it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_bayling_like(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def site(base, tmp_path):
    started = []

    def start(port=None):
        started.append(App(tmp_path, base, port or free_port()))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


@pytest.mark.parametrize("number, after", [(signal.SIGINT, 0.4), (signal.SIGTERM, 1.5)])
def test_while_it_is_being_loaded(site, number, after):
    one = site()
    time.sleep(after)  # whatever it does by then: libraries are imported for seconds
    deadline = time.monotonic() + 60
    while caught(one.process.pid) is False and time.monotonic() < deadline:
        time.sleep(0.01)  # not before Python itself has begun
    one.end(number)


def caught(pid: int) -> bool:
    """Whether the process handles SIGTERM by now."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():  # not Linux: it has had time enough
        return True
    mask = int(re.search(r"^SigCgt:\s*([0-9a-f]+)", status.read_text(), re.MULTILINE)[1], 16)
    return bool(mask & (1 << (signal.SIGTERM - 1)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_it_answers(site, number):
    one = site()
    address = re.search(r"open at (\S+)", one.wait_for("is open at"))[1]
    client = Client(address, verbose=False)
    for _ in range(2):
        client.submit("Who are you?", api_name="/ask")
    time.sleep(0.5)
    one.end(number)


def test_a_lost_race_for_the_port_is_a_sentence(monkeypatch, capsys, tmp_path):
    """Somebody begins to listen there after the look and before the page is served."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]

        def lose(_args, say=print):
            other.listen()
            return SimpleNamespace(closed=threading.Event())

        def serve(*_given, **_more):
            raise OSError(f"Cannot find empty port in range: {port}-{port}.")

        monkeypatch.setattr(chat_app, "problems", lambda _args: [])
        monkeypatch.setattr(chat_app, "open_app", lose)
        monkeypatch.setattr(page, "serve", serve)
        assert chat_app.main(["--port", str(port)]) == 1
    said = capsys.readouterr().err
    assert f"port {port} on 127.0.0.1 cannot be used" in said and said.count("\n") == 1


def test_the_handlers_of_whoever_called_it_are_put_back(monkeypatch, tmp_path):
    before = [signal.getsignal(number) for number in ending.SIGNALS]
    assert chat_app.main(["--port", "99999"]) == 2
    assert [signal.getsignal(number) for number in ending.SIGNALS] == before


COMMAND = """
import sys, threading, time
from common import ending
def main():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaned", flush=True)
ending.run(main)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_ends_with_its_code_and_cleans_up(number):
    process = command(COMMAND)
    process.send_signal(number)
    said, trace = process.communicate(timeout=60)
    assert process.returncode == CODES[number] and said == "cleaned\n" and "Traceback" not in trace


def command(code: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


TWICE = """
import time
from common import ending
def main():
    asked = []
    with ending.stop_on_signal(lambda: asked.append(1)) as received:
        print("ready", flush=True)
        while not asked:
            time.sleep(0.01)
        print("stopping", flush=True)
        time.sleep(1 if {once} else 60)
    return ending.exit_code(received[0])
ending.run(main)
"""


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_ends(number, once):
    process = command(TWICE.format(once=once))
    process.send_signal(number)
    assert process.stdout.readline() == "stopping\n"
    if not once:
        process.send_signal(number)
    _, trace = process.communicate(timeout=60)
    assert process.returncode == CODES[number] and "Traceback" not in trace


def test_a_full_disk_ends_a_command_with_its_sentence():
    code = "from common import ending, space\ndef main():\n    print('ready', flush=True)\n"
    process = command(code + "    raise space.DiskFull('It is full.')\nending.run(main)")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1 and said == "It is full.\n"
