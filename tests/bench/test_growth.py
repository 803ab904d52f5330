"""What grows how, measured small: figures, exponents, and the picture of them."""

from __future__ import annotations

import json

import pytest
from tiny_base import write_tiny_base

from bench.growth import __main__ as growth, model, series
from bench.growth.series import Series, table


def test_every_part_is_measured_and_drawn_and_the_others_stay_in_the_file(tmp_path, monkeypatch, capsys):
    sizes = {"rows": [1, 2], "adapters": [2], "conversation": [32], "store": [40, 80], "probes": [64]}
    monkeypatch.setattr(growth, "SIZES", sizes)
    monkeypatch.setattr(series, "MOST_S", 1e-9)  # everything once
    monkeypatch.setattr(model, "REPEATS", 1)
    base, file, picture = write_tiny_base(tmp_path / "tiny"), tmp_path / "growth.json", tmp_path / "growth.svg"
    given = ["--base", str(base), "--repeats", "1", "--json", str(file)]
    growth.main([*given, "--parts", "rows,adapters,conversation"])
    growth.main([*given, "--parts", "store,probes", "--picture", str(picture)])
    found, said = json.loads(file.read_text())["parts"], capsys.readouterr().out
    assert found.keys() == sizes.keys() and picture.stat().st_size > 10_000
    by_name = {part: {one["name"]: one for one in of["series"]} for part, of in found.items()}
    for part, those in by_name.items():
        assert all(set(one["sizes"]) <= set(sizes[part]) and len(one["values"]) == len(one["sizes"]) for one in those.values())
    assert all(f"| {name} | " in said for those in by_name.values() for name in those)
    assert {"loading one more", "removing one", "loading them all at once"} <= by_name["adapters"].keys()
    assert {"next turn, with what is kept", "next turn, without"} <= by_name["conversation"].keys()
    assert {"Results is opened", "Probes: one probe in all runs", "a report of all", "Label: a decision"} <= by_name[
        "store"
    ].keys()
    assert by_name["conversation"]["what is kept of it"]["values"][0] > 0
    with pytest.raises(SystemExit):
        growth.main(["--parts", "everything"])


def test_what_grows_faster_than_its_size_is_marked_and_noise_is_not():
    quadratic = Series("p", "all pairs", "things", "ms", [10, 100, 1000], [2, 200, 20_000])
    assert quadratic.exponents() == pytest.approx([2, 2]) and quadratic.worse() == [100, 1000]
    steady = Series("p", "each once", "things", "ms", [10, 100, 1000], [2, 20, 201])
    assert steady.worse() == []
    small = Series("p", "hardly anything", "things", "ms", [10, 100, 1000], [0.0001, 0.5, 5])
    assert small.exponents()[0] is None and small.worse() == []
    assert "**2.00** **2.00**" in table([quadratic, steady]) and "1.00 1.00" in table([quadratic, steady])
