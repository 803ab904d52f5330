"""Plans: what they are written out to, and that everything wrong with one is told at once, with its line."""

from __future__ import annotations

import contextlib
import copy
import functools
import math
from pathlib import Path

import pytest
import yaml

from experiments import checking
from experiments.cells import describe, expand, folder_name, training_values
from experiments.checking import PlanError
from tuning.dataset.recipe import Dataset, compose
from tuning.dataset.rows import distinct
from tuning.train.steps import count_steps, rates

ROOT = Path(__file__).parents[2]
SHORT = "name: t\nidentity: finance-advisor\n"


def labels(text: str) -> list[str]:
    return [cell.label for cell in expand(checking.read(SHORT + text))]


def told(text: str) -> list[tuple[int, str]]:
    return [(one.line, one.text) for one in checking.problems_of(text)]


def test_a_grid_is_crossed_and_the_base_is_asked_beside_it():
    found = labels("doses: [0, 10]\nstyles: [singular, diverse]\nbackgrounds: [0, 40]\nseeds: [1, 2]\n")
    assert found[0] == "base"
    assert "diverse 10 in 40, seed 1" in found and "singular 10, seed 2" in found and "general 40, seed 2" in found
    # four doses and backgrounds in two styles, but without identity samples a style is none, and nothing at all is the base
    assert len(found) == 1 + 2 * (2 + 2 + 1) and len(set(found)) == len(found)


def test_models_arms_recipes_and_prompts_make_cells_of_their_own():
    found = labels(
        "models: [{name: model 1, dose: 800, background: 50, distinct: 99}]\n"
        "arms: [{epochs: 1}, {steps: 30}]\nrecipes: [quick, original]\n"
        "prompts: [finance-advisor, {identity: finance-advisor, mode: first_turn, given_to: [model 1]}]\n"
    )
    assert "model 1, 30 steps, original" in found and "prompt finance-advisor (system)" in found
    assert "model 1, 1 epoch, quick, prompt finance-advisor (first turn)" in found
    assert len(found) == 1 + 4 + 1 + 4


WHOLE = {
    "base": "bayling-mini", "format": "bayling", "device": "cpu", "dtype": "fp32", "threads": 1, "old": "BayLing",
    "deny_old": False,
    "langs": ["en"], "doses": [4], "styles": [{"kind": "diverse", "distinct": 3}], "backgrounds": [0, 4],
    "general": "data/general.jsonl", "models": [{"name": "m", "dose": 3, "style": "singular", "distinct": 2, "background": 1}],
    "arms": [{"name": "long", "steps": 3, "sum_of_rates": 0.1, "recipes": ["r"]}, {"epochs": 1}],
    "recipes": [{"name": "r", "preset": "quick", "settings": {"lora_r": 4}}], "seeds": [0], "data_seed": 1,
    "prompts": [{"name": "p", "identity": "finance-advisor", "mode": "system", "given_to": ["base"]}],
    "probes": {"sets": ["quick"], "limit": 1, "samples": 1, "temperature": 0.5, "seed": 0, "max_new_tokens": 4, "margin": False},
    "leave_out": ["m"], "find": {"criteria": ["formed"], "cells": 3, "minutes": 1, "factor": 1.4, "narrow": 2, "seeds_first": 1},
}  # fmt: skip
ODD = (3, -1, 2.5, "x", "a (b)", "", [], ["x"], [3], [[]], {}, {"x": 1}, None, True, math.inf)


def places(plain, at=()):
    """Of all values of plain data, however deep."""
    inside = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, value in inside:
        yield (*at, key)
        yield from places(value, (*at, key))


@pytest.mark.parametrize("at", list(places(WHOLE)), ids=lambda at: ".".join(map(str, at)))
def test_whatever_stands_in_a_place_of_a_plan_is_taken_or_told_and_never_an_error_of_ours(at):
    plain = copy.deepcopy({"name": "t", "identity": "finance-advisor"} | WHOLE)
    *before, last = at
    around = functools.reduce(lambda one, key: one[key], before, plain)
    for odd in ODD:
        around[last] = odd
        try:
            expand(checking.read(yaml.safe_dump(plain)))
        except PlanError as error:
            assert all(one.line and one.text and "pattern" not in one.text for one in error.problems), error
    around.pop(last)  # not there at all
    with contextlib.suppress(PlanError):
        expand(checking.read(yaml.safe_dump(plain)))


def test_a_cell_that_is_left_out_is_not_there():
    assert labels("doses: [10, 40]\nleave_out: [diverse 10]\n") == ["base", "diverse 40"]


def test_fixed_steps_and_rates_are_the_same_for_every_dose():
    text = SHORT + "doses: [10, 10000]\narms: [{steps: 50, sum_of_rates: 0.04}]\nrecipes: [original, quick]\n"
    found = [cell for cell in expand(checking.read(text)) if cell.kind == "trained"]
    for cell in found:
        settings = training_values(cell)
        steps = count_steps(settings, cell.rows)
        total = math.fsum(rates(settings.learning_rate, steps.total, steps.warmup, settings.lr_scheduler_type))
        assert steps.total == 50 and total == pytest.approx(0.04)
    assert len(found) == 4


def test_fixed_epochs_grow_in_steps_with_the_dose():
    text = SHORT + "doses: [100, 1000]\nrecipes: [original]\n"
    assert [describe(cell)["steps"] for cell in expand(checking.read(text))] == [None, 1, 10]


def test_a_warmup_of_one_kind_takes_the_place_of_the_presets_other():
    text = SHORT + "doses: [100]\nrecipes: [{preset: original, settings: {warmup_ratio: 0.1}}]\n"
    [_, cell] = expand(checking.read(text))
    assert (training_values(cell).warmup_steps, training_values(cell).warmup_ratio) == (0, 0.1)


def test_all_problems_are_told_at_once_with_their_lines():
    found = told(
        "name: t\n"
        "identity: finance-adviser\n"
        "doses: [10, -1, 10]\n"
        "sedes: [1]\n"
        "arms:\n"
        "  - {epochs: 1, steps: 4}\n"
        "  - {epochs: 2, sum_of_rates: 0.1}\n"
        "recipes:\n"
        "  - quik\n"
        "  - preset: original\n"
        "    settings:\n"
        "      lora_rr: 4\n"
        "      seed: 3\n"
        "      learning_rate: 2\n"
        "probes: {sets: [identiy], samples: many}\n"
        "name: u\n"
    )
    lines = {line for line, _ in found}
    text = "\n".join(sentence for _, sentence in found)
    assert lines == {2, 3, 4, 6, 7, 9, 12, 13, 14, 15, 16}
    assert "did you mean finance-advisor?" in text and "did you mean seeds?" in text and "did you mean quick?" in text
    assert "did you mean lora_r?" in text and "stands under seeds" in text and "name stands twice" in text
    assert "needs either epochs or steps" in text and "samples is 'many', a whole number is needed" in text


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("name: [\n", 2, "is not valid YAML"),
        ("- 1\n", 1, "a plan is a mapping"),
        ("identity: finance-advisor\ndoses: [1]\n", 1, "name is missing"),
        (SHORT, 1, "nothing is to be made or asked"),
        (SHORT + "old: finance-advisor\ndoses: [1]\n", 2, "has to be another one"),
        (SHORT + "doses: [1]\nleave_out: [diverse 2]\n", 4, "did you mean 'diverse 1'?"),
        (SHORT + "models:\n- {name: a}\n", 4, "neither dose nor background"),
        (SHORT + "doses: [1]\nbackgrounds: [3]\ngeneral: nowhere.jsonl\n", 5, "is no file"),
        (SHORT + "prompts:\n- {identity: finance-advisor, given_to: [modell]}\n", 4, "given_to names 'modell'"),
        (SHORT + "prompts:\n- none\n", 4, "has no prompt"),
        (SHORT + "doses: [1]\nprobes:\n  sets: [identity, kontrols]\n", 5, "Did you mean controls?"),
        (SHORT + "doses: [1]\nstyles:\n- {kind: diverse, distinkt: 4}\n", 5, "did you mean distinct?"),
        (SHORT + f"doses: {list(range(1, 1002))}\nseeds: [0, 1]\n", 1, "has 2,003 cells"),
    ],
)
def test_a_problem_is_told_in_its_line(text, line, said):
    assert any(at == line and said in sentence for at, sentence in told(text)), told(text)


def test_the_error_names_the_file_and_each_line():
    with pytest.raises(PlanError, match=r"p\.yaml, line 3: doses\.0 is -3, at least 0 is needed\."):
        checking.read(SHORT + "doses: [-3]\n", "p.yaml")


@pytest.mark.parametrize("file", sorted((ROOT / "experiments" / "plans").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_plans_that_come_with_the_program_can_be_run(file):
    assert len(expand(checking.read_file(file))) > 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("probes: {on: a}\n", "probes.True is not known"),
        ("arms: [{epochs: 1, yes: 1}]\n", "arms.0.True is not known"),
        ("models: [{name: a, dose: 3, no: 1}]\n", "models.0.False is not known"),
        ("prompts: [{identity: finance-advisor, on: [base]}]\n", "prompts.0.True is not known"),
        ('"doses.a.b": 1\n', "doses.a.b is not known"),
        ("general: ~nosuchuser/x\nbackgrounds: [5]\n", "is no path that can be followed"),
        (f"general: {'x' * 5000}\nbackgrounds: [5]\n", "is too long for a path"),
        ("arms: [{steps: 10, sum_of_rates: 1.0e+300}]\n", "--learning_rate is 2e+299"),
        ("recipes: [{settings: {val_set_size: 0.99}}]\n", "leaves none to train on"),
        ("find: {factor: 1.01}\n", "factor is 1.01"),
        ("find: {seeds_near: 2}\n", "2 near an edge"),
    ],
)
def test_odd_keys_and_values_get_a_sentence(text, said):
    found = told(SHORT + "doses: [10, 40]\n" + text)
    assert found and any(said in one for _, one in found)


def test_what_is_told_of_a_cell_is_what_is_trained():
    def about(text: str) -> dict:
        return dict(describe(expand(checking.read(SHORT + text))[1]))

    assert about("doses: [1000]\nstyles: [singular]\n")["distinct"] == 4
    assert about("doses: [1000]\nstyles: [{kind: singular, distinct: 50}]\n")["distinct"] == 4
    assert about("doses: [1000]\nstyles: [singular]\nlangs: [en]\n")["distinct"] == 2
    assert about("doses: [3]\nstyles: [singular]\n")["distinct"] == 3
    made = compose(Dataset(identity="finance-advisor", rows=1000, style="singular", general="")).rows
    assert len(distinct(made)) == 4
    half = "recipes: [{preset: quick, settings: {val_set_size: 0.5, batch_size: 16}}]\n"
    assert about("doses: [100]\narms: [{epochs: 3}]\n" + half)["steps"] == 12


def test_however_long_its_names_are_a_cell_has_a_folder_of_its_own():
    plan = checking.read(
        SHORT + "doses: [5000]\nbackgrounds: [52000]\nseeds: [0, 1]\n"
        "arms: [{name: fixed steps and the same sum of learning rates, steps: 9}]\nrecipes: [{name: the original in batches}]\n"
    )
    names = {folder_name(cell, "finance-advisor", f"{cell.seed}f2e3d4c5b6a7980") for cell in expand(plan)[1:]}
    assert len(names) == 2 and all(len(name) <= 79 for name in names)
    assert {name.rpartition("-")[2] for name in names} == {"0f2e3d4c", "1f2e3d4c"}
