"""Adapters found in folders, loaded once, refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from stand_in import StandIn

import identities
from engine.packaged import BAYLING_MINI
from ui import adapter_library
from ui.context import App
from ui.words import Languages


@pytest.fixture
def app(tmp_path):
    shelves = (tmp_path / "adapters", tmp_path / "runs" / "adapters")
    return App(StandIn(), tmp_path / "mirror.db", identities.FOLDER, shelves, Languages())


def put(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    return folder


def test_both_folders_are_searched_and_a_second_look_adds_only_what_is_new(app):
    put(app.adapters[0] / "one")
    put(app.adapters[1] / "job-7" / "adapter")
    assert sorted(adapter_library.rescan(app)) == ["adapter", "one"]
    assert adapter_library.rescan(app) == []
    put(app.adapters[0] / "two")
    assert adapter_library.rescan(app) == ["two"]


def test_a_run_s_checkpoints_do_not_crowd_the_shelf(app):
    run = put(app.adapters[0] / "run")
    put(run / "checkpoint-200")
    assert adapter_library.adapter_folders(app.adapters) == [run]
    # alone on the shelf it is an adapter as trainers leave them; of a run under way there are only checkpoints
    alone = put(app.adapters[0] / "checkpoint-7")
    put(app.adapters[1] / "under-way" / "checkpoint-1")
    assert adapter_library.adapter_folders(app.adapters) == [alone, run]


def test_a_refusal_is_listed_with_its_sentence_until_it_is_put_right(app):
    put(app.adapters[0] / "bad")
    assert adapter_library.rescan(app) == []
    assert [row["problem"] for row in adapter_library.list_adapters(app)] == ["Adapter 'bad' is all zero; train it again."]
    (app.adapters[0] / "bad").rename(app.adapters[0] / "good")
    assert adapter_library.rescan(app) == ["good"]
    assert [row["problem"] for row in adapter_library.list_adapters(app)] == [None]


def test_two_adapters_of_one_name_and_the_same_folder_twice(app, tmp_path):
    first, second = put(tmp_path / "a" / "same"), put(tmp_path / "b" / "same")
    assert adapter_library.try_load_folder(app, first) == "same"
    assert adapter_library.try_load_folder(app, f" {second} ") == "b-same"
    assert adapter_library.try_load_folder(app, first) is None
    assert "loaded already" in app.refused[str(first)]


def test_missing_shelves_are_no_error(app):
    assert adapter_library.rescan(app) == [] and adapter_library.list_adapters(app) == []


def test_the_adapter_that_is_in_the_base_is_neither_loaded_nor_complained_of(tmp_path):
    engine = StandIn()
    engine.base.spec = "bayling-mini"
    app = App(engine, tmp_path / "mirror.db", tmp_path, (BAYLING_MINI.parent,), Languages("en"))
    assert "bayling-mini" not in adapter_library.rescan(app)
    assert not app.refused and BAYLING_MINI not in adapter_library.unloaded_folders(app)
    engine.base.spec = "smollm2"
    assert "bayling-mini" in adapter_library.rescan(app)
