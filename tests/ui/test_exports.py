"""Exports on the page: what is started, how far it is, what became of the answers, and that a stop leaves nothing half."""

from __future__ import annotations

import pytest
from stand_in import StandIn

import identities
import store
from engine.types import EngineError
from tuning.export import __main__ as program, comparing
from tuning.jobs import queue
from ui.context import App
from ui.tabs.adapters import exports, merging
from ui.words import WORDS, Languages


@pytest.fixture
def app(tmp_path, monkeypatch):
    shelf = tmp_path / "adapters"
    (shelf / "mira").mkdir(parents=True)
    (shelf / "mira" / "adapter_config.json").write_text("{}")
    monkeypatch.setattr(merging.memory, "needed_to_merge", lambda spec, asks: 2**30 * (2 if asks else 1))
    monkeypatch.setattr(queue, "tick", lambda *_: [])  # nothing starts
    return App(StandIn(), tmp_path / "mirror.db", identities.FOLDER, (shelf,), Languages())


def test_every_kind_is_a_command_that_the_program_takes(app, tmp_path):
    for kind, (to, numbers) in merging.KINDS.items():
        id = merging.queue_merge(app, "mira", str(tmp_path / kind), 0.5, kind, "museum-guide", asks=kind == "folder")
        job = store.jobs.get(app.db, id)
        assert job["arguments"][:2] == ["-m", "tuning.export"] and job["kind"] == "merge"
        told = program.parser().parse_args(job["arguments"][2:])
        assert (told.to, told.strength, told.identity) == (to, 0.5, "museum-guide")
        assert told.output_dir == tmp_path / kind and told.type == (numbers or "q8_0")
        assert told.no_questions is (kind != "folder") and job["needs_bytes"] == 2**30 * (2 if kind == "folder" else 1)
    with pytest.raises(EngineError, match="'onnx' is nothing that an adapter can be exported as"):
        merging.queue_merge(app, "mira", str(tmp_path / "x"), 1.0, "onnx")


def test_what_is_under_way_is_what_is_stopped_and_no_training(app, tmp_path):
    assert merging.under_way(app) is None
    first, second = (merging.queue_merge(app, "mira", str(tmp_path / name), 1.0) for name in "ab")
    assert merging.under_way(app)["id"] == first
    merging.stop(app, first)
    assert merging.under_way(app)["id"] == second and store.jobs.get(app.db, first)["status"] == "discarded"
    other = store.jobs.add(app.db, name="t", kind="train", arguments=[], folder=str(tmp_path / "t"), log="", device="cpu")
    with pytest.raises(EngineError, match="is no export"):
        merging.stop(app, other)
    assert store.jobs.get(app.db, other)["status"] == "queued"


@pytest.mark.parametrize("lang", WORDS)
def test_the_page_says_how_far_it_is_and_what_changed(lang, tmp_path):
    log = tmp_path / "log.txt"
    job = {"name": "otter <b>", "status": "running", "message": "", "log": str(log), "arguments": ["--output_dir", str(tmp_path)]}
    for line, share in (
        ("asking the export: 4 of 16", "25%"),
        ("writing m.gguf: tensor 51 of 102", "50%"),
        ("asking before: 16 of 16", "100%"),
    ):
        log.write_text(f"$ python -m tuning.export\n{line}\n")
        shown = exports.exports_html(lang, [job])
        assert f"width:{share}" in shown and line not in shown and "otter &lt;b&gt;" in shown
    log.write_text("adding mira at strength 1\n")
    assert "mt-moving" in exports.exports_html(lang, [job]) and "adding mira" in exports.exports_html(lang, [job])

    questions = [comparing.Question(id, tongue, (f"{id}?",)) for id, tongue in (("a", "en"), ("b", "en"), ("c", "zh"))]
    answered = comparing.compare(questions, ["x", "y", "z"], ["x", "<i>", "z"], lambda one, said: said != "<i>")
    comparing.keep(tmp_path, answered, "llama-cpp-python 1", "quick")
    shown = exports.exports_html(lang, [job | {"status": "done"}])
    assert "llama-cpp-python 1" in shown and "&lt;i&gt;" in shown and "<i>" not in shown and "b?" in shown and "a?" not in shown
    assert exports.say(lang, "export_kept", tongue=exports.say(lang, "pb_lang_en"), before=2, after=1, all=2) in shown


def test_a_stop_says_whether_something_was_written(tmp_path):
    job = {"name": "m", "status": "discarded", "message": "", "log": "", "arguments": ["--output_dir", str(tmp_path / "m")]}
    assert "Nothing was written." in exports.exports_html("en", [job])
    (tmp_path / "m").mkdir()
    assert "written whole before it was stopped" in exports.exports_html("en", [job])
