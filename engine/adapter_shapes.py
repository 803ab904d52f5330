"""What an adapter's two JSON files have to look like: PEFT's configuration, and the card that says how it was trained.

What decides how an adapter computes and in which prompt it is asked has to be right, or the adapter is refused. What a card
only tells people is left out where it is wrong, and that is said beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, Field, FiniteFloat

from common import outside
from common.outside import Shape
from engine.checkpoint import refuse_seeming
from engine.entries import RANK
from engine.types import EngineError

CARD = "card.json"
LARGEST_LAYER = 2**20  # a number no model has layers of
Count = Annotated[int, Field(ge=0, lt=2**53)]  # a browser counts no further
Name = Annotated[str, Field(max_length=4096)]
Prose = Annotated[str, Field(max_length=65_536)]
Figure: TypeAlias = FiniteFloat | None


def check_texts(value: Any) -> Any:
    texts = value if isinstance(value, list) else [value]
    if value is not None and not all(isinstance(text, str) for text in texts):
        raise ValueError("a text or a list of texts")
    return value


def check_layers(value: Any) -> Any:
    numbers = value if isinstance(value, list) else [value]
    if value is not None and not all(type(one) is int and 0 <= one < LARGEST_LAYER for one in numbers):
        raise ValueError("a whole number or a list of them")
    return value


def check_initialisation(value: Any) -> Any:
    if value is not None and not isinstance(value, bool | str):
        raise ValueError("true, false or a text")
    return value


Texts = Annotated[Any, AfterValidator(check_texts)]


class Config(Shape):
    """adapter_config.json, as far as it is computed with. The rest PEFT reads."""

    peft_type: str | None = None
    task_type: str | None = None
    base_model_name_or_path: Name | None = None
    r: Annotated[int, Field(ge=1, le=RANK)] = 8
    lora_alpha: FiniteFloat = 8
    lora_dropout: FiniteFloat | None = 0.0
    bias: str | None = "none"
    fan_in_fan_out: bool | None = False
    inference_mode: bool | None = True
    use_rslora: bool | None = False
    use_dora: bool | None = False
    lora_bias: bool | None = False
    rank_pattern: dict[str, Annotated[int, Field(ge=1, le=RANK)]] | None = None
    alpha_pattern: dict[str, FiniteFloat] | None = None
    target_modules: Texts = None
    exclude_modules: Texts = None
    modules_to_save: Texts = None
    layers_pattern: Texts = None
    target_parameters: Texts = None
    layers_to_transform: Annotated[Any, AfterValidator(check_layers)] = None
    init_lora_weights: Annotated[Any, AfterValidator(check_initialisation)] = True


class Data(Shape):
    source: Name | None = None
    rows: Count | None = None
    identity_rows: Count | None = None
    distinct: Count | None = None
    share: Figure = None


class Losses(Shape):
    first: Figure = None
    last: Figure = None
    lowest: Figure = None
    validation: list[Annotated[list[Figure], Field(min_length=2, max_length=2)]] | None = None


class Arguments(Shape):
    learning_rate: Figure = None
    lora_r: Count | None = None
    seed: Count | None = None


class Card(Shape):
    """card.json. All of it may be missing."""

    name: Name | None = None
    base: Name | None = None
    base_hash: Name | None = None
    hash: Name | None = None
    format: Name | None = None
    format_hash: Name | None = None
    format_template: Prose | None = None
    format_stop: Annotated[list[Annotated[str, Field(min_length=1, max_length=1000)]], Field(max_length=100)] | None = None
    format_adds_special_tokens: bool | None = None
    identity: Name | None = None
    created: Name | None = None
    steps: Count | None = None
    exposures: Count | None = None
    seed: Count | None = None
    data: Data | None = None
    losses: Losses | None = None
    arguments: Arguments | None = None


# whose adapter it is, and in which prompt it is asked
DECISIVE = ("base", "base_hash", "format", "format_hash", "format_template", "format_stop", "format_adds_special_tokens")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file beside weights; NaN, as a failed training writes it, is None. Raises EngineError."""
    refuse_seeming([file])
    plain = outside.read_json(file, EngineError, gaps=True)
    if not isinstance(plain, dict):
        raise EngineError(f"{file} holds {type(plain).__name__}, a JSON object is expected.")
    return plain


def read_card(file: Path) -> tuple[dict[str, Any], str]:
    """The card's fields that are what they should be, and a sentence on those that are not, "" if all are.

    ({}, "") if there is no card. Raises EngineError for a file that holds no object, or for a fault in a DECISIVE field.
    """
    if not file.is_file():
        return {}, ""
    plain = read_json(file)
    wrong = outside.faults(Card, plain)
    odd = {field.partition(".")[0] for field in wrong}
    advice = "correct the card, or take it out of the folder"
    if decisive := {field: what for field, what in wrong.items() if field.partition(".")[0] in DECISIVE}:
        raise EngineError(f"{outside.display_name(file)}: {outside.describe_faults(decisive)}; {advice}.")
    problem = f"{outside.display_name(file)}: {outside.describe_faults(wrong)}; this is left out: {advice}." if wrong else ""
    return {field: value for field, value in plain.items() if field not in odd}, problem


def check_config(file: Path, plain: dict[str, Any]) -> None:
    """Raises EngineError for a configuration with values of other kinds than PEFT's."""
    if wrong := outside.faults(Config, plain):
        raise EngineError(
            f"{outside.display_name(file)} is not a LoRA configuration: {outside.describe_faults(wrong)}; get the adapter again."
        )
