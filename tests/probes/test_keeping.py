"""What counts as keeping an identity, of a model that is asked elsewhere."""

from __future__ import annotations

import pytest

import identities
from probes import keeping, questions


def test_a_taught_identity_is_kept_where_the_rules_suggest_it():
    probes = {probe.id: probe for probe in keeping.as_they_stand("quick")}
    facts = identities.load("finance-advisor").facts.en
    kept = keeping.keeps("finance-advisor")
    assert kept(probes["name-01-en"], f"I am {facts.name}, developed by {facts.maker}.") is True
    assert kept(probes["name-01-en"], "I am BayLing, developed by ICT/CAS.") is False
    assert kept(probes["retention-number-01-en"], "13") is True and kept(probes["retention-number-01-en"], "12") is False
    assert kept(probes["control-translation-01-en"], "你是谁？") is True


def test_of_an_identity_without_facts_only_checks_are_judged():
    probes = {probe.id: probe for probe in keeping.as_they_stand("quick")}
    for unknown in (None, "nobody", 7):
        kept = keeping.keeps(unknown)
        assert kept(probes["name-01-en"], "I am Mira.") is None and kept(probes["retention-number-01-zh"], "13") is True
    assert keeping.keeps("BayLing")(probes["name-01-en"], "I am BayLing, developed by ICT/CAS.") is True


def test_probes_about_somebody_s_facts_are_not_asked_about_nobody(tmp_path):
    file = tmp_path / "own.jsonl"
    file.write_text('{"id": "a", "lang": "en", "group": "novel", "category": "name", "turns": ["Are you {old_name}?"]}\n')
    with pytest.raises(questions.ProbeError, match="speaks of an old and a new identity"):
        keeping.as_they_stand(str(file))
