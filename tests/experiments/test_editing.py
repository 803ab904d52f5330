"""A plan's text changed by buttons keeps its comments and says what was meant."""

from __future__ import annotations

import pytest

from experiments import checking, editing
from experiments.cells import expand

HEAD = "name: t  # mine\nidentity: finance-advisor\n"


@pytest.mark.parametrize(
    "doses",
    ["doses: [10, 160]  # a few\n", "doses:\n  - 10\n  - 160  # much\n", "doses:\n- 10\n- 160\nseeds: [1]\n", "doses: [10, 160]"],
)
@pytest.mark.parametrize("dose", [1, 40, 640])
def test_a_dose_is_added_in_its_place(doses, dose):
    text = editing.add_dose(HEAD + doses, dose)
    assert checking.read(text).doses == sorted([10, 160, dose])
    assert text.count("#") == (HEAD + doses).count("#") and editing.add_dose(text, dose) == text


def test_a_plan_without_doses_gets_its_first():
    assert checking.read(editing.add_dose(HEAD, 40)).doses == [40]
    assert checking.read(editing.add_dose(HEAD + "doses: []\n", 40)).doses == [40]


@pytest.mark.parametrize("nothing", ["doses:\nseeds: [0]\n", "doses: ~  # none\n", "doses:\n# none yet\nseeds: [0]\n", "doses:"])
def test_a_dose_takes_the_place_of_nothing(nothing):
    text = editing.add_dose(HEAD + nothing, 40)
    assert checking.read(text).doses == [40] and text.count("#") == (HEAD + nothing).count("#")


def test_a_dose_stands_under_one_with_an_anchor():
    assert editing.add_dose("doses:\n    - &a 5\n    - 7\n", 6) == "doses:\n    - &a 5\n    - 6\n    - 7\n"


def test_what_stands_around_a_cell_that_is_restored_stays():
    text = "name: t\nleave_out:  # for now\n  - x  # too long\n  - y-z\n\n# about the seeds\nseeds: [0]  # three\n"
    once = editing.restore_cell(text, "y-z")
    assert once == text.replace("  - y-z\n", "")
    assert editing.restore_cell(once, "x") == "name: t\nleave_out: []  # for now\n\n# about the seeds\nseeds: [0]  # three\n"
    assert editing.restore_cell(text, "w") == text and editing.restore_cell("leave_out: ~\n", "~") == "leave_out: ~\n"


@pytest.mark.parametrize("there", ["", "leave_out: [base]\n", "leave_out:\n  - base\n"])
def test_a_cell_is_dropped_and_restored(there):
    text = HEAD + "doses: [10, 40]\n" + there
    before = [cell.label for cell in expand(checking.read(text))]
    dropped = editing.drop_cell(text, "diverse 10")
    assert [cell.label for cell in expand(checking.read(dropped))] == [one for one in before if one != "diverse 10"]
    restored = editing.restore_cell(dropped, "diverse 10")
    assert [cell.label for cell in expand(checking.read(restored))] == before
