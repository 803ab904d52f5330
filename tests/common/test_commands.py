"""Everything that is started with `python -m NAME` is there under that name, and says how it is used."""

from __future__ import annotations

import importlib
import importlib.util

import pytest

NAMES = [
    "probes.run", "probes.suggest", "probes.report", "probes.second_opinion", "probes.queue",
    "probes.training_rows", "tuning.train", "tuning.dataset", "tuning.merge",
    "tuning.export", "tuning.apply_delta", "tuning.legacy", "tuning.starters", "store.check", "store.backup", "store.events",
    "ui.accounts", "engine.chat",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_it_is_there_and_says_how_it_is_used(name, capsys):
    spec = importlib.util.find_spec(name)
    package = spec is not None and spec.submodule_search_locations is not None
    module = importlib.import_module(f"{name}.__main__" if package else name)
    with pytest.raises(SystemExit) as end:
        module.main(["--help"])
    assert end.value.code in (0, None) and f"python -m {name}" in capsys.readouterr().out
