"""pydantic, where it is not installed: the engine checks with it what comes from outside, and here nothing does.

`python -m bench.gpu` is to run beside whatever torch, transformers and PEFT a machine with a GPU has, and those do not bring
pydantic. Every file that the benchmark reads it has written itself, so its checks may be left out; the results say so.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from types import ModuleType
from typing import Any


class Unchecked:
    """In the place of BaseModel: a class that only names fields."""

    model_config: Any = None


class Adapter:
    """In the place of TypeAdapter: whatever it is given is taken."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape

    def validate_python(self, plain: Any) -> Any:
        return plain


def from_json(raw: str | bytes, **_how: object) -> Any:
    return json.loads(raw)


def nothing(*_args: object, **_named: object) -> None:
    return None


def take_place() -> bool:
    """Whether pydantic is missing; then its names are there from now on and check nothing."""
    if importlib.util.find_spec("pydantic") and importlib.util.find_spec("pydantic_core"):
        return False
    shapes, core = ModuleType("pydantic"), ModuleType("pydantic_core")
    names = {
        "BaseModel": Unchecked,
        "TypeAdapter": Adapter,
        "ValidationError": type("ValidationError", (ValueError,), {}),
        "ConfigDict": dict,
        "FiniteFloat": float,
        "Field": nothing,
        "AfterValidator": nothing,
    }
    shapes.__dict__.update(names)
    core.from_json = from_json
    sys.modules |= {"pydantic": shapes, "pydantic_core": core}
    return True
