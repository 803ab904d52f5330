"""Every event, endpoint and address has a rule, and the rules are kept whichever way something is asked for."""

from __future__ import annotations

import contextvars
import itertools

import httpx
import label_page
import pytest
from argon2 import PasswordHasher
from gradio_client import Client
from gradio_client.exceptions import AppError
from label_page import PageEngine
from served import served

import identities
import store
from store import events
from tuning.dataset.rows import DataError
from ui import accounts, adapter_library, assets, training
from ui.access import roles
from ui.access.gate import API, OPEN
from ui.accounts import ROLES, Accounts

NAMES = {"viewer": "Vi", "labeler": "La", "researcher": "Re"}
SECRET = "long enough"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(accounts, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    root = tmp_path_factory.mktemp("roles")
    for role, name in NAMES.items():
        accounts.add(root / "accounts.json", name, role, SECRET)
    with served(PageEngine(), root / "app", "en", accounts=Accounts(root / "accounts.json")) as site:
        site.root = site.address.rstrip("/")
        yield site
    patch.undo()


@pytest.fixture(scope="module")
def people(site) -> dict[str, httpx.Client]:
    found = {}
    for role, name in NAMES.items():
        found[role] = httpx.Client(base_url=site.root, timeout=60)
        assert found[role].post("/login", data={"username": name, "password": SECRET}).status_code == 200
    return found


def functions(demo) -> dict[str, object]:
    """Everything of the page that can be asked for: events and endpoints, and what the board may call."""
    found = {f"{fn.fn.__module__}.{fn.fn.__name__}": fn.fn for fn in demo.fns.values() if fn.fn is not None}
    for block in demo.blocks.values():
        for fn in vars(block).values():
            if callable(fn) and getattr(fn, "_is_server_fn", None) is True:
                found[f"{fn.__module__}.{fn.__name__}"] = fn
    return found


def test_everything_has_a_rule(site):
    found = functions(site.demo)
    assert len(found) > 70 and "ui.tabs.probes.board.pb_send" in found and "ui.tabs.adapters.events.confirm" in found
    without = sorted(name for name, fn in found.items() if roles.role_of_function(fn) not in ROLES)
    assert not without, f"say in ui/access/roles.py who may do this: {without}"
    nameless = sorted(name for name in found if "<lambda>" in name or name.endswith((".guard", ".filled", ".acted")))
    assert not nameless, f"the rule of one of these would be the rule of all: {nameless}"


def test_our_own_addresses_have_a_rule_too(site):
    ours = {
        route.path
        for route in site.demo.app.routes
        if getattr(getattr(route, "endpoint", None), "__module__", "").startswith("ui.")
    }
    assert {"/label/decide", "/adapters/download", "/login"} <= ours
    for_all = {"/login", "/logout", *(route.path for route in assets.routes())}  # scripts hold nothing of anybody's
    without = sorted(path for path in ours - for_all if roles.role_of_address(path) is None)
    assert not without, f"say in ui/access/roles.py who may ask for this: {without}"


def test_who_does_what():
    """The sentences of the rules, by example: what a role may not do is done by those above it."""
    of = {f"{module}.{name}": role for module, rules in roles.RULES.items() for name, role in rules.items()}
    assert {
        of[name] for name in ("tabs.chat.ask_columns", "api.chat.ask", "tabs.results.show_report", "tabs.probes.pb_open")
    } == {"viewer"}
    assert {of[name] for name in ("tabs.label.import_labels", "tabs.label.reveal", "tabs.chat.cast_vote")} == {"labeler"}
    assert roles.ADDRESSES["/label/decide"] == "labeler"
    train = ("tabs.finetune.start_run", "api.training.start_training", "tabs.finetune.stop_and_discard", "api.training.stop_job")
    change = (
        "tabs.adapters.confirm",
        "tabs.adapters.upload",
        "tabs.identity.save",
        "tabs.identity.confirm",
        "tabs.label.make_queue",
    )
    assert {of[name] for name in (*train, *change, "tabs.probes.start_run", "tabs.probes.pb_send")} == {"researcher"}


def test_a_new_event_without_a_rule_is_nobodys(site):
    def new_event():
        pass

    assert "not settled who may do this" in roles.refusal(site.app, "en", "Re", new_event)


ADDRESSES = sorted(roles.ADDRESSES.items())


@pytest.mark.parametrize("path, needed", ADDRESSES)
def test_addresses_are_held_to_their_rule(people, path, needed):
    for role, client in people.items():
        for slash, method in itertools.product(("", "/"), ("GET", "POST")):
            answer = client.request(method, path + slash)
            refused = answer.status_code == 403
            assert refused == (not roles.is_enough(role, needed)), (role, method, path, answer.status_code)


def everything_of_gradio(client: httpx.Client, site, fn) -> list[httpx.Response]:
    """A function asked for in each way that Gradio knows."""
    body = {"data": [None] * len(fn.inputs), "fn_index": fn._id, "session_hash": "s"}
    called = client.post(f"{API}/call/{fn.api_name}", json={"data": body["data"]})
    answers = [client.post(f"{API}/run/{fn.api_name}", json=body), client.post(f"{API}/api/{fn.api_name}", json=body)]
    if "event_id" in called.text:
        answers.append(client.get(f"{API}/call/{fn.api_name}/{called.json()['event_id']}"))
    return answers


@pytest.mark.parametrize("name", ["start_training", "stop_job", "save", "upload", "make_queue"])
def test_a_viewer_is_refused_whichever_way_it_is_asked(site, people, name):
    fn = next(fn for fn in site.demo.fns.values() if fn.fn is not None and fn.fn.__name__ == name)
    before = {path.name: path.read_bytes() for path in site.app.identities.iterdir()}
    for answer in everything_of_gradio(people["viewer"], site, fn):
        assert "event: complete" not in answer.text and (answer.status_code != 200 or "error" in answer.text), answer.text
    assert before == {path.name: path.read_bytes() for path in site.app.identities.iterdir()}
    assert not store.jobs.recent(site.db)


def test_scripts_log_in_and_are_told_in_a_sentence_what_they_may_not(site):
    viewer = Client(site.address, auth=("Vi", SECRET), verbose=False)
    assert {one["name"] for one in viewer.predict(api_name="/identities")} == set(identities.names(site.app.identities))
    with pytest.raises(AppError, match="This takes a researcher; Vi is a viewer"):
        viewer.predict(1, api_name="/stop_job")
    with pytest.raises(AppError, match="There is no job 1"):
        Client(site.address, auth=("Re", SECRET), verbose=False).predict(1, api_name="/stop_job")


def test_a_viewer_loads_nothing_for_everybody_and_has_nothing_fetched(site, people, monkeypatch):
    looked = []
    monkeypatch.setattr(adapter_library, "rescan", lambda app: looked.append(app) or [])
    for role in ("viewer", "labeler", "researcher"):
        assert isinstance(Client(site.address, auth=(NAMES[role], SECRET), verbose=False).predict(api_name="/adapters"), list)
    assert len(looked) == 1

    def asked(role: str) -> str:
        roles.refusal(site.app, "en", NAMES[role], test_everything_has_a_rule)
        return training._source(site.app, "somebody/a-data-set")

    assert contextvars.copy_context().run(asked, "researcher") == "somebody/a-data-set"
    with pytest.raises(DataError, match="which takes a researcher"):
        contextvars.copy_context().run(asked, "viewer")


def test_a_page_that_lost_the_program_finds_it_again_and_comes_to_the_login(site):
    assert httpx.get(f"{site.root}{API}/app_id").status_code == 200
    assert httpx.post(f"{site.root}/logout", headers={"accept": "text/html"}).status_code == 303


def test_the_board_is_held_to_the_rules(site, people):
    board = next(block for block in site.demo.blocks.values() if block.elem_id == "pb-board")
    for role, client in people.items():
        body = {"data": {"run": 1, "act": "stop"}, "component_id": board._id, "fn_name": "pb_act", "session_hash": "s"}
        said = client.post(f"{API}/component_server", json=body).json()["error"]
        assert ("This takes a researcher" in said) == (role != "researcher"), said
        assert "runs" in client.post(f"{API}/component_server", json=body | {"fn_name": "pb_open", "data": {}}).json()


def test_nothing_of_gradio_is_open_to_strangers(site):
    for route in site.demo.app.routes:
        path = getattr(route, "path", "/").replace("{", "").replace("}", "").replace(":path", "")
        for method in sorted(getattr(route, "methods", None) or {"GET"}):
            if path.rstrip("/") not in OPEN:
                answer = httpx.request(method, site.root + path)
                assert answer.status_code in (401, 404), (method, path, answer.status_code)


def test_deeds_are_recorded_with_their_doer(site, people, capsys):
    fn = next(fn for fn in site.demo.fns.values() if fn.fn is not None and fn.fn.__name__ == "save")
    text = site.app.identities.joinpath("museum-guide.txt").read_text()
    data = [{}, {}, "museum-guide", text, *[""] * (len(fn.inputs) - 4)]  # no facts
    client = people["researcher"]
    opening = next(one for one in site.demo.fns.values() if one.fn is not None and one.fn.__name__ == "open_identity")
    for one, given in ((opening, []), (fn, data)):  # what can be chosen is known then
        asked = {"data": given, "fn_index": one._id, "session_hash": "deeds"}
        client.post(f"{API}/queue/join", json=asked).raise_for_status()
        with client.stream("GET", f"{API}/queue/data", params={"session_hash": "deeds"}) as told:
            assert any('"success":true' in line for line in told.iter_lines() if "process_completed" in line)
    [deed] = [row for row in events.latest(site.db) if row["deed"] == "changed identity"]
    assert (deed["who"], deed["thing"]) == ("Re", "museum-guide")
    store.labels.add(site.db, label_page.answers(site.db, 1)[0]["answer"], "La", "formed", kind="adjudication")
    assert events.main(["--db", str(site.db)]) == 0
    said = capsys.readouterr().out
    assert "La  settled answer 1  (formed)\n" in said and "Re  changed identity museum-guide\n" in said


def test_the_record_of_no_database_is_a_sentence(tmp_path, capsys):
    assert events.main(["--db", str(tmp_path / "none.db")]) == 1
    assert "There is no database" in capsys.readouterr().err and not (tmp_path / "none.db").exists()
