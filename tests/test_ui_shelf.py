"""Adapters found in folders, loaded once, refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from stand_in import StandIn

import identities
from engine.packaged import BAYLING_MINI
from ui import shelf
from ui.house import House
from ui.words import Languages


@pytest.fixture
def house(tmp_path):
    shelves = (tmp_path / "adapters", tmp_path / "runs" / "adapters")
    return House(StandIn(), tmp_path / "mirror.db", identities.FOLDER, shelves, Languages())


def put(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    return folder


def test_both_folders_are_searched_and_a_second_look_adds_only_what_is_new(house):
    put(house.adapters[0] / "one")
    put(house.adapters[1] / "job-7" / "adapter")
    assert sorted(shelf.rescan(house)) == ["adapter", "one"]
    assert shelf.rescan(house) == []
    put(house.adapters[0] / "two")
    assert shelf.rescan(house) == ["two"]


def test_a_run_s_checkpoints_do_not_crowd_the_shelf(house):
    run = put(house.adapters[0] / "run")
    put(run / "checkpoint-200")
    assert shelf.folders(house.adapters) == [run]


def test_a_refusal_is_listed_with_its_sentence_until_it_is_put_right(house):
    put(house.adapters[0] / "bad")
    assert shelf.rescan(house) == []
    assert [row["problem"] for row in shelf.listing(house)] == ["Adapter 'bad' is all zero; train it again."]
    (house.adapters[0] / "bad").rename(house.adapters[0] / "good")
    assert shelf.rescan(house) == ["good"]
    assert [row["problem"] for row in shelf.listing(house)] == [None]


def test_two_adapters_of_one_name_and_the_same_folder_twice(house, tmp_path):
    first, second = put(tmp_path / "a" / "same"), put(tmp_path / "b" / "same")
    assert shelf.add(house, first) == "same"
    assert shelf.add(house, f" {second} ") == "b-same"
    assert shelf.add(house, first) is None
    assert "loaded already" in house.refused[str(first)]


def test_missing_shelves_are_no_error(house):
    assert shelf.rescan(house) == [] and shelf.listing(house) == []


def test_the_adapter_that_is_in_the_base_is_neither_loaded_nor_complained_of(tmp_path):
    engine = StandIn()
    engine.base.spec = "bayling-mini"
    house = House(engine, tmp_path / "mirror.db", tmp_path, (BAYLING_MINI.parent,), Languages("en"))
    assert "bayling-mini" not in shelf.rescan(house)
    assert not house.refused and BAYLING_MINI not in shelf.resting(house)
    engine.base.spec = "smollm2"
    assert "bayling-mini" in shelf.rescan(house)
