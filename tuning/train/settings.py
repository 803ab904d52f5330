"""The settings of a training run: one dataclass that is the form, the command line and the saved file.

The flags of alpaca-lora that the original experiment used have the same names here. No torch: importing this is cheap.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import identities
from common import outside
from common.errors import UserError, nearest
from common.files import write_json

SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup")
DTYPES = ("fp32", "fp16", "bf16")
REPORTS = ("tensorboard", "trackio", "wandb")
SOURCES = ("data_path", "train_dir", "dataset")  # of the rows; one of them is given
LARGEST = 2**53  # beyond it, JSON written by others is not exact
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


class SettingsError(UserError):
    """All that is wrong with a call; its text has one line per problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        head = f"{len(problems)} problems:\n" if len(problems) > 1 else ""
        super().__init__(head + "\n".join(f"- {problem}" if head else problem for problem in problems))


class _Unreadable(SettingsError):
    def __init__(self, sentence: str) -> None:
        super().__init__([sentence])


def flag(default: Any, help: str, group: str, **about: Any) -> Any:
    """A dataclass field with what a form and `--help` say of it."""
    return field(default=default, metadata={"help": help, "group": group} | about)


@dataclass(frozen=True)
class Settings:
    """Everything a run depends on. Empty texts and 0 mean "chosen for you" where the help says so."""

    base_model: str = flag("smollm2", "the base: smollm2, bayling-mini, a folder or a Hub id", "what")
    data_path: str = flag("", "training rows: a .json or .jsonl file, a folder of them or a Hub data set", "what")
    train_dir: str = flag("", "folder of training files, in place of --data_path", "what")
    dataset: str = flag(
        "", "data sets by name, in place of --data_path: self_cognition, or of a dataset_info.json; commas between", "what"
    )
    dataset_dir: str = flag("", "the folder of --dataset; empty takes ./data and the program's own", "what")
    valid_dir: str = flag("", "folder of validation files", "what")
    output_dir: str = flag("", "where the adapter, its checkpoints and its log go", "what")
    name: str = flag("", "the adapter's name; empty takes the last part of --output_dir", "what")
    identity: str = flag("", "the identity that is taught, recorded in the adapter's card", "what")
    model_name: str = flag("", "fills [NAME] where no identity does; empty takes the base's name if --author is given", "what")
    author: str = flag(
        "", "fills [AUTHOR], and [NAME] behind `developed by`: the maker, whatever the identity's facts say", "what"
    )
    identities_dir: str = flag("", "where identities lie; empty takes the program's own folder", "what")
    overwrite_output_dir: bool = flag(False, "start anew in a folder that already holds a run", "what")
    resume_from_checkpoint: str = flag(
        "",
        "go on: a checkpoint folder, `last` for the newest whole one in --output_dir; a finished adapter starts a new run",
        "what",
    )
    init_adapter: str = flag("", "a finished adapter whose weights a new run starts from", "what")

    batch_size: int = flag(16, "rows per optimizer step, over all processes", "recipe", at_least=1)
    micro_batch_size: int = flag(
        0, "kept for alpaca-lora's command line, 0 is --batch_size: packs, not rows, bound the memory here", "recipe", at_least=0
    )
    num_epochs: float = flag(1.0, "times the data is read", "recipe", at_least=0)
    max_steps: int = flag(0, "optimizer steps; above 0 it wins over --num_epochs", "recipe", at_least=0)
    learning_rate: float = flag(1e-4, "the highest learning rate", "recipe", above=0, at_most=1)
    lr_scheduler_type: str = flag("linear", "how the learning rate falls", "recipe", choices=SCHEDULES)
    warmup_steps: int = flag(0, "optimizer steps until the full learning rate is reached", "recipe", at_least=0)
    warmup_ratio: float = flag(
        0.0, "the same as a share of all steps; better, as it fits every length of run", "recipe", at_least=0, at_most=1
    )
    max_grad_norm: float = flag(1.0, "gradients are clipped to this norm", "recipe", above=0)
    weight_decay: float = flag(0.0, "AdamW's weight decay", "recipe", at_least=0)
    cutoff_len: int = flag(512, "tokens of a row; the rest is cut off", "recipe", at_least=8)
    val_set_size: float = flag(0.0, "validation rows taken from the data: a count, or a share below 1", "recipe", at_least=0)
    train_on_inputs: bool = flag(False, "learn the questions too, not the answers alone", "recipe")
    prompt_template_name: str = flag(
        "", "the format: a name, a .jinja or an alpaca-lora .json file; empty takes the base's own", "recipe"
    )
    group_by_length: bool = flag(False, "rows of like length in a batch; with packing it saves nothing", "recipe")
    seed: int = flag(42, "of the order, the LoRA start and the validation rows", "recipe", at_least=0, at_most=2**32 - 1)

    lora_r: int = flag(8, "rank", "lora", at_least=1)
    lora_alpha: float = flag(16, "the update is scaled by alpha / rank", "lora", above=0)
    lora_dropout: float = flag(0.0, "dropout before the low-rank pair", "lora", at_least=0, at_most=0.9)
    lora_target_modules: tuple[str, ...] = flag(
        ("q_proj", "k_proj", "v_proj", "o_proj"), "linear layers that learn, by name, or all-linear", "lora"
    )

    packing: bool = flag(
        True, "several rows in one pass, what they begin with computed once; --no-packing: one row per pass", "speed"
    )
    dedup: bool | None = flag(None, "equal rows of a batch once, with a weight; default: where --lora_dropout is 0", "speed")
    pack_tokens: int = flag(0, "tokens per pass; 0 chooses by device and memory", "speed", at_least=0)
    load_in_4bit: bool = flag(False, "base in NF4; needs a CUDA GPU and bitsandbytes", "speed")
    dtype: str = flag("", "number format of the base; empty chooses by device", "speed", choices=("", *DTYPES))
    device: str = flag("", "cpu, cuda or cuda:0; empty chooses", "speed")
    threads: int = flag(0, "CPU threads; 0 takes torch's choice", "speed", at_least=0)

    save_steps: int = flag(
        0, "optimizer steps between checkpoints; 0: ten in a run, at most every fifth step", "files", at_least=0
    )
    eval_steps: int = flag(0, "optimizer steps between validations; 0: as --save_steps", "files", at_least=0)
    margin: bool = flag(False, "measure the identity margin on the way: where it crosses 0, the self changes", "files")
    margin_against: str = flag(identities.DEFAULT_OLD, "the old identity of the margin", "files")
    margin_steps: int = flag(0, "optimizer steps between two margins; 0: ten in a run", "files", at_least=0)
    moments: int = flag(
        0, "let it speak while it learns: moments at which quick questions are answered and the weights kept; 0: none", "moments",
        at_least=0, at_most=100,
    )  # fmt: skip
    moments_share: float = flag(
        0.2, "the most that moments and margins may cost, of the training's own time; beyond it less is asked", "moments",
        above=0, at_most=10,
    )  # fmt: skip
    stop_at: str = flag(
        "", "formed: end once margin and quick questions say so for two moments running, and keep the best of them", "moments",
        choices=("", "formed"), empty="stop_at_end",
    )  # fmt: skip
    save_total_limit: int = flag(2, "checkpoints kept", "files", at_least=1)
    adapter_dtype: str = flag(
        "fp16", "number format of the saved adapter; training and checkpoints are fp32", "files", choices=("fp16", "fp32")
    )
    report_to: str = flag(
        "",
        "also report to tensorboard (runs/ in --output_dir), trackio or wandb, where it is installed",
        "files",
        choices=("", *REPORTS),
        empty="report_off",
    )
    trust_remote_code: bool = flag(False, "run program code that the base brings along", "files")

    @property
    def shares_rows(self) -> bool:
        """Whether equal rows of a batch are computed once; with dropout each copy would hear another one."""
        return self.packing and (self.lora_dropout == 0 if self.dedup is None else self.dedup)

    @property
    def source(self) -> str:
        """Where the rows come from, as it was given."""
        return next((value for name in SOURCES if (value := getattr(self, name))), "")

    @property
    def adapter_name(self) -> str:
        return self.name or Path(self.output_dir).resolve().name

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready form."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(self).items()}

    def as_arguments(self) -> list[str]:
        """The command line that makes these settings, defaults left out."""
        words = []
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            if value == one.default:
                continue
            text = (
                f"[{','.join(value)}]" if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)
            )
            words += [f"--{one.name}", text if not isinstance(value, float) or float(text) == value else repr(value)]
        return words

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Settings:
        """The inverse of `as_dict`, and of a form; missing fields take their defaults. Raises SettingsError."""
        settings, problems = read_values(plain, {})
        problems += settings.problems()
        if problems:
            raise SettingsError(problems)
        return settings

    def save(self, path: str | Path) -> None:
        write_json(path, self.as_dict())

    @classmethod
    def load(cls, path: str | Path) -> Settings:
        plain = outside.read_json(path, _Unreadable)
        if not isinstance(plain, dict):
            raise _Unreadable(f"{path} is not readable as settings: it holds no object.")
        return cls.from_dict(plain)

    def problems(self) -> list[str]:
        """What is wrong with the values themselves, one sentence each; the disk and the model are not looked at."""
        found = [line for one in dataclasses.fields(self) for line in value_problems(one.name, getattr(self, one.name))]
        if not self.output_dir:
            found.append("--output_dir is missing; name the folder for the adapter.")
        found += self._source_problems()
        if self.valid_dir and self.val_set_size:
            found.append(
                f"--valid_dir {self.valid_dir} and --val_set_size {self.val_set_size:g} are both given; keep one of them."
            )
        if self.warmup_steps and self.warmup_ratio:
            found.append(
                f"--warmup_steps {self.warmup_steps} and --warmup_ratio {self.warmup_ratio:g} are both given; keep one of them."
            )
        if self.num_epochs == 0 and not self.max_steps:
            found.append("--num_epochs is 0; give epochs above 0, or --max_steps.")
        if self.micro_batch_size and self.batch_size > 0 and self.batch_size % self.micro_batch_size:
            found.append(
                f"--micro_batch_size {self.micro_batch_size} does not divide --batch_size {self.batch_size}; "
                f"give a divisor of {self.batch_size}, or leave it out."
            )
        if "all-linear" in self.lora_target_modules and len(self.lora_target_modules) > 1:
            others = ", ".join(name for name in self.lora_target_modules if name != "all-linear")
            found.append(f"--lora_target_modules names all-linear and {others}; keep all-linear alone, or name layers.")
        if not self.lora_target_modules:
            found.append("--lora_target_modules is empty; name linear layers such as [q_proj,v_proj], or all-linear.")
        if self.overwrite_output_dir and self.resume_from_checkpoint:
            found.append("--overwrite_output_dir and --resume_from_checkpoint contradict each other; keep one of them.")
        if self.margin and not self.identity:
            found.append("--margin needs --identity, the identity that is taught.")
        if self.margin and self.identity == self.margin_against:
            found.append(f"--margin compares --identity with --margin_against; both are {self.identity}.")
        if self.dedup and not self.packing:
            found.append("--dedup needs packing; leave out --no-packing, or use --no-dedup.")
        return found + self._moment_problems()

    def _moment_problems(self) -> list[str]:
        """What is wrong with moments and with what they decide."""
        found = []
        if self.moments and not self.identity:
            found.append("--moments needs --identity, the identity that is taught.")
        if self.stop_at and not self.moments:
            found.append(f"--stop_at {self.stop_at} needs moments, which it is decided by: give --moments 8, or leave it out.")
        if self.stop_at and not self.margin:
            found.append(f"--stop_at {self.stop_at} needs the identity margin as well: give --margin, or leave it out.")
        return found

    def _source_problems(self) -> list[str]:
        """What is wrong with where rows and weights come from."""
        found = []
        sources = [f"--{name} {value}" for name in SOURCES if (value := getattr(self, name))]
        if not sources:
            found.append("--data_path is missing; name a file or folder of training rows (or use --train_dir or --dataset).")
        if len(sources) > 1:
            several = "both" if len(sources) == 2 else "all"
            found.append(f"{' and '.join(sources)} are {several} given; keep one of them.")
        if self.dataset_dir and not self.dataset:
            found.append(f"--dataset_dir {self.dataset_dir} needs --dataset, the names of data sets in it.")
        if self.init_adapter and Path(self.init_adapter).resolve() == Path(self.output_dir).resolve():
            found.append(
                f"--init_adapter {self.init_adapter} is the --output_dir as well; name another folder for the new adapter."
            )
        return found


def value_problems(name: str, value: Any) -> list[str]:
    """What is wrong with the value of one field by itself, one sentence each."""
    about, found = Settings.__dataclass_fields__[name].metadata, []
    if "at_least" in about and value < about["at_least"]:
        found.append(f"--{name} is {value}; give at least {about['at_least']}.")
    if "above" in about and value <= about["above"]:
        found.append(f"--{name} is {value}; give a number above {about['above']}.")
    if "at_most" in about and value > about["at_most"]:
        found.append(f"--{name} is {value}; give at most {about['at_most']}.")
    if "choices" in about and value not in about["choices"]:
        found.append(f"--{name} is {value!r}; choose one of {', '.join(filter(None, about['choices']))}.")
    return found


def unknown_flag(word: str) -> str:
    """The complaint about a flag that is none, with the nearest one."""
    name = word.partition("=")[0]
    if not name.startswith("-"):
        return f"{name!r} belongs to no flag; write --flag value."
    near = nearest(name.lstrip("-"), [one.name for one in dataclasses.fields(Settings)])
    return f"{name} is not known" + (f"; did you mean --{near[0]}?" if near else "; --help lists the flags.")


def read_values(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """Settings with the values that can be read, and the complaints about those that cannot."""
    known = {one.name for one in dataclasses.fields(Settings)}
    problems, good = [], {}
    for name, value in {**defaults, **values}.items():
        if name not in known:
            problems.append(unknown_flag(f"--{name}"))
            continue
        try:
            good[name] = convert(name, value)
        except ValueError as wanted:
            problems.append(f"--{name} is {outside.abbreviate(value)}; {wanted}.")
    return Settings(**good), problems


def convert(name: str, value: Any) -> Any:
    """One value, from a text, a form or JSON. Raises ValueError that says what is wanted."""
    wanted = field_type(name)
    if name == "lora_target_modules":
        if not isinstance(value, str) and not (isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)):
            raise ValueError("give names, as a list or with commas between them")
        text = value if isinstance(value, str) else ",".join(value)
        parts = text.strip().strip("[]()").split(",")
        return tuple(part for part in (part.strip().strip("\"'") for part in parts) if part)
    if wanted is bool:
        if value is None or isinstance(value, bool):
            return value
        word = str(value).strip().lower()
        if word in TRUE or word in FALSE:
            return word in TRUE
        raise ValueError("give True or False")
    if wanted is str and (not isinstance(value, str | bool | int | float | None) or "\0" in str(value)):
        raise ValueError("give a text, without NUL bytes")
    if wanted is str:
        # alpaca-lora's own defaults arrive as these words
        return "" if value is None or str(value).lower() in ("none", "false") else str(value)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("give a whole number" if wanted is int else "give a number") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError("give a finite number")
    if wanted is int and number != int(number):
        raise ValueError("give a whole number")
    if wanted is int and abs(number) >= LARGEST:
        raise ValueError("give a smaller number")
    return wanted(number)


def field_type(name: str) -> type:
    """bool, int, float, str or tuple: the field's type without what else it may be."""
    hint = typing.get_type_hints(Settings)[name]
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    return typing.get_origin(hint) or hint


def is_switch(name: str) -> bool:
    """Whether a field is true, false or unset."""
    return field_type(name) is bool
