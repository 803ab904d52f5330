"""The named endpoints, as a script uses them."""

from __future__ import annotations

import json

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from served import served, write_small_adapter

from store import answers

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def site(engine, tmp_path_factory):
    with served(engine, tmp_path_factory.mktemp("api")) as site:
        yield site


@pytest.fixture(scope="module")
def client(site):
    return Client(site.address, verbose=False)


def test_only_the_endpoints_with_names_are_offered(client):
    asking = {"/ask", "/identities", "/adapters", "/try_identity", "/votes"}
    probing = {"/probe_runs", "/probe_answers"}
    training = {"/plan_training", "/start_training", "/jobs", "/stop_job"}
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == asking | probing | training


def test_ask_answers_every_variant_in_order_and_stores_them(site, client):
    variants = [
        {"name": "plain", "decoding": {"max_new_tokens": 12}},
        {"identity": "finance-advisor", "decoding": {"max_new_tokens": 12}},
    ]
    given = client.predict("Who are you?", json.dumps(variants), api_name="/ask")
    assert [answer["name"] for answer in given] == ["plain", "finance-advisor"]
    assert given[0]["shown"] != given[1]["shown"] and "Text Titan" in given[1]["prompt"]
    for answer in given:
        stored = answers.get(site.db, answer["id"])
        assert (stored["raw"], stored["question"], stored["source"]) == (answer["raw"], "Who are you?", "api")


def test_ask_continues_a_conversation(client):
    history = [{"role": "user", "content": "My dog is called Rex."}, {"role": "assistant", "content": "Nice."}]
    given = client.predict("And?", [{"decoding": {"max_new_tokens": 8}}], json.dumps(history), api_name="/ask")
    assert "Rex" in given[0]["prompt"]


@pytest.mark.parametrize(
    "variants, problem",
    [
        ("{", "variants is no JSON"),
        ("[]", "empty list"),
        ('[{"adapters": {"ghost": 1}}]', "'ghost' is not loaded"),
        ('[{"identity": "nobody"}]', "no identity 'nobody'"),
    ],
)
def test_a_mistake_comes_back_as_a_sentence_and_the_next_call_works(client, variants, problem):
    with pytest.raises(AppError, match=problem):
        client.predict("Hello?", variants, api_name="/ask")
    assert client.predict("Hello?", '{"decoding": {"max_new_tokens": 8}}', api_name="/ask")[0]["new_tokens"] >= 1


def test_identities_are_listed_with_their_prompts(client):
    listed = {entry["name"]: entry["prompt"] for entry in client.predict(api_name="/identities")}
    assert listed["none"] is None and "Text Titan" in listed["finance-advisor"]


def test_adapters_are_looked_for_each_time(site, client):
    assert client.predict(api_name="/adapters") == []
    write_small_adapter(site.adapters / "new-one", site.app.engine)
    (site.adapters / "empty").mkdir()
    (site.adapters / "empty" / "adapter_config.json").write_text("{}")
    listed = {entry["name"]: entry for entry in client.predict(api_name="/adapters")}
    assert listed["new-one"]["rank"] == 4 and listed["new-one"]["problem"] is None
    assert listed["empty"]["problem"]
    given = client.predict("Hi", '[{"adapters": ["new-one"], "decoding": {"max_new_tokens": 8}}]', api_name="/ask")
    assert given[0]["name"] == "new-one"


def test_try_identity_answers_eight_questions_twice(client):
    rows = client.predict(
        "You are Zebulon. Your name is Zebulon and you always say so.", "system", "en", 16, api_name="/try_identity"
    )
    assert len(rows) == 8 and set(rows[0]) == {"question", "base", "prompted"}
    assert "Zebulon" in " ".join(row["prompted"] for row in rows) and "Zebulon" not in " ".join(row["base"] for row in rows)
    with pytest.raises(AppError, match="'sideways'"):
        client.predict("You are Otto.", "sideways", api_name="/try_identity")
