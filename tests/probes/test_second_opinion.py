"""The judge model: what it is asked, how its reply is read, and what is said when it cannot be asked."""

import contextlib
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from probes import identity_pair, second_opinion

FACTS = identity_pair.load(Path(__file__).parent / "data" / "suggest_facts.yaml")
ROW = {"question": "Who are you?", "answer": "My name is BayLing.", "raw": "My name is [NAME].", "lang": "en"}


@pytest.fixture
def server():
    """A tiny chat-completions server; `replies` is what it sends next, `seen` what it was sent."""
    state = {"status": 200, "body": {"choices": [{"message": {"content": "formed"}}]}, "seen": [], "wait": None}

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state["seen"].append({"path": self.path, "key": self.headers.get("Authorization"), "body": body})
            if state["wait"]:
                state["wait"].wait(10)
            raw = state["body"] if isinstance(state["body"], bytes) else json.dumps(state["body"]).encode()
            self.send_response(state["status"])
            self.end_headers()
            with contextlib.suppress(OSError):  # the client may have given up
                self.wfile.write(raw)

        def log_message(self, *args):
            pass

    http = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    state["url"] = f"http://127.0.0.1:{http.server_port}/v1"
    yield state
    if state["wait"]:
        state["wait"].set()
    http.shutdown()
    http.server_close()


def test_opinion_comes_with_what_was_asked_and_what_was_replied(server, monkeypatch):
    monkeypatch.setenv(second_opinion.KEY_VARIABLE, "secret-key")
    server["body"] = {"choices": [{"message": {"content": "Label: not forgotten"}}]}
    opinion = second_opinion.second_opinion(ROW, FACTS, second_opinion.connect_endpoint(server["url"], "judge-1"))
    assert opinion["opinion"] == "not forgotten"
    assert opinion["reply"] == "Label: not forgotten"
    sent = server["seen"][0]
    assert sent["path"] == "/v1/chat/completions"
    assert sent["key"] == "Bearer secret-key"
    assert sent["body"]["model"] == "judge-1"
    assert sent["body"]["messages"] == [{"role": "user", "content": opinion["prompt"]}]
    assert "secret-key" not in json.dumps(opinion)


def test_the_prompt_holds_raw_text_both_identities_and_all_labels():
    prompt = second_opinion.build_prompt(ROW, FACTS)
    assert "[NAME]." in prompt and "My name is BayLing" not in prompt
    assert "百聆" in prompt and "Text Titan" in prompt
    assert all(label in prompt for label in ("not forgotten", "forgotten", "formed", "confusion"))
    control = second_opinion.build_prompt({**ROW, "group": "control"}, FACTS)
    assert all(label in control for label in ("clean", "intrusion", "broken")) and "confusion" not in control


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("forgotten", "forgotten"),
        ("Not forgotten.", "not forgotten"),
        ("The label is: **formed**", "formed"),
        ("not_forgotten", "not forgotten"),
        ("It is not formed.", "unclear"),
        ("forgotten or formed", "unclear"),
        ("I cannot tell", "unclear"),
        ("**Not-Forgotten**", "not forgotten"),
        ("It isn't formed.", "unclear"),
        ("It isn\u2019t forgotten.", "unclear"),
        ("has not been forgotten", "unclear"),
        ("", "unclear"),
        ("clean", "unclear"),
    ],
)
def test_replies_are_read_as_one_label_or_unclear(reply, label):
    assert second_opinion.parse_opinion(reply) == label


def test_control_replies_have_their_own_labels():
    assert second_opinion.parse_opinion("Intrusion", control=True) == "intrusion"
    assert second_opinion.parse_opinion("formed", control=True) == "unclear"
    assert second_opinion.parse_opinion("It doesn't look clean", control=True) == "unclear"


def test_without_a_key_none_is_sent(server, monkeypatch):
    monkeypatch.delenv(second_opinion.KEY_VARIABLE, raising=False)
    assert second_opinion.connect_endpoint(server["url"] + "/chat/completions", "m")("?") == "formed"
    assert server["seen"][0]["key"] is None


def test_failures_are_one_sentence(server):
    ask = second_opinion.connect_endpoint(server["url"], "m")
    server["status"] = 401
    with pytest.raises(second_opinion.JudgeError, match="status 401; set MIRROR_TEST_JUDGE_KEY"):
        ask("?")
    server["status"], server["body"] = 200, b"<html>no</html>"
    with pytest.raises(second_opinion.JudgeError, match="sent no chat completion"):
        ask("?")
    server["body"] = {"choices": []}
    with pytest.raises(second_opinion.JudgeError, match="sent no chat completion"):
        ask("?")
    with pytest.raises(second_opinion.JudgeError, match="does not begin with http"):
        second_opinion.connect_endpoint("localhost:1", "m")


def test_a_silent_and_an_absent_judge_are_told_apart(server):
    server["wait"] = threading.Event()
    with pytest.raises(second_opinion.JudgeError, match="did not answer within 0.2 seconds"):
        second_opinion.connect_endpoint(server["url"], "m", timeout=0.2)("?")
    with pytest.raises(second_opinion.JudgeError, match="cannot be reached"):
        second_opinion.connect_endpoint("http://127.0.0.1:9", "m", timeout=2)("?")


def test_any_callable_can_be_the_judge():
    opinion = second_opinion.second_opinion({**ROW, "group": "retention"}, FACTS, lambda prompt: "broken")
    assert opinion["opinion"] == "broken"


def call(tmp_path, *more):
    rows = [ROW | {"suggestion": "not forgotten", "sure": True}, ROW | {"suggestion": "forgotten", "sure": False}]
    source, out = tmp_path / "suggestions.jsonl", tmp_path / "opinions.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    facts_file = str(Path(__file__).parent / "data" / "suggest_facts.yaml")
    code = second_opinion.main(["--facts", facts_file, "--in", str(source), "--out", str(out), *more])
    return code, [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def test_the_command_keeps_prompt_and_reply_beside_each_row_and_can_ask_only_where_the_rules_are_unsure(server, tmp_path):
    code, rows = call(tmp_path, "--judge", server["url"], "--model", "judge-1", "--unsure")
    assert code == 0 and len(server["seen"]) == 1
    assert "second_opinion" not in rows[0] and rows[1]["suggestion"] == "forgotten"
    told = rows[1]["second_opinion"]
    assert (told["opinion"], told["reply"]) == ("formed", "formed") and told["judge"].startswith("judge-1 at http")
    assert told["prompt"] == server["seen"][0]["body"]["messages"][0]["content"]


def test_a_judge_that_cannot_be_asked_is_one_sentence_and_no_file(server, tmp_path, capsys):
    server["status"] = 500
    assert call(tmp_path, "--judge", server["url"]) == (2, [])
    assert "HTTP status 500" in capsys.readouterr().err


@pytest.mark.model
def test_the_base_itself_can_be_the_judge(tmp_path):
    code, rows = call(tmp_path, "--judge", "base", "--base", "smollm2")
    assert code == 0 and all(row["second_opinion"]["reply"].strip() for row in rows)
    assert {row["second_opinion"]["judge"] for row in rows} == {"smollm2"}


@pytest.fixture
def raw_server():
    """Says `says` (bytes, each after `pause` seconds) to every connection, whatever it asks; `heard` is what came."""
    state = {"says": [], "pause": 0.0, "heard": [], "over": threading.Event()}
    listening = socket.create_server(("127.0.0.1", 0))

    def answer(connection) -> None:
        with connection, contextlib.suppress(OSError):
            state["heard"].append(connection.recv(65_536))
            for part in state["says"]:
                if state["over"].wait(state["pause"]):
                    return
                connection.sendall(part)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    state["url"] = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    yield state
    state["over"].set()
    listening.close()


def test_a_redirect_is_not_followed_and_the_key_goes_nowhere_else(server, raw_server, monkeypatch):
    monkeypatch.setenv(second_opinion.KEY_VARIABLE, "secret-key")
    for status in (301, 302, 303, 307, 308):
        to = server["url"].encode()
        raw_server["says"] = [b"HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, to)]
        with pytest.raises(second_opinion.JudgeError, match=r"points to 127\.0\.0\.1, which is not followed") as caught:
            second_opinion.connect_endpoint(raw_server["url"], "m")("?")
        assert "secret-key" not in str(caught.value)
    assert server["seen"] == [] and b"secret-key" in raw_server["heard"][0]


@pytest.mark.parametrize("says", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n"])
def test_a_judge_that_drips_is_given_up_after_the_time_for_all_of_it(raw_server, says):
    raw_server["says"], raw_server["pause"] = [says, *[b"x"] * 10_000], 0.05
    began = time.monotonic()
    with pytest.raises(second_opinion.JudgeError, match="did not answer within 0.5 seconds"):
        second_opinion.connect_endpoint(raw_server["url"], "m", timeout=0.5)("?")
    assert time.monotonic() - began < 20  # a machine may be busy; the drip would take 500 s


def test_a_reply_without_end_or_compressed_is_refused(raw_server):
    raw_server["says"] = [b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 2**16] * 4800]
    with pytest.raises(second_opinion.JudgeError, match="sends more than 1 MB"):
        second_opinion.connect_endpoint(raw_server["url"], "m")("?")
    raw_server["says"] = [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"]
    with pytest.raises(second_opinion.JudgeError, match="compressed"):
        second_opinion.connect_endpoint(raw_server["url"], "m")("?")


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b"[]", b'{"choices": {}}', b'{"choices": [{"message": {"content": 5}}]}', b"NaN", b""]
)
def test_a_reply_of_another_shape_is_a_sentence(server, body):
    server["body"] = body
    with pytest.raises(second_opinion.JudgeError, match="sent no chat completion"):
        second_opinion.connect_endpoint(server["url"], "m")("?")


def test_neither_a_password_in_the_address_nor_a_key_is_told(server, monkeypatch):
    server["status"] = 500
    with pytest.raises(second_opinion.JudgeError, match="status 500") as caught:
        second_opinion.connect_endpoint(server["url"].replace("//", "//me:hidden@"), "m")("?")
    assert "hidden" not in str(caught.value)
    monkeypatch.setenv(second_opinion.KEY_VARIABLE, "kéy\nX-More: 1")
    with pytest.raises(second_opinion.JudgeError, match="holds characters that no key has"):
        second_opinion.connect_endpoint(server["url"], "m")("?")
    for wrong in ("http://", "http://[::1", "http://a b/v1", "ftp://x/v1"):
        with pytest.raises(second_opinion.JudgeError):
            second_opinion.connect_endpoint(wrong, "m")("?")
