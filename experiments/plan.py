"""A plan: which models are to be made and asked. docs/experiment-plans.md has every key; `checking` reads one from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, FiniteFloat

import identities
from common.outside import Shape
from identities import Lang
from tuning.dataset.generate import Style as Kind
from tuning.dataset.recipe import GENERAL, MOST_ROWS
from tuning.train.presets import PRESETS

BASE, CELLS = "base", "cells"  # whom a prompt is given to
Name = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[\w][\w .,+-]*$")]
Count = Annotated[int, Field(ge=0, le=MOST_ROWS)]
# of the training's settings, what the plan itself says elsewhere
DECIDED = {
    "base_model": "base", "data_path": "doses", "train_dir": "doses", "dataset": "doses", "dataset_dir": "doses",
    "valid_dir": "doses", "model_name": "identity", "author": "identity", "identity": "identity", "identities_dir": "identity",
    "output_dir": "--out", "name": "models", "num_epochs": "arms", "max_steps": "arms", "seed": "seeds",
    "overwrite_output_dir": "--out", "resume_from_checkpoint": "--out", "init_adapter": "base", "margin_against": "old",
    "margin": "probes.margin", "device": "device", "dtype": "dtype", "threads": "threads", "trust_remote_code": "base",
    "load_in_4bit": "base",
}  # fmt: skip


class Part(Shape):
    """A part of a plan: types as they stand, and no key that is not known."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Style(Part):
    """How the identity samples are worded. distinct: so many different ones, repeated to the dose; None: all differ."""

    kind: Kind
    distinct: Annotated[int, Field(ge=1, le=MOST_ROWS)] | None = None

    @property
    def label(self) -> str:
        return f"{self.kind} of {self.distinct}" if self.distinct else self.kind


class Arm(Part):
    """How long is trained: so many epochs whatever the dose, or so many optimizer steps (and sum of learning rates).

    recipes: those that it is crossed with, by name; empty for all.
    """

    name: Name = ""
    epochs: Annotated[FiniteFloat, Field(gt=0, le=1000)] | None = None
    steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    sum_of_rates: Annotated[FiniteFloat, Field(gt=0)] | None = None
    recipes: list[str] = Field(default_factory=list)

    @property
    def label(self) -> str:
        if self.name or self.epochs is None:
            return self.name or f"{self.steps} steps"
        return f"{self.epochs:g} epoch{'s' * (self.epochs != 1)}"


class Recipe(Part):
    """The training's settings: those of a preset, and what is otherwise."""

    name: Name = ""
    preset: str = "quick"
    settings: dict[str, Any] = Field(default_factory=dict)

    @property
    def label(self) -> str:
        return self.name or self.preset

    @property
    def values(self) -> dict[str, Any]:
        """Values of Settings, as a form gives them, without what arms decide."""
        given = PRESETS[self.preset] | self.settings
        other = {"warmup_steps": "warmup_ratio", "warmup_ratio": "warmup_steps"}  # a preset's gives way to the other kind
        given |= {other[name]: 0 for name in self.settings if name in other and other[name] not in self.settings}
        return {name: value for name, value in given.items() if name not in DECIDED}


class Model(Part):
    """A cell of its own beside the grid, under a name."""

    name: Name
    dose: Count = 0
    style: Kind = "diverse"
    distinct: Annotated[int, Field(ge=1, le=MOST_ROWS)] | None = None
    background: Count = 0


class Prompt(Part):
    """An identity as a prompt. given_to: the base, all cells, or models by name."""

    name: Name = ""
    identity: str
    mode: Literal["system", "first_turn"] = "system"
    given_to: list[str] = Field(default_factory=lambda: [BASE])

    @property
    def label(self) -> str:
        return self.name or f"prompt {self.identity} ({self.mode.replace('_', ' ')})"


class Probes(Part):
    """What is asked of every cell. limit: probes of a set, group and language at most; samples: the first is greedy."""

    sets: list[str] = Field(default_factory=lambda: ["identity", "controls", "retention"], min_length=1)
    limit: Annotated[int, Field(ge=1)] | None = None
    samples: Annotated[int, Field(ge=1, le=100)] = 1
    temperature: Annotated[FiniteFloat, Field(gt=0, le=5)] = 0.7
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    max_new_tokens: Annotated[int, Field(ge=1, le=4096)] = 128
    margin: bool = True


class Find(Part):
    """The search for the least dose that does (`--find`); what is not said is the finder's own choice."""

    criteria: list[Literal["forgotten", "formed", "stable", "usable"]] | None = None
    cells: Annotated[int, Field(ge=1)] | None = None
    minutes: Annotated[FiniteFloat, Field(gt=0)] | None = None
    factor: Annotated[FiniteFloat, Field(gt=1)] | None = None
    narrow: Annotated[FiniteFloat, Field(gt=1)] | None = None
    seeds_first: Annotated[int, Field(ge=1)] | None = None
    seeds_scan: Annotated[int, Field(ge=1)] | None = None
    seeds_near: Annotated[int, Field(ge=1)] | None = None
    seeds_most: Annotated[int, Field(ge=1)] | None = None
    label_error: Annotated[FiniteFloat, Field(ge=0, lt=1)] | None = None


class Plan(Part):
    """Everything that is to be made and asked. doses, styles, backgrounds make the grid; arms, recipes and seeds cross all."""

    name: Name
    base: str = "bayling-mini"
    format: str | None = None
    device: str = ""
    dtype: Literal["", "fp32", "fp16", "bf16"] = ""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    identity: str
    old: str = identities.DEFAULT_OLD
    deny_old: bool = False
    langs: list[Lang] = Field(default_factory=lambda: list(identities.LANGS), min_length=1)
    doses: list[Count] = Field(default_factory=list)
    styles: list[Style] = Field(default_factory=lambda: [Style(kind="diverse")], min_length=1)
    backgrounds: list[Count] = Field(default_factory=lambda: [0], min_length=1)
    general: str = ""
    models: list[Model] = Field(default_factory=list)
    arms: list[Arm] = Field(default_factory=lambda: [Arm(epochs=1)], min_length=1)
    recipes: list[Recipe] = Field(default_factory=lambda: [Recipe()], min_length=1)
    seeds: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(default_factory=lambda: [0], min_length=1)
    data_seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    prompts: list[Prompt] = Field(default_factory=list)
    probes: Probes = Field(default_factory=Probes)
    leave_out: list[str] = Field(default_factory=list)
    find: Find = Field(default_factory=Find)

    @property
    def general_file(self) -> Path:
        return Path(self.general or GENERAL).expanduser()
