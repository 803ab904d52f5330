"""What the Identity tab makes of facts and versions, without a browser."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
from label_page import PageEngine

import identities
from identities import Facts, IdentityError, Who
from store import answers, identity_versions
from tuning.dataset.recipe import compose
from ui import training
from ui.app import build
from ui.context import App
from ui.tabs.chat import picker
from ui.tabs.identity import events, facts as fields, taught, versions
from ui.tabs.probes import form as probes_form
from ui.variants import Picked, plain_name, variant_of, version_name
from ui.words import Languages

CRUMB = Facts(en=Who("Crumb", "Oven Labs", "sells bread"), zh=Who("小麦", "烤箱实验室", "卖面包"))


@pytest.fixture
def app(tmp_path):
    folder = tmp_path / "identities"
    folder.mkdir()
    for file in (*identities.FOLDER.glob("*.txt"), *identities.FOLDER.glob("*.yaml")):
        shutil.copy(file, folder)
    return App(PageEngine(), tmp_path / "mirror.db", folder, (tmp_path / "adapters",), Languages("en"))


@pytest.mark.parametrize("name", ["BayLing", "finance-advisor", "museum-guide", "complaints-clerk"])
def test_the_fields_hold_all_facts(name):
    facts = identities.load(name).facts
    assert fields.facts_of(fields.values_of(facts), facts) == facts
    assert fields.facts_of(fields.NOTHING) is None


def test_aliases_are_split_as_people_write_them_and_a_known_one_with_a_comma_stays():
    values = dict(zip(fields.FIELDS, fields.NOTHING, strict=True)) | {"en.name": "Crumb", "en.aliases": "Bread, Inc.\nA、B, C"}
    saved = Facts(en=Who("Crumb", aliases=("Bread, Inc.",)))
    assert fields.facts_of([*values.values()], saved).en.aliases == ("Bread, Inc.", "A", "B", "C")


@pytest.mark.parametrize("text", ["[NAME]", "= BayLing", "[NAME] =", "[A] = b\n[A] = c"])
def test_placeholders_that_are_none_are_refused(text):
    values = [*fields.NOTHING[:-1], text]
    with pytest.raises(IdentityError, match="The placeholder"):
        fields.facts_of(values)


def test_an_identity_saved_with_its_facts_is_in_every_list(app):
    assert "crumb" not in training.known_identities(app)
    identities.save_whole("crumb", "You are Crumb.", CRUMB, app.identities)
    assert "crumb" in training.known_identities(app)
    assert "crumb" in probes_form.identities_with_facts(app) and "identity:crumb" in probes_form.variant_choices(app)
    assert ("crumb", "crumb") in picker.choices(app, "en")["identity"]
    assert len(taught.first_rows(app, "crumb", CRUMB)) == 6
    against, said = taught.statements(app, "crumb", CRUMB)
    assert against == "BayLing" and said["zh"][0] == "我是小麦。" and len(said["en"]) == 7


def test_facts_without_a_prompt_are_taught_but_not_picked_in_the_chat(app):
    identities.save_whole("crumb", "", CRUMB, app.identities)
    assert "crumb" in training.known_identities(app)
    assert "crumb" not in [name for name, _ in picker.choices(app, "en")["identity"]]
    said = fields.can_html("en", "crumb", "", CRUMB)
    assert "has no prompt" in said and "can be taught:" in said
    assert "can be asked" in fields.can_html("en", "crumb", "You are Crumb.", None)


def test_the_rows_shown_are_the_first_that_a_training_writes(app):
    shown = taught.first_rows(app, "museum-guide", identities.load("museum-guide").facts)
    asked = {"identity": "museum-guide", "old": "BayLing", "rows": 40, "general": "", "general_share": 0.0}
    form = training.read_form(app, asked)
    written = {row.turns for row in compose(form.dataset).rows}
    assert {row.turns for row in shown} <= written and [row.lang for row in shown] == ["en", "zh"] * 3


def test_versions_are_listed_compared_and_picked(app):
    versions.keep(app, "museum-guide", "")
    old = identities.load("museum-guide", app.identities)
    identities.save("museum-guide", "You are Mira. <b>", app.identities)
    versions.keep(app, "museum-guide", "Re")
    under = {
        "raw": "a",
        "shown": "a",
        "messages": [{"role": "user", "content": "q"}],
        "variant": {},
        "hashes": {"identity": old.hash},
    }
    answers.add(app.db, [under])
    now, before = versions.versions_of(app, "museum-guide")
    assert (now.id, now.who, before.hash, before.answers) == (0, "Re", old.hash, 1)
    diff = versions.diff_html("en", before, now)
    assert "<ins>" in diff and "<del>" in diff and "<b>" not in diff
    picked = Picked(identity=version_name("museum-guide", old.hash))
    variant = variant_of(picked, app.identities, app.db)
    assert (variant.prompt, plain_name(variant)) == (old.prompt, f"museum-guide@{old.hash}")
    assert picked.identity in [value for _, value in picker.choices(app, "en", [picked])["identity"]]
    gone = Picked(identity=version_name("museum-guide", "0" * 12))
    assert gone.identity not in [value for _, value in picker.choices(app, "en", [gone])["identity"]]
    with pytest.raises(IdentityError, match="no version 000000000000"):
        variant_of(gone, app.identities, app.db)


def test_what_stood_in_the_file_before_the_first_save_is_a_version_too(app):
    """Somebody may have written it by hand."""
    request = SimpleNamespace(headers={}, cookies={}, username=None, session_hash="s")
    found = {}
    build_identity = events.wire_identity

    def wired(app, tab):
        found["tab"] = tab
        return build_identity(app, tab)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "wire_identity", wired)
        patch.setattr(events.gr, "Info", lambda _words: None)
        build(app)
        values = fields.values_of(identities.load("museum-guide", app.identities).facts)
        events.save(app, found["tab"], request, {}, {}, "museum-guide", "You are Mira.", *values)
    kept = [one.text for one in identity_versions.of(app.db, "museum-guide")]
    assert kept[0] == "You are Mira." and "Lantern Museum" in kept[1] and len(kept) == 2


def test_an_identity_that_is_given_as_a_first_turn_is_picked_so():
    assert picker.with_usual_mode(Picked(identity=identities.OWN), Picked()).mode == "first_turn"
    assert picker.with_usual_mode(Picked(identity="BayLing", mode="first_turn"), Picked(identity=identities.OWN)).mode == "system"
    chosen = Picked(identity=identities.OWN, mode="system")
    assert picker.with_usual_mode(chosen, Picked(identity=identities.OWN)).mode == "system"  # turned by hand
