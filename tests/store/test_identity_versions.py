"""Saved texts of identities, and the answers given under them."""

from __future__ import annotations

import store
from store import answers, identity_versions


def answer(hash: str | None) -> dict:
    said = {"raw": "I am.", "shown": "I am.", "messages": [{"role": "user", "content": "Who are you?"}], "variant": {"name": "a"}}
    return said | {"hashes": {"base": "b", "identity": hash}}


def test_versions_are_kept_once_each_and_count_the_answers_under_their_prompt(tmp_path):
    db = tmp_path / "mirror.db"
    assert identity_versions.note(db, "crumb", "h1", "You are Crumb.", "")
    assert not identity_versions.note(db, "crumb", "h1", "You are Crumb.", "")
    assert identity_versions.note(db, "crumb", "h1", "You are Crumb.", "en: {name: Crumb}\n", "Re")
    assert identity_versions.note(db, "crumb", "h2", "You are Otto.", "")
    assert identity_versions.note(db, "crumb", "h1", "You are Crumb.", "")  # back again is a version of its own
    answers.add(db, [answer("h1"), answer("h1"), answer("h2"), answer(None)])
    found = identity_versions.of(db, "crumb")
    assert [(one.hash, one.who, one.answers) for one in found] == [("h1", "", 2), ("h2", "", 1), ("h1", "Re", 2), ("h1", "", 2)]
    assert identity_versions.of(db, "otto") == []
    assert identity_versions.answers_under(db, "h2") == 1


def test_a_version_is_found_by_its_hash_and_goes_with_a_new_name(tmp_path):
    db = tmp_path / "mirror.db"
    identity_versions.note(db, "crumb", "h1", "You are Crumb.", "")
    identity_versions.renamed(db, "crumb", "bread")
    assert identity_versions.find(db, "crumb", "h1") is None
    assert identity_versions.find(db, "bread", "h1").text == "You are Crumb."


def test_a_database_from_before_gets_the_table(tmp_path):
    with store.open(tmp_path / "mirror.db") as db:
        assert "identity_versions" in db.table_names()
        plan = db.execute("explain query plan select count(*) from answers where identity_hash = 'h'").fetchall()
    assert "idx_answers_identity_hash" in str(plan)  # counting does not read every answer
