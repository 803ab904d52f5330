"""Votes where people see them: counted per pair, blind and open apart, per language; in the Results tab and in the report."""

from __future__ import annotations

import csv
import io
from types import SimpleNamespace

import pytest
from voted import answer, vote

import identities
import store
from probes.report import __main__ as command, preferences
from probes.verdicts import statistics
from ui.context import App
from ui.tabs.results import source as results_source, votes as results_votes
from ui.words import Languages


@pytest.fixture
def app(db_path):
    store.open(db_path).close()
    engine = SimpleNamespace(base=SimpleNamespace(name="stand-in"), adapters={})
    return App(engine, db_path, identities.FOLDER, (), Languages())


def test_blind_and_open_votes_and_languages_are_never_one_number(db_path):
    vote(db_path, "model 10", "model 7", "A", "Q1", who="An")
    vote(db_path, "model 7", "model 10", "A", "Q2", who="An")
    vote(db_path, "model 7", "model 10", "tie", "Q3", who="Bo")
    vote(db_path, "model 7", "model 10", "both bad", "Q4")
    vote(db_path, "model 7", "model 10", "B", "Q1", blind=False, who="Bo")
    vote(db_path, "model 7", "model 10", "A", "你是谁？", lang=None)  # the chat notes no language; the question shows it
    store.votes.undo(db_path, vote(db_path, "model 7", "model 10", "A", "Q9"))
    found = preferences.read_preferences(db_path)
    assert [(one.first, one.second, one.blind, one.lang) for one in found] == [
        ("model 7", "model 10", True, "en"), ("model 7", "model 10", True, "zh"), ("model 7", "model 10", False, "en"),
    ]  # fmt: skip
    blind, chinese, seen = found
    assert (blind.wins, blind.losses, blind.ties, blind.bad, blind.votes) == (1, 1, 1, 1, 4)
    assert dict(blind.people) == {"An": 2, "": 1, "Bo": 1}
    assert (chinese.wins, chinese.losses, seen.wins, seen.losses) == (1, 0, 0, 1)


def test_the_interval_is_wilsons_over_questions_and_too_few_are_undetermined(db_path):
    for number in range(3):
        vote(db_path, "new", "old", "A", f"Q{number}")
    [three] = preferences.read_preferences(db_path)
    assert (three.share.share, three.share.low) == (1.0, statistics.wilson(1.0, 3)[0])
    assert three.preferred == "" and three.more == 1 and "undetermined: 1 more question" in preferences.cells(three)["word"]
    for _ in range(20):  # twenty people on one question are one question
        vote(db_path, "new", "old", "A", "Q0")
    [many] = preferences.read_preferences(db_path)
    assert (many.preferred, many.share.probes, many.wins) == ("", 3, 23)
    vote(db_path, "old", "new", "B", "Q3")
    [settled] = preferences.read_preferences(db_path)
    assert settled.preferred == "new" and settled.share.low > 0.5
    assert preferences.cells(settled, "zh")["share"] == preferences.cells(settled)["share"] == "100 % [51–100]"


def test_ties_alone_are_counted_and_settle_nothing(db_path):
    vote(db_path, "a", "b", "tie")
    [one] = preferences.read_preferences(db_path)
    words = preferences.cells(one)
    assert (words["ties"], words["share"], words["word"]) == ("1", "", "undetermined") and one.more is None
    for number in range(10):
        vote(db_path, "a", "b", "AB"[number % 2], f"Q{number}")
    [even] = preferences.read_preferences(db_path)
    assert even.share.share == 0.5 and even.more is None and not even.preferred


def test_variants_of_one_name_are_told_apart(db_path):
    cold, hot = answer(db_path, "guide", "Q"), answer(db_path, "guide", "Q", decoding={"temperature": 0.7})
    store.votes.add(db_path, cold, hot, "A")
    [one] = preferences.read_preferences(db_path)
    assert one.first != one.second and one.first.startswith("guide (") and one.second.startswith("guide (")


def test_the_page_shows_votes_or_says_how_to_vote(app):
    for lang, said in (("en", "Chat tab tick Blind"), ("zh-CN", "盲测")):
        assert said in results_votes.votes_html(app, lang) and "<table" not in results_votes.votes_html(app, lang)
    vote(app.db, "<b>guide</b>", "base", "A", who="An & Bo")
    html = results_votes.votes_html(app, "en")
    assert "<b>" not in html and "&lt;b&gt;guide&lt;/b&gt;" in html and "An &amp; Bo 1" in html
    assert "盲投" in results_votes.votes_html(app, "zh-CN") and "undetermined" in html


def test_a_database_that_cannot_be_read_is_said(app, tmp_path):
    (tmp_path / "no.db").write_text("<html>not found</html>")
    html = results_votes.votes_html(SimpleNamespace(db=tmp_path / "no.db"), "en")
    assert "not a SQLite database" in html


def test_the_report_holds_the_votes_in_all_its_forms(app, tmp_path):
    items = [{"answer": answer(app.db, "guide", "Q"), "variant": "guide", "lang": "en", "probe_id": "p"}]
    queue = store.queues.create(app.db, "few", items)
    argv = ["--db", str(app.db), "--queue", str(queue), "--lang", "both", "--out", str(tmp_path / "out")]
    assert command.main(argv) == 0
    assert "Votes" not in (tmp_path / "out" / "table.md").read_text("utf-8") and not (tmp_path / "out" / "votes.csv").exists()
    for number in range(4):
        vote(app.db, "base", "gu|de", "B", f"Q{number}", who="An")
    vote(app.db, "base", "gu|de", "tie", "Q1", blind=False)
    assert command.main(argv) == 0
    html = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert '<span lang="zh">盲投</span>' in html and "<td>gu|de</td>" in html and "0 % [0–49]" in html
    markdown = (tmp_path / "out" / "table.md").read_text("utf-8")
    assert r"| base | gu\|de | blind | English | 0 | 4 | 0 | 0 | 0 % [0–49] | gu\|de | An 4 |" in markdown
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "votes.csv").read_text("utf-8-sig"))))
    assert [(one["blind"], one["votes"], one["verdict"], one["questions"]) for one in rows] == [
        ("True", "4", "preferred", "4"), ("False", "1", "undetermined", "0"),
    ]  # fmt: skip


def test_what_the_tab_writes_has_the_votes_too(app):
    items = [{"answer": answer(app.db, "guide", "Who are you?"), "variant": "guide", "lang": "en", "probe_id": "p"}]
    queue = store.queues.create(app.db, "one", items)
    vote(app.db, "guide", "base", "A")
    made = results_source.build_report(
        app, results_source.ReportForm((f"queue {queue}",), (), "BayLing", "finance-advisor", "best")
    )
    assert [(one.first, one.second, one.losses) for one in made.votes] == [("base", "guide", 1)]
