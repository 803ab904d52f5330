"""What several tests of the engine share: a tiny model, two adapters in its bank, and a whole tiny engine."""

from __future__ import annotations

import copy

import pytest
from tiny import tiny_llama, write_adapter, write_bayling_like

import engine as engine_room
from engine.adapters import read_adapter
from engine.bank import Bank


@pytest.fixture(scope="module")
def model():
    return tiny_llama()


@pytest.fixture(scope="module")
def bank(model, tmp_path_factory):
    """With the adapters `a` and `b`."""
    bank = Bank(model)
    for seed, name in enumerate("ab", 1):
        folder = write_adapter(tmp_path_factory.mktemp("adapters") / name, copy.deepcopy(model), seed=seed)
        bank.add(name, read_adapter(folder)[1])
    return bank


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """An engine with a base of BayLing's form."""
    return engine_room.load(str(write_bayling_like(tmp_path_factory.mktemp("m") / "tiny")), dtype="fp32", say=lambda _line: None)
