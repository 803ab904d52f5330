"""The cells of a plan: every model that is to be made or only asked, and what it takes to make it. No torch."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from experiments.plan import BASE, CELLS, Arm, Model, Plan, Prompt, Recipe, Style
from probes.answers import dose as doses
from probes.answers.dose import Dose
from tuning.dataset.mixing import validation_count
from tuning.train.settings import Settings
from tuning.train.steps import Steps, count_steps, rates

CellKind = Literal["base", "trained", "prompt"]
SINGULAR = 2  # wordings a language of singular samples (tuning.dataset.generate)


@dataclass(frozen=True)
class Cell:
    """One model. label: its name in the plan; series: all of the label but dose and seed, what a curve is drawn through.

    dose: identity samples, `distinct` of them different (None: all); background: general rows beside them. prompt: what it is
    asked under; of: the trained cell whose adapter answers, None for the base. langs: how many the samples are in.
    """

    label: str
    kind: CellKind
    series: str = ""
    model: str = ""
    dose: int = 0
    style: str = "diverse"
    distinct: int | None = None
    background: int = 0
    arm: Arm | None = None
    recipe: Recipe | None = None
    seed: int = 0
    langs: int = 2
    prompt: Prompt | None = None
    of: Cell | None = field(default=None, compare=False)

    @property
    def rows(self) -> int:
        return self.dose + self.background

    @property
    def trained(self) -> Cell | None:
        """The cell whose adapter answers: itself, or the one that it prompts; None for the base."""
        return self if self.kind == "trained" else self.of

    def about(self) -> Dose:
        """What the report tells of its training."""
        made = self.trained
        if made is None:
            return Dose(samples=0, steps=0)
        settings = training_values(made)
        kind = doses.MIXED if made.background else made.style
        data = f"{made.background:,} + {made.dose:,}" if made.background else f"{made.style} {made.dose:,}"
        distinct = min(made.dose, made.distinct or made.dose)
        if made.style == "singular":
            distinct = min(distinct, SINGULAR * made.langs)
        steps = steps_of(settings, made.rows).total
        return Dose(data, made.dose, distinct, steps, made.dose / made.rows, kind, made.seed)


def expand(plan: Plan, all_of_them: bool = False) -> list[Cell]:
    """All cells, the base first; without those that are left out, unless `all_of_them`."""
    trained = [*_grid(plan), *_models(plan)]
    found = [Cell(BASE, "base"), *trained]
    for prompt in plan.prompts:
        for who in prompt.given_to:
            if who == BASE:
                found.append(Cell(prompt.label, "prompt", prompt=prompt))
            else:
                told = trained if who == CELLS else [cell for cell in trained if cell.model == who]
                found += [_prompted(cell, prompt) for cell in told]
    return found if all_of_them else [cell for cell in found if not is_left_out(plan, cell)]


def is_left_out(plan: Plan, cell: Cell) -> bool:
    """Whether it is named under leave_out, or prompts an adapter that is: asking it would make that one."""
    return cell.label in plan.leave_out or (cell.of is not None and cell.of.label in plan.leave_out)


def count_at_most(plan: Plan) -> int:
    """How many cells a plan has, doubles and all, counted without writing them out."""
    crossed = len(plan.arms) * len(plan.recipes) * len(plan.seeds)
    trained = (len(plan.styles) * len(plan.backgrounds) * len(plan.doses) + len(plan.models)) * crossed
    return 1 + trained + sum(trained if who == CELLS else crossed for prompt in plan.prompts for who in prompt.given_to)


def _prompted(cell: Cell, prompt: Prompt) -> Cell:
    return Cell(f"{cell.label}, {prompt.label}", "prompt", prompt=prompt, of=cell, dose=cell.dose, seed=cell.seed)


def _grid(plan: Plan) -> list[Cell]:
    found: dict[str, Cell] = {}
    for style, background, dose in itertools.product(plan.styles, plan.backgrounds, plan.doses):
        if not dose + background:
            continue  # that is the base, which is asked anyway
        for cell in _crossed(plan, dose, style if dose else plan.styles[0], background):
            found.setdefault(cell.label, cell)
    return list(found.values())


def _models(plan: Plan) -> list[Cell]:
    return [
        cell
        for model in plan.models
        if model.dose + model.background
        for cell in _crossed(plan, model.dose, Style(kind=model.style, distinct=model.distinct), model.background, model)
    ]


def cell_at(plan: Plan, like: Cell, dose: int, seed: int) -> Cell:
    """The cell of the same series at another dose and seed."""
    assert like.arm is not None and like.recipe is not None
    style = Style.model_validate({"kind": like.style, "distinct": like.distinct})
    return _cell(plan, dose, style, like.background, like.arm, like.recipe, seed)


def _crossed(plan: Plan, dose: int, style: Style, background: int, model: Model | None = None) -> list[Cell]:
    return [
        _cell(plan, dose, style, background, arm, recipe, seed, model)
        for arm, recipe, seed in itertools.product(plan.arms, plan.recipes, plan.seeds)
        if not arm.recipes or recipe.label in arm.recipes
    ]


def _cell(
    plan: Plan, dose: int, style: Style, background: int, arm: Arm, recipe: Recipe, seed: int, model: Model | None = None
) -> Cell:
    """Its label says what distinguishes it in this plan: a dimension with one value stays unsaid, but for the seed."""
    beside = f" in {background:,}" if background else ""
    more = [arm.label] if len(plan.arms) > 1 else []
    more += [recipe.label] if len(plan.recipes) > 1 else []
    series = ", ".join([f"{style.label}{beside}", *more])
    head = model.name if model else f"{style.label} {dose:,}{beside}" if dose else f"general {background:,}"
    label = ", ".join([head, *more, *([f"seed {seed}"] if len(plan.seeds) > 1 or seed not in plan.seeds else [])])
    return Cell(
        label, "trained", series, model.name if model else "", dose, style.kind, style.distinct, background, arm, recipe, seed,
        len(plan.langs),
    )  # fmt: skip


def steps_of(settings: Settings, rows: int) -> Steps:
    """Of so many rows, without those that are split off to validate. Raises DataError where none would be left."""
    valid = validation_count(rows, settings.val_set_size)
    return count_steps(settings, max(1, rows - valid), valid)


def training_values(cell: Cell, **more: Any) -> Settings:
    """The settings that train a cell, paths and names apart, which `more` gives.

    An arm of fixed steps gets the learning rate with which all its rates come to its sum: warmup and schedule are the same
    for all doses, so the sum is too. Rows are read again and again, shuffled anew each time, until the steps are done; doses
    below the batch make smaller batches, whose mean gradient is that of the same rows repeated.
    """
    assert cell.arm is not None and cell.recipe is not None
    given: dict[str, Any] = {"data_path": "rows.jsonl", "output_dir": "cell", "seed": cell.seed} | cell.recipe.values
    given |= {"max_steps": cell.arm.steps} if cell.arm.steps else {"num_epochs": cell.arm.epochs, "max_steps": 0}
    settings = Settings.from_dict(given | more)
    if cell.arm.sum_of_rates is None:
        return settings
    steps = steps_of(settings, cell.rows)
    unit = math.fsum(rates(1.0, steps.total, steps.warmup, settings.lr_scheduler_type))
    rate = cell.arm.sum_of_rates / unit if unit > 0 else settings.learning_rate
    return Settings.from_dict(given | more | {"learning_rate": rate})


def folder_name(cell: Cell, identity: str, key: str) -> str:
    """What its adapter is called wherever adapters lie: who, how much, how, and a few digits that tell it from all others."""
    made = cell.trained
    assert made is not None and made.arm is not None and made.recipe is not None
    parts = [identity, f"{made.style}{made.dose}", f"in{made.background}" if made.background else "", made.arm.label]
    parts += [made.recipe.label, f"s{made.seed}"]
    head = re.sub(r"[^\w.]+", "-", "-".join(filter(None, parts)))
    return f"{head[:70]}-{key[:8]}"  # the digits whole, however long the names are: two cells in one folder would be one


def describe(cell: Cell) -> Mapping[str, Any]:
    """What a table says of a cell, as plain data."""
    made = cell.trained
    plain: dict[str, Any] = {"label": cell.label, "kind": cell.kind, "series": cell.series, "dose": cell.dose, "seed": cell.seed}
    if made is None:
        return plain | {"steps": None, "sum_of_rates": None}
    settings, about = training_values(made), made.about()
    steps = steps_of(settings, made.rows)
    rate = math.fsum(rates(settings.learning_rate, steps.total, steps.warmup, settings.lr_scheduler_type))
    return plain | {
        "style": made.style, "distinct": about.distinct, "background": made.background, "share": about.share,
        "arm": made.arm and made.arm.label, "recipe": made.recipe and made.recipe.label,
        "steps": steps.total, "warmup": steps.warmup, "sum_of_rates": rate, "learning_rate": settings.learning_rate,
    }  # fmt: skip
