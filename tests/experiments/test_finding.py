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


def test_crossed_mixes_say_whether_count_or_share_decides(lab, trained, capsys):
    text = lab.text().replace("doses: [2, 4]", "doses: [2, 4]\nbackgrounds: [0, 2, 6]")
    assert lab.run(text=text) == 0
    told = read_state(lab.places).deciding
    assert [(one["series"], one["criterion"], one["lang"]) for one in told] == [
        ("diverse", "formed", "en"), ("diverse", "forgotten", "en"),
    ]  # fmt: skip
    assert all(one["mixes"] == one["runs"] == 4 and one["single"] for one in told)  # without those of no general rows
    assert capsys.readouterr().out.count("cannot be told apart (4 mixes, one run each)") == 2
    # one background crosses nothing
    assert lab.run(text=text.replace("[0, 2, 6]", "[0, 2]")) == 0 and not read_state(lab.places).deciding


def test_a_dose_that_is_left_out_is_not_searched(lab, trained):
    text = lab.text().replace("doses: [2, 4]", 'doses: [2, 4, 8]\nleave_out: ["diverse 8"]\nfind: {cells: 4, criteria: [formed]}')
    assert lab.run("--find", text=text) == 0
    assert not any("diverse8-" in str(folder) for folder in trained.folders)


def test_a_search_on_a_cluster_or_without_doses_is_refused(lab, trained, capsys):
    assert lab.run("--find", "--on", "ray", text=lab.text()) == 2
    assert "leave --on out" in capsys.readouterr().err
    text = lab.text().replace("doses: [2, 4]", "models: [{name: m, dose: 2}]")
    assert lab.run("--find", text=text) == 2
    assert "give doses" in capsys.readouterr().err and not trained.folders


def test_a_prompt_over_a_cell_that_is_left_out_trains_nothing(lab, trained):
    text = lab.text(given_to="base, cells") + '\nleave_out: ["diverse 2"]\n'
    assert lab.run(text=text) == 0
    assert len(trained.folders) == 1 and not any("diverse 2" in cell.label for cell in read_state(lab.places).cells)
