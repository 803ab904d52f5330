"""A training as alpaca-lora, ChatGLM-Efficient-Tuning and data-efficient-training are called: their flags, their defaults."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from common import coming_from
from common.coming_from import PROGRAMS, TRAIN, Call, key
from tuning.train.command_line import command_line, parse
from tuning.train.presets import PRESETS
from tuning.train.settings import Settings, SettingsError

# a default of theirs that is not taken where one of these is given
INSTEAD = {
    "--data_path": ("train_dir", "dataset"),
    "--val_set_size": ("valid_dir",),
    "--warmup_steps": ("warmup_ratio",),
    "--micro_batch_size": ("batch_size",),
}
LONGEST = 512  # tokens: --max_source_length and --max_target_length where only one of them is given


def read(arguments: Sequence[str], say: Callable[[str], None]) -> Settings:
    """The settings of a call in our flags or theirs; what theirs are taken as is said. Raises SettingsError with all problems."""
    call = ours(arguments)
    for line in call.said:
        say(line)
    try:
        settings = parse(call.words, PRESETS)
    except SettingsError as error:
        raise SettingsError([*call.problems, *error.problems]) from None
    if call.problems:
        raise SettingsError(call.problems)
    return settings


def ours(arguments: Sequence[str]) -> Call:
    """The call in our flags alone, `--defaults NAME` filled in."""
    call = coming_from.translate(arguments, TRAIN, command_line(PRESETS))
    count_rows(call)
    count_tokens(call)
    names = take_out(call.words, "--defaults")
    if names:
        fill_in(call, names[-1])
    return call


def count_rows(call: Call) -> None:
    """--batch_size from rows per device and accumulated passes, as the others count."""
    passes = next((name for name in call.of_all if "accumulation" in name), None)
    per_device = next((name for name in call.of_all if "batch_size" in name), None)
    if not passes and not per_device:
        return
    both = [call.of_all[per_device]] if per_device else take_out(call.words, "--batch_size")
    if not both:
        call.problems.append(f"{passes} needs the rows per device; name them with --per_device_train_batch_size or --batch_size.")
        return
    numbers = {per_device or "--batch_size": both[-1], **({passes: call.of_all[passes]} if passes else {})}
    wrong = [f"{name} is {value}; give a whole number above 0." for name, value in numbers.items() if not is_count(value)]
    call.problems += wrong
    if wrong:
        return
    devices, total = int(os.environ.get("WORLD_SIZE", 1)), 1
    for value in numbers.values():
        total *= int(value)
    call.words += ["--batch_size", str(total * devices)]
    shown = " and ".join(f"{name} {value}" for name, value in numbers.items())
    on = f", on {devices} devices" if devices > 1 else ", on one device"
    call.said.append(f"{shown}{on}, {'are' if passes else 'is'} taken as --batch_size {total * devices}, the rows of a step.")


def count_tokens(call: Call) -> None:
    """--cutoff_len from the longest question and the longest answer."""
    names = ("--max_source_length", "--max_target_length")
    given = {name: call.of_all[name] for name in names if name in call.of_all}
    if not given:
        return
    if wrong := [f"{name} is {value}; give a whole number above 0." for name, value in given.items() if not is_count(value)]:
        call.problems += wrong
        return
    total = sum(int(given.get(name, LONGEST)) for name in names)
    call.words += ["--cutoff_len", str(total)]
    call.said.append(f"{' and '.join(given)} taken as --cutoff_len {total}: question and answer are cut together.")


def fill_in(call: Call, name: str) -> None:
    """What another program does where nothing is said, in place of our own defaults."""
    known = [one for one, program in PROGRAMS.items() if program.defaults]
    if name not in known:
        call.problems.append(f"--defaults {name} is unknown; choose one of {', '.join(known)}.")
        return
    given = {key(word.partition("=")[0]) for word in call.words if word.startswith("--")}
    given |= {one.removeprefix("no").removeprefix("_") for one in given}
    if "preset" in given:
        call.problems.append(f"--defaults {name} and --preset are both given; keep one of them.")
    taken = {
        flag: value
        for flag, value in PROGRAMS[name].defaults.items()
        if key(flag) not in given and not given.intersection(INSTEAD.get(flag, ()))
    }
    if "%" in taken.get("--output_dir", ""):
        taken["--output_dir"] = time.strftime(taken["--output_dir"])
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            call.problems.append("--output_dir is missing; several processes need one name for the folder.")
    call.words = [*(word for pair in taken.items() for word in pair), *call.words]
    listed = ", ".join(f"{flag} {value}" for flag, value in taken.items())
    call.said.append(f"Defaults of {PROGRAMS[name].work}, {PROGRAMS[name].theirs}: {listed or 'none, all of them are given'}.")


def take_out(words: list[str], flag: str) -> list[str]:
    """The values of a flag, which is no longer in `words` then."""
    values, at = [], 0
    while at < len(words):
        name, equals, value = words[at].partition("=")
        if name != flag:
            at += 1
        elif equals or at + 1 == len(words):
            values.append(value)
            del words[at]
        else:
            values.append(words[at + 1])
            del words[at : at + 2]
    return values


def is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0
