"""The finder and the cells together: what it asks for is made, and its answer stands in the state."""

from __future__ import annotations

from experiments.progress import read_state


def test_the_search_makes_the_cells_it_asks_for_and_ends_with_its_budget(lab, trained, capsys):
    text = lab.text().replace("doses: [2, 4]", "doses: [0, 2, 4]\nfind: {cells: 5, criteria: [formed]}")
    assert lab.run("--find", text=text) == 0
    state = read_state(lab.places)
    [found] = state.found
    assert found["series"] == "diverse" and found["ended"] and found["why"]
    assert [(one["criterion"], one["lang"]) for one in found["thresholds"]] == [("formed", "en")]
    assert all(cell.status == "done" for cell in state.cells)
    assert "formed (en)" in capsys.readouterr().out
    before = list(trained.folders)
    assert lab.run("--find", text=text) == 0 and trained.folders == before  # all of it is kept


def test_a_search_that_cannot_begin_says_so_before_anything_is_made(lab, trained, capsys):
    assert lab.run("--find", text=lab.text().replace("doses: [2, 4]", "doses: [2]")) == 2
    assert "it needs two doses or more" in capsys.readouterr().err and not trained.folders
