"""The command line: what is refused, and that it is refused before anything slow."""

from __future__ import annotations

import socket

import pytest

import chat_app
from ui.app import database_files


def said(capsys, *arguments: str) -> str:
    assert chat_app.main(list(arguments)) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (["--share"], "add --accounts FILE or --auth USER:PASSWORD"),
        (["--host", "0.0.0.0"], "opens this page to other machines"),
        (["--host", "192.168.0.9"], "opens this page to other machines"),
        (["--auth", "nobody"], "USER:PASSWORD"),
        (["--auth", ":secret"], "neither of them empty"),
        (["--auth", "An:"], "neither of them empty"),
        (["--auth", "An:one", "--auth", "An:two"], "names An twice"),
        (["--port", "99999"], "between 1 and 65535"),
        (["--judge", "gpt"], "neither base nor an address"),
        (["--judge", "http://127.0.0.1:1/v1"], "--judge-model NAME"),
        (["--judge-model", "m"], "belongs to a --judge"),
        (["--threads", "0"], "--threads 0 is too small"),
        (["--adapters-dir", "/no/such/folder"], "/no/such/folder is no folder"),
    ],
)
def test_a_bad_flag_is_one_sentence(capsys, arguments, problem):
    error = said(capsys, *arguments)
    assert problem in error and "Traceback" not in error and error.count("\n") == 1


def test_all_problems_are_said_at_once(capsys):
    error = said(capsys, "--share", "--threads", "0", "--identities-dir", "/no/such/folder")
    assert "--auth" in error and "--threads" in error and "/no/such/folder" in error


def test_a_taken_port_is_one_sentence(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} on 127.0.0.1 cannot be used" in said(capsys, "--port", str(port))


def test_local_names_need_no_password():
    for host in ("127.0.0.1", "localhost", "::1", "127.0.0.2"):
        assert chat_app.loopback(host)
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org"):
        assert not chat_app.loopback(host)


def test_a_missing_base_and_a_card_without_placeholders_are_sentences(capsys, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = ["--port", port, "--db", str(tmp_path / "mirror.db")]
    assert chat_app.main([*common, "--card", "museum-guide"]) == 1
    assert "names no placeholders" in capsys.readouterr().err
    assert chat_app.main([*common, "--base", str(tmp_path / "nothing")]) == 1
    error = capsys.readouterr().err
    assert "nothing" in error and "Traceback" not in error


def test_the_database_and_its_companions_are_kept_from_visitors(tmp_path):
    files = database_files(tmp_path / "mirror.db")
    assert str(tmp_path / "mirror.db") in files and str(tmp_path / "mirror.db-wal") in files
