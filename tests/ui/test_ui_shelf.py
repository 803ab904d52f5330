"""Adapters found in folders, loaded once, refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from stand_in import StandIn

import identities
from engine.packaged import BAYLING_MINI
from ui import adapter_library
from ui.context import House
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
    assert sorted(adapter_library.rescan(house)) == ["adapter", "one"]
    assert adapter_library.rescan(house) == []
    put(house.adapters[0] / "two")
    assert adapter_library.rescan(house) == ["two"]


def test_a_run_s_checkpoints_do_not_crowd_the_shelf(house):
    run = put(house.adapters[0] / "run")
    put(run / "checkpoint-200")
    assert adapter_library.folders(house.adapters) == [run]


def test_a_refusal_is_listed_with_its_sentence_until_it_is_put_right(house):
    put(house.adapters[0] / "bad")
    assert adapter_library.rescan(house) == []
    assert [row["problem"] for row in adapter_library.listing(house)] == ["Adapter 'bad' is all zero; train it again."]
    (house.adapters[0] / "bad").rename(house.adapters[0] / "good")
    assert adapter_library.rescan(house) == ["good"]
    assert [row["problem"] for row in adapter_library.listing(house)] == [None]


def test_two_adapters_of_one_name_and_the_same_folder_twice(house, tmp_path):
    first, second = put(tmp_path / "a" / "same"), put(tmp_path / "b" / "same")
    assert adapter_library.add(house, first) == "same"
    assert adapter_library.add(house, f" {second} ") == "b-same"
    assert adapter_library.add(house, first) is None
    assert "loaded already" in house.refused[str(first)]


def test_missing_shelves_are_no_error(house):
    assert adapter_library.rescan(house) == [] and adapter_library.listing(house) == []


def test_the_adapter_that_is_in_the_base_is_neither_loaded_nor_complained_of(tmp_path):
    engine = StandIn()
    engine.base.spec = "bayling-mini"
    house = House(engine, tmp_path / "mirror.db", tmp_path, (BAYLING_MINI.parent,), Languages("en"))
    assert "bayling-mini" not in adapter_library.rescan(house)
    assert not house.refused and BAYLING_MINI not in adapter_library.resting(house)
    engine.base.spec = "smollm2"
    assert "bayling-mini" in adapter_library.rescan(house)
