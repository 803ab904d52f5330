"""Scripts that send wrong types: every endpoint of the app says which argument is wrong, and nothing is "not foreseen"."""

from __future__ import annotations

import dataclasses
import inspect
import json

import gradio as gr
import httpx
import pytest
from hypothesis import given, settings, strategies as st
from label_page import PageEngine, queue
from served import served
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import identities
import store
from engine.types import EngineError
from identities import IdentityError
from tuning.dataset.recipe import Dataset
from tuning.dataset.rows import DataError
from tuning.train.settings import Settings, SettingsError
from ui import app as program, training, variants
from ui.access import request_limits
from ui.api import chat
from ui.context import App
from ui.tabs.label import routes as label_routes
from ui.words import Languages

SOME = settings(max_examples=80, deadline=None, derandomize=True)
TEXT = (None, 5, 1.5, True, [], {}, [1], float("nan"), 10**30)
NUMBER = (None, "many", 1.5, True, [], {}, float("nan"), 10**30, "9" * 5000)
TRUTH = (None, "perhaps", 3, [], {}, float("nan"), 10**30)
PLAIN = (None, 5, 1.5, True, "{", "5", "[1]", '"x"', [1], float("nan"), 10**30, "[" * 100_000, "[NaN]", "[1" + "0" * 30 + "]")
KINDS = {"str": TEXT, "int": NUMBER, "bool": TRUTH}
ASKED = {
    "variants": [{"adapters": 5}, {"adapters": {"a": "x"}}, {"adapters": [1]}, {"identity": {}}, {"prompt": 5}, {"mode": 5},
                 {"format": []}, {"name": [1]}, {"decoding": "x"}, {"decoding": {"seed": "x"}}, {"decoding": {"top_k": 10**30}}],
    "history": [{"role": "user"}, {"role": "user", "content": 5}, {"role": "boss", "content": "x"}, {"role": [], "content": ""},
                {"role": "user", "content": "x", "input": 5}],
}  # fmt: skip


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes")
    store.open(root / "mirror.db").close()
    return App(PageEngine(), root / "mirror.db", identities.FOLDER, (root / "adapters",), Languages("en"))


@pytest.fixture(scope="module")
def endpoints(app) -> dict:
    """name -> (function, its parameters as the app itself lists them)."""
    demo = program.build(app)
    known = demo.get_api_info()["named_endpoints"]
    called = {f"/{listener.api_name}": listener.fn for listener in demo.fns.values()}
    return {name: (called[name], about["parameters"]) for name, about in known.items()}


def refusal(act, *given) -> str:
    asks_who = any(one.annotation in (gr.Request, "gr.Request") for one in inspect.signature(act).parameters.values())
    with pytest.raises(gr.Error) as caught:
        said = act(*((None,) if asks_who else ()), *given)
        next(iter(said))  # an endpoint that streams begins here
    return caught.value.message


def test_every_endpoint_says_which_argument_has_a_wrong_type(endpoints):
    calls = 0
    assert len(endpoints) >= 11
    for name, (act, parameters) in endpoints.items():
        usual = {"int": 5, "str": "x"}
        good = [one["parameter_default"] or usual[one["python_type"]["type"]] for one in parameters]
        for at, one in enumerate(parameters):
            plain = one["parameter_name"] in ("variants", "history", "form")
            for wrong in PLAIN if plain else KINDS[one["python_type"]["type"]]:
                said = refusal(act, *good[:at], wrong, *[p["parameter_default"] for p in parameters[at + 1 :]])
                assert "not foreseen" not in said and one["parameter_name"] in said, (name, one["parameter_name"], wrong, said)
                assert len(said) < 800
                calls += 1
    assert calls > 100


@pytest.mark.parametrize("argument, entry", [(argument, entry) for argument, entries in ASKED.items() for entry in entries])
def test_what_a_question_is_asked_with_is_named_down_to_its_field(endpoints, argument, entry):
    act, _ = endpoints["/ask"]
    first = {} if argument == "variants" else {"role": "user", "content": "x"}
    given = {"variants": "[{}]", "history": "[]"} | {argument: [first, entry]}
    said = refusal(act, "Who are you?", given["variants"], given["history"])
    assert "not foreseen" not in said and argument in said
    assert json.dumps(entry) and (f"{argument}.1" in said or "more than 64 bits" in said)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
WISHED = {one.name for kind in (Dataset, Settings) for one in dataclasses.fields(kind)} - {*training.OWN, "card"}


@SOME
@given(st.dictionaries(st.sampled_from(sorted({*WISHED, "preset", "name"})), VALUES, max_size=4))
def test_any_form_is_one_or_a_sentence(app, plain):
    try:
        form_values = training.read_form(app, plain)
        training.name_problems(app, form_values.name)
        Settings.from_dict(dict(form_values.values) | {"output_dir": "x", "data_path": "y"})
    except (DataError, SettingsError, EngineError) as error:
        assert str(error)


@SOME
@given(st.dictionaries(st.sampled_from(sorted(chat.arguments.VariantShape.model_fields)), VALUES, max_size=4))
def test_any_variant_that_passes_the_check_is_one_or_a_sentence(plain):
    if chat.outside.faults(chat.arguments.VARIANTS, [plain]):
        return
    try:
        variants.from_plain(plain)
    except (EngineError, IdentityError) as error:
        assert str(error)


# --- bodies


async def echo(request) -> JSONResponse:
    return JSONResponse(len(await request.body()))


def door() -> TestClient:
    routes = [Route("/{path:path}", echo, methods=["POST"])]
    return TestClient(request_limits.BodyLimit(Starlette(routes=routes)), raise_server_exceptions=False)


@pytest.mark.parametrize(
    "body, status, said",
    [
        (b"[" * 100_000, 400, "nested more than"),
        (b"[" * 150 + b"]" * 150, 400, "nested more than"),
        (b"x" * (request_limits.LARGEST + 1), 413, "more than 4 MB"),
        (b'{"data": [1]}', 200, ""),
        (b"a plain text", 200, ""),
        (b"", 200, ""),
    ],
)
def test_a_body_is_bounded_before_any_route_sees_it(body, status, said):
    for sent in (body, iter([body[: len(body) // 2], body[len(body) // 2 :]])):  # with its length told beforehand, and without
        answer = door().post("/", content=sent)
        assert answer.status_code == status
        assert said in answer.json()["detail"] if status != 200 else answer.json() == len(body)


def test_an_upload_is_left_to_its_own_limit():
    kind = {"content-type": "multipart/form-data; boundary=x"}
    sent = {"content": b"[" * (request_limits.LARGEST + 1), "headers": kind}
    assert door().post("/mirror/gradio_api/upload", **sent).json() == request_limits.LARGEST + 1
    for path in ("/", "/gradio_api/queue/join", "/gradio_api/component_server", "/label/decide"):  # its type alone is no way past
        assert door().post(path, **sent).status_code == 413, path


HUGE = b'{"queue": 1' + b"0" * 30 + b"}"
BODIES = [
    b"[" * 100_000, HUGE, b'{"queue": NaN}', b'{"queue": 1e999}', b'{"queue": "1"}', b'{"queue": 1, "annotator": {}}', b"[]",
    b'{"queue": 1, "without": [-1]}', b'{"queue": 1, "held": [[]]}', b'{"queue": 1, "skipped": 2}', b"", b"{", b"\xff",
    b'{"decisions": [[]]}', b'{"decisions": {}}', b'{"queue": true}', b"{}", b"1", b'"' + b"x" * 2_000_000 + b'"',
    b'{"queue": 1, "annotator": "' + b"x" * 2000 + b'"}',
]  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with served(PageEngine(), tmp_path_factory.mktemp("served"), "en") as page:
        queue(page.db, 4)
        yield page


def test_the_label_routes_answer_any_body_with_a_sentence(page):
    for what in ("open", "more", "state", "decide"):
        for body in BODIES:
            answer = httpx.post(f"{page.address}label/{what}", content=body, headers={"content-type": "application/json"})
            assert 400 <= answer.status_code < 500, (what, body[:60], answer.status_code)
            assert answer.json()["message"], (what, body[:60])


def test_a_decision_of_a_wrong_shape_is_refused_alone(page):
    asked = {"queue": 1, "annotator": "An"}
    wrong = [{"token": "t1", "queue": 1, "do": [], "item": 1}, {"token": "t2", "queue": "x", "item": 1}, {"token": {}, "item": 1}]
    told = httpx.post(f"{page.address}label/decide", json=asked | {"decisions": wrong})
    assert told.status_code == 200 and {one["status"] for one in told.json()["results"]} <= {"refused", "elsewhere"}


@SOME
@given(VALUES)
def test_any_label_request_is_read_or_refused(plain):
    try:
        asked = label_routes.read_request(json.dumps(plain).encode())
    except request_limits.Refused as error:
        assert str(error) and error.status == 400
    else:
        assert isinstance(asked, dict)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"data": [' + b"9" * 5000 + b"]}", b'{"data": NaN}', b"{", b"[]", b'{"data": 5}']
)
@pytest.mark.parametrize("route", ["gradio_api/call/probe_answers", "gradio_api/queue/join", "gradio_api/component_server"])
def test_gradio_s_own_routes_never_fail_on_a_body(page, route, body):
    answer = httpx.post(f"{page.address}{route}", content=body, headers={"content-type": "application/json"}, timeout=60)
    assert answer.status_code < 500 and answer.text
