"""Names stand in lists as people sort them: `model 7` before `model 10`, wherever a list is made."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace

import pytest
from parcels import write_adapter
from stand_in import StandIn

import identities
import store
from identities import natural_key
from probes.answers import sources
from probes.report import build
from probes.verdicts import agreement
from ui import adapter_library
from ui.context import App
from ui.tabs.adapters import cards as adapters_cards, layout as adapters_layout
from ui.tabs.chat import picker
from ui.tabs.probes import form as probes_form
from ui.words import Languages

NAMES = ["model 7", "Model 8", "model 10", "model 10b", "model 011"]
FOLDERS = ["m2", "M3", "m10", "m10-2", "m10-11"]


@pytest.fixture
def app(tmp_path):
    folder = tmp_path / "identities"
    folder.mkdir()
    (folder / "none.txt").write_text("")
    for name in FOLDERS:
        (folder / f"{name}.txt").write_text("Speak as somebody.")
        write_adapter(tmp_path / "adapters" / name)
    store.open(tmp_path / "mirror.db").close()
    app = App(StandIn(), tmp_path / "mirror.db", folder, (tmp_path / "adapters",), Languages())
    adapter_library.rescan(app)
    app.engine.adapters = dict(sorted(app.engine.adapters.items()))  # however they came
    return app


def test_the_key_sorts_as_people_do_and_compares_anything():
    assert sorted((NAMES[at] for at in (4, 0, 3, 1, 2)), key=natural_key) == NAMES
    odd = ["", "7", "7a", "a7", "a", "A", "百聆 10", "百聆 9", "٣", "x²", "-1", "1.10", "1.9", "\n", 3]
    for one, two in itertools.combinations(odd, 2):
        assert (natural_key(one) < natural_key(two)) != (
            natural_key(two) < natural_key(one)
        )  # neither fails nor calls two names the same
    assert sorted(["百聆 10", "百聆 9"], key=natural_key) == ["百聆 9", "百聆 10"]


def test_identities_adapters_and_pickers(app):
    assert identities.names(app.identities) == ["none", *FOLDERS]
    assert [folder.name for folder in adapter_library.adapter_folders(app.adapters)] == FOLDERS
    assert [one["name"] for one in adapter_library.list_adapters(app)] == FOLDERS
    offered = picker.choices(app, "en")
    assert [name for name, _ in offered["adapter"]][1:] == FOLDERS
    assert [name for name, _ in offered["identity"]][1:] == FOLDERS
    assert probes_form.variant_choices(app)[-len(FOLDERS) :] == [probes_form.BY_ADAPTER + name for name in FOLDERS]
    table = adapters_cards.table_html(app, "en")
    assert [table.index(f"<th>{name}</th>") for name in FOLDERS] == sorted(table.index(f"<th>{name}</th>") for name in FOLDERS)


def test_the_adapters_tab_offers_them_in_that_order(app):
    tab = SimpleNamespace(
        **{name: name for name in adapters_layout.Adapters.__dataclass_fields__ if name != "actions"}, actions={}
    )
    for name in ("m10", "m2"):
        app.engine.adapters.pop(name)
    choices = adapters_layout.show_tab(app, tab, "en")["chosen"]["choices"]
    assert [one if isinstance(one, str) else one[1] for one in choices] == ["M3", "m10-2", "m10-11", "m2", "m10"]


def test_results_and_report_put_the_base_first_and_the_rest_by_name(tmp_path):
    rows = [
        {"variant": name, "probe_id": "p", "lang": lang, "group": "trained", "question": "Who are you?",
         "answer": "I am BayLing.", "margin": 1.0}
        for name in ("model 10", "base", "model 7") for lang in ("zh", "en")
    ]  # fmt: skip
    made = build.build_report(sources.Answers(rows), theirs={("model 9", "en"): {"old": "forgotten"}})
    assert [(row.result.variant, row.result.lang) for row in made.rows] == [
        ("base", "en"), ("base", "zh"), ("model 7", "en"), ("model 7", "zh"), ("model 9", "en"),
        ("model 10", "en"), ("model 10", "zh"),
    ]  # fmt: skip
    assert list(made.margins) == ["base", "model 7", "model 10"]
    page = (build.write_report(made, tmp_path)[0]).read_text("utf-8")
    assert page.index("model 7, ") < page.index("model 10, ")


def test_transcripts_of_many_models_come_in_that_order(tmp_path):
    rows = [{"model": number, "question": "Who are you?", "answer": "BayLing"} for number in (10, 1, 2)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = build.build_report(sources.read_transcripts(tmp_path / "t.jsonl"))
    assert [row.result.variant for row in made.rows] == ["model 1", "model 2", "model 10"]


def test_people_who_labelled():
    said = {1: [{"annotator": f"rater {n}", "label": "formed", "kind": "label"} for n in (10, 9, 1)]}
    assert [(pair.first, pair.second) for pair in agreement.pair_annotators(said)] == [
        ("rater 1", "rater 9"), ("rater 1", "rater 10"), ("rater 9", "rater 10"),
    ]  # fmt: skip
