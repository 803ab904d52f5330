"""The settings of a training run as a command line: a flag for every field."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from common.coming_from import PROGRAMS
from tuning.train.settings import Settings, SettingsError, field_type, is_switch, read_values, unknown_flag


def parse(arguments: Sequence[str], presets: Mapping[str, Mapping[str, Any]] | None = None) -> Settings:
    """Settings from a command line. Raises SettingsError with all problems of the call at once.

    presets: name -> values that `--preset NAME` puts in place of the defaults; flags win over them.
    """
    presets = presets or {}
    given, unknown = command_line(presets).parse_known_args(list(arguments))
    values = {key: value for key, value in vars(given).items() if value is not None}
    # the value of an unknown flag is no complaint of its own
    problems = [unknown_flag(word) for at, word in enumerate(unknown) if word.startswith("-") or not at]
    chosen = values.pop("preset", None)
    if chosen is not None and chosen not in presets:
        problems.append(f"--preset {chosen} is unknown; choose one of {', '.join(presets)}.")
    settings, wrong = read_values(values, presets.get(chosen, {}))
    problems += wrong + settings.problems()
    if problems:
        raise SettingsError(problems)
    return settings


class Parser(argparse.ArgumentParser):
    """argparse, but its own complaint is one of ours."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError([f"{message[0].upper()}{message[1:]}."])


def command_line(presets: Mapping[str, Any]) -> argparse.ArgumentParser:
    """The parser made from the fields. Values stay texts: `read_values` converts them and keeps all complaints."""
    parser = Parser(
        prog="python -m tuning.train", allow_abbrev=False, description="Teach a base model an identity: LoRA fine-tuning."
    )
    if presets:
        parser.add_argument("--preset", metavar="NAME", help=f"a known recipe: {', '.join(presets)}")
    others = ", ".join(name for name, program in PROGRAMS.items() if program.defaults)
    parser.add_argument("--defaults", metavar="NAME", help=f"what another program does where nothing is said: {others}")
    groups: dict[str, Any] = {}
    for one in dataclasses.fields(Settings):
        title = one.metadata["group"]
        group = groups.setdefault(title, parser.add_argument_group(title))
        shown = one.metadata["help"].replace("%", "%%") + ("" if one.default in ("", None) else f" [{format_value(one.default)}]")
        names = list(dict.fromkeys((f"--{one.name}", f"--{one.name.replace('_', '-')}")))
        if is_switch(one.name):
            group.add_argument(*names, dest=one.name, nargs="?", const="true", metavar="True|False", help=shown)
            no = (f"--no-{one.name.replace('_', '-')}", f"--no{one.name}")  # the second is fire's, in which alpaca-lora is called
            group.add_argument(*no, dest=one.name, action="store_const", const="false", help=argparse.SUPPRESS)
        elif one.name == "lora_target_modules":
            group.add_argument(*names, dest=one.name, nargs="+", metavar="NAME", help=shown)
        else:
            word = field_type(one.name).__name__.upper().replace("STR", "TEXT")
            group.add_argument(*names, dest=one.name, metavar=word, help=shown)
    return parser


def format_value(value: Any) -> str:
    """A value as `--help` shows it."""
    return ",".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)
