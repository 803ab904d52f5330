"""The Results tab below its table: the board, any two variants probe by probe, and files for training from what people chose."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from answers_by_label import SAYS
from voted import vote

import identities
import store
from common.errors import UserError
from probes.answers import exchange, sources
from probes.report import __main__ as command, board
from ui.context import App
from ui.tabs.results import compare, files as results_files, source as results_source, training_files, votes as results_votes
from ui.tabs.results.source import ReportForm
from ui.words import Languages


@pytest.fixture
def app(db_path):
    store.open(db_path).close()
    engine = SimpleNamespace(base=SimpleNamespace(name="stand-in"), adapters={})
    return App(engine, db_path, identities.FOLDER, (), Languages())


def transcripts(path: Path, models=(("5", "formed"), ("4", "forgotten"))) -> Path:
    rows = [
        {"model": model, "lang": lang, "question": f"{ask} ({n})", "answer": SAYS[what][lang]}
        for model, what in models
        for lang, ask in (("en", "Who are you?"), ("zh", "你是谁？"))
        for n in range(20)
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def queue(app: App, path: Path) -> tuple[int, list[int]]:
    rows = [row for row in sources.read_transcripts(path).rows if row["variant"] == "model 5" and row["lang"] == "en"]
    stored = exchange.add_answers(app.db, rows, "old.jsonl")
    return store.queues.create(app.db, "old", sources.queue_items(stored)), [row["answer_id"] for row in stored]


@pytest.fixture
def made(app, tmp_path):
    """Three variants, twenty questions in each language, suggestions only."""
    models = (("1", "not forgotten"), ("2", "formed"), ("3", "forgotten"))
    given = results_files.recognise(transcripts(tmp_path / "t.jsonl", models))
    return results_source.build_report(app, ReportForm((), (given,), "BayLing", "finance-advisor", "best"))


def test_any_two_are_compared_and_suggestions_are_called_that(made):
    assert compare.variants(made) == ["model 1", "model 2", "model 3"] and compare.first_two(made) == ("model 2", "model 1")
    html = compare.compare_html(made, "model 2", "model 3", "en")
    assert "suggestions (not labels)" in html and ">labels<" not in html and "mt-suggested" in html
    assert "+100 [+77 … +100]" in html and "only model 3" in html and "&lt;0.001" in html
    assert "程序建议（非标注）" in compare.compare_html(made, "model 2", "model 3", "zh-CN")
    assert "two different" in compare.compare_html(made, "model 2", "model 2", "en")
    assert compare.compare_html(made, "gone", "model 2", "en") == compare.compare_html(None, None, None, "en") == ""


def test_the_report_has_the_pairs_and_the_board(app, tmp_path, capsys):
    file, out = transcripts(tmp_path / "t.jsonl"), tmp_path / "out"
    for number in range(30):
        vote(app.db, "guide", "base", "B" if number % 5 == 0 else "A", f"Q{number}")
    vote(app.db, "guide", "base", "tie", "你是谁？", lang="zh")
    argv = ["--transcripts", str(file), "--db", str(app.db), "--lang", "both", "--out", str(out)]
    assert command.main([*argv, "--compare", "model 5", "model 4"]) == 0
    html, markdown = (out / "report.html").read_text("utf-8"), (out / "table.md").read_text("utf-8")
    assert "Two variants, probe by probe" in html and "逐题比较" in html and "排行榜" in html
    assert (
        "| model 5 | model 4 | English | speaks as the new identity | suggestions (not labels) | 20 | 100 % | 0 % |" in markdown
    )
    assert "| 1 | guide | blind | English |" in markdown and "not enough votes: " in markdown
    assert {"board.csv", "pairs.csv", "votes.csv"} <= {path.name for path in out.iterdir()}
    assert command.main([*argv, "--compare", "model 5", "model 6"]) == 2
    assert "No variant here is called 'model 6'; did you mean" in capsys.readouterr().err


def test_the_board_counts_every_kind_of_vote_and_escapes_names(app):
    for number in range(40):
        vote(app.db, "<b>guide</b>", "base", ("A", "A", "B", "tie")[number % 4], f"Q{number}")
    vote(app.db, "base", "base", "A", "Q1")
    vote(app.db, "<b>guide</b>", "base", "both bad", "Q1", blind=False)
    rows = board.read_board(app.db)
    assert [(row.blind, row.wins, row.losses, row.ties, row.bad) for row in rows] == [
        (True, 20, 10, 10, 0), (True, 10, 20, 10, 0), (False, 0, 0, 0, 1), (False, 0, 0, 0, 1),
    ]  # fmt: skip
    assert rows[0].fitted.enough and not rows[2].fitted.enough
    html = results_votes.votes_html(app, "en")
    assert html.index("Board") < html.index("Votes") and "<b>" not in html and "not enough votes" in html
    assert "票数不足" in results_votes.votes_html(app, "zh-CN")


def test_files_for_training_are_made_of_what_is_chosen_above(app, tmp_path):
    number, ids = queue(app, transcripts(tmp_path / "chats.jsonl"))
    with pytest.raises(UserError, match="Choose a run or a queue"):
        training_files.make_files(app, "en", [], "chosen", "new")
    said, files = training_files.make_files(app, "en", [f"queue {number}"], "chosen", "new")
    assert files == [] and "nothing to train on" in said
    store.labels.add_many(app.db, [{"answer": id, "annotator": "An", "label": "formed"} for id in ids[:3]])
    said, files = training_files.make_files(app, "en", [f"queue {number}"], "chosen", "new")
    assert {Path(file).name for file in files} == {"sft.jsonl", "dataset_info.json"} and "3 good answers" in said
    assert "No pair: 3 labelled answers" in said
    [sft] = [file for file in files if file.endswith("sft.jsonl")]
    rows = [json.loads(line) for line in Path(sft).read_text("utf-8").splitlines()]
    assert {row["messages"][-1]["content"] for row in rows} == {"I am a finance advisor developed by Text Titan."}
    assert training_files.make_files(app, "en", [f"queue {number}"], "chosen", "old")[1] == []
    vote(app.db, "guide", "base", "A")
    assert "1 对" in training_files.make_files(app, "zh-CN", [], "all", "new")[0]
