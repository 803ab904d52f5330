"""Prompt and facts as one: saved together or not at all, one without the other, and the file of one's own."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

import identities
from identities import Facts, IdentityError, Who
from identities.facts import read_facts_text

CRUMB = Facts(
    en=Who("Crumb", "Oven Labs", "sells bread", "2024", ("No", "Bread, Inc.")),
    zh=Who("小麦", "烤箱实验室"),
    placeholders={"[NAME]": "Crumb"},
    about={"en": "a baker: of bread"},
)


@pytest.mark.parametrize("name", ["BayLing", "complaints-clerk", "finance-advisor", "museum-guide"])
def test_facts_come_back_from_the_file_they_are_written_to(name):
    facts = identities.load(name).facts
    assert read_facts_text(identities.to_yaml(facts), "x.yaml") == facts
    assert read_facts_text(identities.to_yaml(CRUMB), "x.yaml") == CRUMB


def test_a_saved_identity_is_both_files(tmp_path):
    saved = identities.save_whole("crumb", "You are Crumb.\\nBe kind.", CRUMB, tmp_path)
    assert (saved.prompt, saved.facts) == ("You are Crumb.\nBe kind.", CRUMB)
    assert sorted(os.listdir(tmp_path)) == ["crumb.txt", "crumb.yaml"]
    identities.save_whole("crumb", "You are Crumb.", None, tmp_path)
    assert os.listdir(tmp_path) == ["crumb.txt"]


@pytest.mark.parametrize("fails_at", [1, 2])
def test_where_one_file_cannot_take_its_place_both_stay_as_they_were(tmp_path, monkeypatch, fails_at):
    identities.save_whole("crumb", "You are Crumb.", CRUMB, tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    moved, move = [], os.replace

    def breaks(source, target):
        # renames of the two files themselves; each is first written under a name of its own
        if Path(target).name.startswith("crumb"):
            moved.append(target)
            if len(moved) == fails_at:
                raise OSError(13, "Permission denied")
        return move(source, target)

    monkeypatch.setattr(os, "replace", breaks)
    with pytest.raises(OSError):
        identities.save_whole("crumb", "You are Otto.", replace(CRUMB, zh=None), tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_faulty_facts_leave_the_prompt_alone(tmp_path):
    identities.save("crumb", "You are Crumb.", tmp_path)
    with pytest.raises(IdentityError, match=r"crumb\.yaml: en\.role is longer than"):
        identities.save_whole("crumb", "You are Otto.", Facts(en=Who("Otto", role="x" * 3000)), tmp_path)
    assert identities.load("crumb", tmp_path).prompt == "You are Crumb." and os.listdir(tmp_path) == ["crumb.txt"]


def test_facts_that_did_not_change_keep_their_file_with_its_comments(tmp_path):
    (tmp_path / "a.yaml").write_text("# by hand\nen: {name: Ada}\n")
    saved = identities.save_whole("a", "You are Ada.", Facts(en=Who("Ada")), tmp_path)
    assert saved.prompt == "You are Ada." and (tmp_path / "a.yaml").read_text().startswith("# by hand")


def test_the_chinese_wording_changes_the_facts_it_shares(tmp_path):
    identities.save_whole("crumb", "You are Crumb.", CRUMB, tmp_path)
    identities.save_whole("crumb-zh", "你是小麦。", replace(CRUMB, zh=Who("麦子")), tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["crumb-zh.txt", "crumb.txt", "crumb.yaml"]
    assert identities.load("crumb", tmp_path).facts.zh.name == "麦子"


def test_facts_without_a_prompt_are_an_identity(tmp_path):
    (tmp_path / "a.yaml").write_text("en: {name: Ada}\n")
    assert identities.names(tmp_path) == ["none", "a"] and identities.with_prompt(tmp_path) == []
    ada = identities.load("a", tmp_path)
    assert (ada.prompt, ada.facts.en.name) == (None, "Ada")
    with pytest.raises(IdentityError, match="already an identity 'a'"):
        identities.create("A", "You are Ada.", tmp_path)
    assert identities.rename("a", "b", tmp_path).facts == ada.facts
    identities.delete("b", tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.fixture
def started_in(tmp_path, monkeypatch):
    """The folder where the program was started; the identities lie elsewhere."""
    folder = tmp_path / "started"
    folder.mkdir()
    (tmp_path / "identities").mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_file_of_ones_own_is_an_identity_read_anew_each_time(started_in, tmp_path):
    folder = tmp_path / "identities"
    assert identities.names(folder) == ["none"] and identities.own_file() is None
    (started_in / "model_identity.txt").write_text("  你是小麦。\\n请记住。 \n第二行不算\n", encoding="utf-8")
    assert identities.names(folder) == ["none", "model_identity"]
    own = identities.load(identities.OWN, folder)
    assert (own.prompt, own.ignored) == ("你是小麦。\n请记住。", "第二行不算")
    assert identities.usual_mode(identities.OWN) == "first_turn" and identities.usual_mode("BayLing") == "system"
    (started_in / "model_identity.txt").write_text("你是麦子。", encoding="utf-8")
    assert identities.load(identities.OWN, folder).prompt == "你是麦子。"


def test_a_file_of_ones_own_is_edited_where_it_is_and_has_facts_beside_the_others(started_in, tmp_path):
    folder = tmp_path / "identities"
    file = started_in / "model_identity.txt"
    file.write_text("You are Crumb.")
    identities.save_whole(identities.OWN, "You are Otto.", CRUMB, folder)
    assert file.read_text() == "You are Otto.\n" and os.listdir(folder) == ["model_identity.yaml"]
    for undone in (lambda: identities.rename(identities.OWN, "b", folder), lambda: identities.delete(identities.OWN, folder)):
        with pytest.raises(IdentityError, match="can be edited here but not"):
            undone()
    assert file.exists()
