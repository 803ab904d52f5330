"""Accounts: the file, the command that looks after it, logging in and out, and how often one may try."""

from __future__ import annotations

import json
import stat

import pytest
from argon2 import PasswordHasher
from hypothesis import given, settings, strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import chat_app
from ui import accounts
from ui.access import login
from ui.access.gate import WHO, Gate, open_door
from ui.accounts import AccountError, Accounts
from ui.gradio_sessions import Memory
from ui.words import Languages


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Argon2 that takes a millisecond, and no password from outside."""
    monkeypatch.setattr(accounts, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    monkeypatch.setattr(accounts, "_nobody", "")
    monkeypatch.delenv(accounts.PASSWORD, raising=False)


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "accounts.json"
    for name, role in (("Vi", "viewer"), ("La", "labeler"), ("Re", "researcher")):
        accounts.add(file, name, role, f"{name}'s secret")
    return file


# --- the file and its command ----------------------------------------------------------------------------------------------


def command(file, *arguments: str) -> int:
    return accounts.main([arguments[0], "--accounts", str(file), *arguments[1:]])


def test_the_command_adds_lists_changes_and_removes(tmp_path, capsys, monkeypatch):
    file = tmp_path / "runs" / "accounts.json"
    monkeypatch.setenv(accounts.PASSWORD, "long enough")
    assert command(file, "add", "An", "--role", "labeler") == 0 and command(file, "add", "安娜", "--role", "viewer") == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and "long enough" not in file.read_text()
    assert "$argon2id$" in file.read_text()
    assert command(file, "role", "An", "researcher") == 0
    capsys.readouterr()
    assert command(file, "list") == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [["researcher", "An"], ["viewer", "安娜"]]
    known = Accounts(file)
    assert known.verify("An", "long enough").role == "researcher"
    monkeypatch.setenv(accounts.PASSWORD, "another one")
    assert command(file, "password", "An") == 0
    assert known.verify("An", "long enough") is None and known.verify("An", "another one")  # without a restart
    assert command(file, "remove", "An") == 0
    assert known.get("An") is None and known.role("安娜") == "viewer"


@pytest.mark.parametrize(
    "arguments, password, said",
    [
        (("add", "La", "--role", "viewer"), "long enough", "account La already"),
        (("add", "lA", "--role", "viewer"), "long enough", "account La already"),
        (("add", "New", "--role", "viewer"), "short", "takes 8 to 256"),
        (("add", "New", "--role", "viewer"), "x" * 257, "takes 8 to 256"),
        (("add", "  ", "--role", "viewer"), "long enough", "needs a name"),
        (("add", "x" * 81, "--role", "viewer"), "long enough", "give one of at most 80"),
        (("add", "a\u200bb", "--role", "viewer"), "long enough", "which nobody sees"),
        (("add", "New", "--role", "viewer"), "", "set MIRROR_PASSWORD"),
        (("remove", "Nobody"), "", "There is no account Nobody; there are: La, Re, Vi"),
        (("role", "Nobody", "viewer"), "", "There is no account Nobody"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_changes_nothing(file, capsys, monkeypatch, arguments, password, said):
    before = file.read_bytes()
    monkeypatch.setenv(accounts.PASSWORD, password)
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115
    assert command(file, *arguments) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and file.read_bytes() == before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ODD = JSON | st.fixed_dictionaries({"accounts": JSON}) | st.fixed_dictionaries(
    {"accounts": st.dictionaries(st.text(max_size=6), JSON | st.fixed_dictionaries({"role": JSON, "hash": JSON}), max_size=3)}
)  # fmt: skip


@settings(max_examples=80, deadline=None, derandomize=True)
@given(plain=ODD)
def test_an_odd_file_is_a_sentence_and_lets_nobody_in(tmp_path_factory, plain):
    file = tmp_path_factory.mktemp("odd") / "accounts.json"
    file.write_text(json.dumps(plain))
    try:
        known = accounts.read(file)
    except AccountError as error:
        assert str(file) in str(error) or "name" in str(error)
    else:
        assert known == {}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"accounts": {}}' + b" " * 1_000_001])
def test_a_damaged_file_is_a_sentence_and_lets_nobody_in_any_more(file, content, capsys):
    known = Accounts(file)
    assert known.role("La") == "labeler"
    file.write_bytes(content)
    assert known.role("La") is None and str(file) in capsys.readouterr().err
    with pytest.raises(AccountError):
        Accounts(file)


# --- the command line of the app -------------------------------------------------------------------------------------------


def accounts_of(*arguments: str) -> Accounts | None:
    return chat_app.accounts_of(chat_app.flags().parse_args(list(arguments)))


def test_a_one_off_password_need_not_stand_on_the_command_line(monkeypatch, file):
    monkeypatch.setenv(accounts.PASSWORD, "from outside")
    known = accounts_of("--auth", "An", "--accounts", str(file), "--auth", "Bo:with:colons")
    assert known.verify("An", "from outside").role == "researcher" and known.verify("Bo", "with:colons")
    assert known.role("La") == "labeler" and accounts.PASSWORD not in chat_app.os.environ
    assert accounts_of() is None


def test_accounts_that_cannot_be_are_said_at_the_start(file, tmp_path):
    with pytest.raises(AccountError, match="There is no file of accounts"):
        accounts_of("--accounts", str(tmp_path / "none.json"))
    with pytest.raises(AccountError, match="--auth names La, who has an account"):
        accounts_of("--accounts", str(file), "--auth", "La:secret")
    for name in ("Vi", "La", "Re"):
        accounts.remove(file, name)
    with pytest.raises(AccountError, match="holds no account"):
        accounts_of("--accounts", str(file))


# --- logging in ------------------------------------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def door(file, monkeypatch):
    """A door whose clock stands still until a test moves it, the real way in, and behind it a page that says who is there."""
    clock = Clock()
    attempts = login.Attempts
    monkeypatch.setattr(login, "Attempts", lambda: attempts(clock))
    door = open_door("127.0.0.1", None, Languages("en"), Memory(), Accounts(file))
    door.sessions.clock = clock

    async def who(request):
        return PlainTextResponse(f"{request.scope[WHO]} is here")

    routes = [*login.routes(door.sessions, Languages("en")), Route("/{rest:path}", who, methods=["GET", "POST"])]
    door.app = Starlette(routes=routes, middleware=[Middleware(Gate, door=door)])
    door.clock = clock
    return door


def client(door, **more) -> TestClient:
    return TestClient(door.app, base_url="http://127.0.0.1:7860", **more)


def enter(client: TestClient, name: str, password: str, **headers):
    return client.post("/login", data={"username": name, "password": password}, headers=headers)


def test_nothing_is_there_without_a_login(door):
    stranger = client(door)
    page = stranger.get("/")
    assert page.status_code == 401 and 'action="login"' in page.text and "<script" not in page.text
    for path in ("/config", "/gradio_api/heartbeat/x", "/gradio_api/cancel", "/gradio_api/reset", "/label/open", "/assets/x.js"):
        assert stranger.get(path).status_code == 401, path
        assert stranger.post(path).status_code == 401, path
    assert stranger.get("/", headers={"cookie": f"{door.sessions.cookie}=forged"}).status_code == 401


def test_who_has_logged_in_is_known_until_they_log_out(door):
    person = client(door)
    assert enter(person, "La", "La's secret").json() == {"success": True}
    cookie = person.cookies.jar.__iter__().__next__()
    assert cookie.has_nonstandard_attr("HttpOnly") and cookie.get_nonstandard_attr("SameSite").lower() == "lax"
    assert person.get("/").text == "La is here"
    assert client(door).get("/").status_code == 401
    assert person.get("/logout", follow_redirects=False).status_code == 303 and person.get("/").status_code == 200
    person.post("/logout", follow_redirects=False)
    assert person.get("/").status_code == 401


def test_the_form_leads_back_to_the_page_and_says_what_is_wrong(door):
    person = client(door)
    wrong = enter(person, "<b>", "no", accept="text/html")
    assert wrong.status_code == 400 and "Name or password is wrong." in wrong.text and "<b>" not in wrong.text
    chinese = enter(person, "La", "no", accept="text/html", **{"cookie": "mirror_lang=zh-CN"})
    assert "姓名或密码不正确" in chinese.text
    right = person.post(
        "/login", files={"username": (None, "La"), "password": (None, "La's secret")}, headers={"accept": "text/html"},
        follow_redirects=False,
    )  # fmt: skip
    assert right.status_code == 303 and right.headers["location"] == "./" and person.get("/").text == "La is here"


def test_a_name_is_the_same_however_it_is_typed(door):
    assert enter(client(door), " Ｌａ ", "La's secret").json() == {"success": True}


def test_odd_forms_are_refused(door):
    person = client(door)
    assert enter(person, "La", "x" * 20_000).status_code == 413
    assert enter(person, "La", "x" * 300).status_code == 400
    assert person.post("/login", json={"username": "La"}).status_code == 400
    assert person.post("/login", files={"username": ("La", b"La"), "password": (None, "x")}).status_code == 400


def test_guessing_is_stopped_by_name_and_by_address_and_said(door):
    person = client(door)
    for _ in range(login.BY_NAME):
        assert enter(person, "La", "wrong").status_code == 400
    stopped = enter(person, "La", "La's secret")
    assert stopped.status_code == 429 and int(stopped.headers["retry-after"]) == login.WINDOW_S + 1
    assert "Too many wrong passwords" in stopped.json()["detail"]
    assert enter(client(door, client=("10.0.0.7", 1)), "La", "wrong").status_code == 429  # the name's, from anywhere
    assert enter(person, "Vi", "Vi's secret").status_code == 200
    for number in range(login.BY_ADDRESS - login.BY_NAME):
        assert enter(person, f"nobody-{number}", "wrong").status_code == 400
    assert enter(person, "Re", "Re's secret").status_code == 429  # the address's, for any name
    assert enter(client(door, client=("10.0.0.8", 1)), "Re", "Re's secret").status_code == 200
    door.clock.now += login.WINDOW_S + 1
    assert enter(person, "La", "La's secret").status_code == 200


def test_guesses_from_elsewhere_do_not_keep_a_person_out(door):
    home = client(door, client=("10.0.0.1", 1))
    assert enter(home, "La", "La's secret").status_code == 200
    for _ in range(login.BY_NAME + 1):
        last = enter(client(door, client=("10.9.9.9", 1)), "La", "wrong")
    assert last.status_code == 429 and enter(home, "La", "La's secret").status_code == 200


def test_sessions_end(door):
    person = client(door)
    enter(person, "La", "La's secret")
    for _ in range(3):
        door.clock.now += login.IDLE_S - 1
        assert person.get("/").status_code == 200
    door.clock.now += login.IDLE_S + 1
    assert person.get("/").status_code == 401
    enter(person, "La", "La's secret")
    while door.clock.now < 4 * login.IDLE_S + login.LONGEST_S:
        door.clock.now += login.IDLE_S / 2
        last = person.get("/").status_code
    assert last == 401  # however busy it was


CHANGES = {
    "removed": lambda file: accounts.remove(file, "La"),
    "another role": lambda file: accounts.change(file, "La", role="viewer"),
    "another password": lambda file: accounts.change(file, "La", password="another one"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_account_ends_its_sessions_at_once(door, file, change):
    person, other = client(door), client(door)
    enter(person, "La", "La's secret")
    enter(other, "Re", "Re's secret")
    change(file)
    assert person.get("/").status_code == 401 and other.get("/").text == "Re is here"


def test_sessions_have_a_bound(door, monkeypatch):
    monkeypatch.setattr(login, "MOST", 3)
    people = [client(door) for _ in range(5)]
    for person in people:
        door.clock.now += 1
        enter(person, "La", "La's secret")
    assert [person.get("/").status_code for person in people] == [401, 401, 200, 200, 200]


def test_another_sites_form_cannot_log_anybody_in_or_out(door):
    person = client(door)
    assert enter(person, "La", "La's secret", origin="http://evil.org").status_code == 403
    enter(person, "La", "La's secret")
    assert person.post("/logout", headers={"origin": "http://evil.org"}).status_code == 403
    assert person.get("/").status_code == 200
