"""A plan read from a file: whole, before anything starts, with everything that is wrong told at once, each with its line."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import identities
from common import outside, reading
from common.errors import UserError, nearest
from experiments import finder, lines as yaml_lines
from experiments.cells import Cell, count_at_most, describe, expand
from experiments.lines import Problem, line_of
from experiments.plan import BASE, CELLS, DECIDED, Arm, Find, Model, Part, Plan, Probes, Prompt, Recipe, Style
from identities import IdentityError
from probes import questions
from tuning.dataset.recipe import GENERAL
from tuning.train.presets import PRESETS
from tuning.train.settings import Settings, convert, value_problems

PARTS: dict[str, type[Part]] = {
    "styles": Style, "arms": Arm, "recipes": Recipe, "models": Model, "prompts": Prompt, "probes": Probes, "find": Find,
}  # fmt: skip
SHORT = {"styles": "kind", "recipes": "preset", "prompts": "identity"}  # a word alone in such a list is this key's
MOST_CELLS = 2000  # a few words can say millions
SPLIT = ("probes.sets",)  # texts with commas


class PlanError(UserError):
    """All that is wrong with a plan; its text has one line per problem. problems: the same with their lines."""

    def __init__(self, problems: Sequence[Problem], where: str = "the plan") -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(f"{where}, line {one.line}: {one.text}" for one in self.problems))


class _BrokenError(UserError):
    pass


def read_file(path: str | Path, identities_dir: str | Path | None = None) -> Plan:
    """Raises PlanError with all problems, each with its line."""
    try:
        text = reading.read_text(path, "plan", _BrokenError)
    except _BrokenError as error:
        raise UnreadableError(str(error)) from None
    return read(text, Path(path).name, identities_dir)


def read(text: str, where: str = "the plan", identities_dir: str | Path | None = None) -> Plan:
    """The plan that a text says. Raises PlanError."""
    try:
        plain, lines, problems = yaml_lines.read(text, where, _BrokenError)
    except _BrokenError as error:
        raise UnreadableError(str(error)) from None
    if not isinstance(plain, dict):
        raise PlanError([Problem(1, "a plan is a mapping of keys such as name, identity and doses.")], where)
    plain = _written_out(plain)
    faults = outside.faults(Plan, plain)
    problems += [Problem(line_of(lines, path), _sentence(path, fault)) for path, fault in faults.items()]
    problems += [Problem(line_of(lines, path), said) for path, said in _meaning_problems(_sound(plain, faults), identities_dir)]
    if not any(plain.get(key) for key in ("doses", "models", "prompts")):
        problems.append(Problem(1, "nothing is to be made or asked; give doses, models or prompts."))
    if not problems:
        plan = Plan(**plain)
        problems += [Problem(line_of(lines, path), said) for path, said in _cell_problems(plan)]
    if problems:
        raise PlanError(problems, where)
    return plan


class UnreadableError(PlanError):
    """A text that is no YAML at all."""

    def __init__(self, sentence: str) -> None:
        UserError.__init__(self, sentence)
        digits = sentence.partition(", line ")[2].split(" ")[0].rstrip(":")
        self.problems = (Problem(int(digits) if digits.isdecimal() else 1, sentence),)


def problems_of(text: str, identities_dir: str | Path | None = None) -> tuple[Problem, ...]:
    """Everything that is wrong with a plan's text, in the order of its lines; empty for one that can be run."""
    try:
        read(text, identities_dir=identities_dir)
    except PlanError as error:
        return error.problems
    return ()


def _written_out(plain: Mapping[Any, Any]) -> dict[str, Any]:
    """Short forms as what they stand for."""
    found: dict[str, Any] = _keys_as_text(plain)
    for key, field in SHORT.items():
        if isinstance(found.get(key), list):
            found[key] = [{field: one} if isinstance(one, str) else one for one in found[key]]
    probes = found.get("probes")
    if isinstance(probes, str | list):
        probes = {"sets": probes}
    if isinstance(probes, dict):
        sets = probes.get("sets")
        found["probes"] = probes | ({"sets": [one.strip() for one in sets.split(",")]} if isinstance(sets, str) else {})
    return found


def _keys_as_text(value: Any) -> Any:
    """YAML takes `on`, `no` or 1 for a truth or a number, also where they are keys."""
    if isinstance(value, Mapping):
        return {str(key): _keys_as_text(one) for key, one in value.items()}
    return [_keys_as_text(one) for one in value] if isinstance(value, list) else value


def _sound(plain: Mapping[str, Any], faults: Mapping[str, str]) -> dict[str, Any]:
    """What has the right type: without the values that have not, or the whole list where one of its own items has not."""
    found = copy.deepcopy(dict(plain))
    for path, fault in faults.items():
        *before, last = path.split(".")
        around: Any = found
        for part in before:  # of a key with a dot in it the path leads nowhere
            if isinstance(around, list):
                around = around[int(part)] if part.isdecimal() and int(part) < len(around) else None
            else:
                around = around.get(part) if isinstance(around, dict) else None
        if isinstance(around, dict) and fault != "is missing" and not (before and _is_needed(before[0], last)):
            around.pop(last, None)
        else:
            found.pop((before or [last])[0], None)
    return found


def _is_needed(part: str, name: str) -> bool:
    """Whether an item of a part of the plan is none without it."""
    field = PARTS[part].model_fields.get(name) if part in PARTS else None
    return field is not None and field.is_required()


def _sentence(path: str, fault: str) -> str:
    """A fault of pydantic's, with the nearest known key for one that is not known."""
    if fault == "is missing":
        return f"{path} is missing; add it."
    if " (String should match pattern" in fault:
        said = fault.partition(" (String should match pattern")[0]
        return f"{path} {said}; a name is made of letters, digits, spaces and . , + -, and begins with a letter or a digit."
    if fault != "is not known":
        return f"{path} {fault}."
    around, _, name = path.rpartition(".")
    known = list((PARTS.get(around.split(".")[0]) or Plan).model_fields if around else Plan.model_fields)
    close = nearest(name, known)
    return f"{path} is not known; " + (f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}.")


def _meaning_problems(plain: Mapping[str, Any], folder: str | Path | None) -> list[tuple[str, str]]:
    """(path, sentence) of values that have the right type and mean nothing. plain: keys whose types are sound."""
    found: list[tuple[str, str]] = []
    for key in ("identity", "old"):
        if key in plain:
            found += _identity_problems(key, plain[key], plain.get("langs", identities.LANGS), folder)
    if "identity" in plain and plain["identity"] == plain.get("old", identities.DEFAULT_OLD):
        found.append(("identity", f"identity and old are both {plain['identity']}; the new self has to be another one."))
    for key in ("doses", "backgrounds", "seeds", "langs"):
        found += _twice(key, plain.get(key, ()))
    found += _named_twice("styles", [Style(**one).label for one in plain.get("styles", ())])
    found += _named_twice("arms", [Arm(**one).label for one in plain.get("arms", ())])
    found += _named_twice("recipes", [Recipe(**one).label for one in plain.get("recipes", ())])
    found += _named_twice("models", [one["name"] for one in plain.get("models", ())])
    found += _named_twice("prompts", [Prompt(**one).label for one in plain.get("prompts", ())])
    for at, model in enumerate(plain.get("models", ())):
        if not Model(**model).dose + Model(**model).background:
            found.append(
                (f"models.{at}", f"models.{at} has neither dose nor background: that is the base, which is asked anyway.")
            )
    for at, arm in enumerate(plain.get("arms", ())):
        found += _arm_problems(f"arms.{at}", Arm(**arm), [Recipe(**one).label for one in plain.get("recipes", ({},))])
    for at, recipe in enumerate(plain.get("recipes", ())):
        found += _recipe_problems(f"recipes.{at}", Recipe(**recipe))
    if "prompts" in plain:
        found += _prompt_problems(plain, folder)
    if "find" in plain:
        found += _find_problems(Find(**plain["find"]))
    if "probes" in plain:
        found += _probe_problems(Probes(**plain["probes"]))
    return found + _background_problems(plain)


def _identity_problems(key: str, name: str, langs: Sequence[str], folder: str | Path | None) -> list[tuple[str, str]]:
    """An identity with facts in every language of the plan."""
    if unknown := _unknown_identity(key, name, folder):
        return unknown
    try:
        facts = identities.load(name, folder).facts
    except IdentityError as error:
        return [(key, f"{key}: {error}")]
    if facts is None:
        return [(key, f"{key} {name} has no facts; write its name, maker, role and date into {name}.yaml.")]
    lost = [lang for lang in langs if lang not in facts.by_lang] if key == "identity" else []
    return [(key, f"{key} {name} has no facts in {', '.join(lost)}; add them, or leave {', '.join(lost)} out of langs.")] * bool(
        lost
    )


def _unknown_identity(path: str, name: str, folder: str | Path | None) -> list[tuple[str, str]]:
    known = identities.names(folder)
    if name in known:
        return []
    close = nearest(name, known)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}."
    return [(path, f"there is no identity {name!r}; {hint}")]


def _promptless(path: str, name: str, folder: str | Path | None) -> list[tuple[str, str]]:
    try:
        prompt = identities.load(name, folder).prompt
    except IdentityError as error:
        return [(path, f"{path}: {error}")]
    return [] if prompt else [(path, f"identity {name} has no prompt; write one into {name}.txt, or name another.")]


def _twice(key: str, values: Sequence[Any]) -> list[tuple[str, str]]:
    return [(f"{key}.{at}", f"{key} has {one} twice; keep one.") for at, one in enumerate(values) if one in values[:at]]


def _named_twice(key: str, labels: Sequence[str]) -> list[tuple[str, str]]:
    return [
        (f"{key}.{at}", f"two of {key} are called {label!r}; give one of them another name.")
        for at, label in enumerate(labels)
        if label in labels[:at]
    ]


def _arm_problems(path: str, arm: Arm, recipes: Sequence[str]) -> list[tuple[str, str]]:
    found = []
    for at, name in enumerate(arm.recipes):
        if name not in recipes:
            close = nearest(name, recipes)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(recipes)}."
            found.append((f"{path}.recipes.{at}", f"{path}.recipes names {name!r}; {hint}"))
    if (arm.epochs is None) == (arm.steps is None):
        found.append((path, f"{path} needs either epochs or steps."))
    if arm.sum_of_rates is not None and arm.steps is None:
        found.append((f"{path}.sum_of_rates", f"{path}.sum_of_rates needs steps: with epochs the sum grows with the dose."))
    return found


def _recipe_problems(path: str, recipe: Recipe) -> list[tuple[str, str]]:
    if recipe.preset not in PRESETS:
        close = nearest(recipe.preset, PRESETS)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(PRESETS)}."
        return [(f"{path}.preset", f"there is no preset {recipe.preset!r}; {hint}")]
    found = []
    for name, value in recipe.settings.items():
        where = f"{path}.settings.{name}"
        if name in DECIDED:
            found.append((where, f"{where} is not for a recipe to say; that stands under {DECIDED[name]}."))
        elif name not in Settings.__dataclass_fields__:
            close = nearest(name, set(Settings.__dataclass_fields__) - set(DECIDED))
            hint = f"did you mean {close[0]}?" if close else "`python -m tuning.train --help` lists the settings."
            found.append((where, f"{where} is not known; {hint}"))
        else:
            try:
                found += [(where, f"{where}: {one}") for one in value_problems(name, convert(name, value))]
            except ValueError as wanted:
                found.append((where, f"{where} is {outside.abbreviate(value)}; {wanted}."))
    return found or _together_problems(path, recipe)


def _together_problems(path: str, recipe: Recipe) -> list[tuple[str, str]]:
    """What is wrong with the settings of a recipe beside each other."""
    try:
        Settings.from_dict(recipe.values | {"data_path": "rows.jsonl", "output_dir": "out", "identity": "x"})
    except UserError as error:
        return [(path, f"{path}: {line}") for line in getattr(error, "problems", (str(error),))]
    return []


def _find_problems(find: Find) -> list[tuple[str, str]]:
    """Of the search's own settings; its doses are looked at when it is asked for."""
    try:
        finder.check(finder.settings_from(find, (1, 2), identities.LANGS))
    except UserError as error:
        return [("find", f"find: {error}")]
    return []


def _prompt_problems(plain: Mapping[str, Any], folder: str | Path | None) -> list[tuple[str, str]]:
    found = []
    models = [one["name"] for one in plain.get("models", ()) if isinstance(one, dict) and "name" in one]
    for at, one in enumerate(plain["prompts"]):
        prompt, path = Prompt(**one), f"prompts.{at}"
        unknown = _unknown_identity(f"{path}.identity", prompt.identity, folder)
        found += unknown or _promptless(f"{path}.identity", prompt.identity, folder)
        for number, who in enumerate(prompt.given_to):
            if who not in (BASE, CELLS, *models):
                close = nearest(who, (BASE, CELLS, *models))
                hint = f"did you mean {close[0]}?" if close else f"it is {BASE}, {CELLS} or the name of a model."
                found.append((f"{path}.given_to.{number}", f"{path}.given_to names {who!r}; {hint}"))
    return found


def _probe_problems(probes: Probes) -> list[tuple[str, str]]:
    found = []
    for at, name in enumerate(probes.sets):
        try:
            questions.load(name)
        except UserError as error:
            close = nearest(name, questions.set_names())
            hint = f" Did you mean {close[0]}?" if close and name not in questions.set_names() else ""
            found += [(f"probes.sets.{at}", f"{line}{hint}") for line in str(error).split("\n")]
    return found


def _background_problems(plain: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Whether there are general rows where they are asked for."""
    wanted = [*plain.get("backgrounds", ()), *(one.get("background", 0) for one in plain.get("models", ()))]
    try:
        file = outside.typed_path(plain.get("general") or GENERAL, _BrokenError)
    except _BrokenError as error:
        return [("general", f"general: {error}")]
    if any(wanted) and not file.is_file():
        return [("general", f"general {file} is no file; name one of general rows, or take the backgrounds away.")]
    return []


def _cell_problems(plan: Plan) -> list[tuple[str, str]]:
    """What shows only once the plan is written out."""
    if (cells := count_at_most(plan)) > MOST_CELLS:
        return [("", f"the plan has {cells:,} cells, and {MOST_CELLS:,} are allowed; take fewer doses, seeds, arms or recipes.")]
    made = expand(plan, all_of_them=True)
    labels = [cell.label for cell in made]
    trained = [cell for cell in made if cell.kind == "trained"]
    kinds = {(cell.arm and cell.arm.label, cell.recipe and cell.recipe.label, cell.rows): cell for cell in reversed(trained)}
    found = [("", said) for said in map(_unmakeable, kinds.values()) if said]
    found += [("", f"two cells are called {label!r}; give models, arms or recipes other names.") for label in _doubles(labels)]
    for at, name in enumerate(plan.leave_out):
        if name not in labels:
            close = nearest(name, labels)
            hint = f"did you mean {close[0]!r}?" if close else "--dry-run lists the cells."
            found.append((f"leave_out.{at}", f"leave_out names {name!r}, which is no cell; {hint}"))
    return found


def _unmakeable(cell: Cell) -> str:
    """Why its settings do not go together with its rows; "" where they do."""
    try:
        describe(cell)
    except UserError as error:
        return f"{cell.label}: {error}"
    return ""


def _doubles(labels: Sequence[str]) -> list[str]:
    return sorted(label for label, times in Counter(labels).items() if times > 1)
