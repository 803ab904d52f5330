"""The command lines of the works this grew out of: what each of their flags is here, as data, and a call of theirs made ours.

docs/coming-from.md shows these tables (`python -m common.coming_from` prints them), and a test compares the two.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

WORDS = ("true", "false", "yes", "no", "0", "1")  # that may stand behind a switch


@dataclass(frozen=True)
class Flag:
    """One flag as its own program writes it.

    ours: the flag it is taken as; its own name where it is one of ours; "" where it is left out. why: the reason for that, or
    what is otherwise here. values: the only ones that can be taken -> our words for them, any other is refused; where it is
    empty, every value is taken. refused: why it cannot be taken at all. switch: it needs no value. commas: several values stand
    in one word. of_all: the program reckons with several flags at once.
    """

    name: str
    ours: str = ""
    why: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""
    switch: bool = False
    commas: bool = False
    of_all: bool = False


@dataclass(frozen=True)
class Program:
    """theirs: as it is called there; ours: what stands in its place. defaults: what it does where nothing is said, as our
    flags -> values. words: what is typed in its conversations -> our commands."""

    work: str
    theirs: str
    ours: str
    flags: tuple[Flag, ...]
    defaults: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)


TRAIN, MERGE, CHAT, PAGE = "python -m tuning.train", "python -m tuning.merge", "python -m engine.chat", "python chat_app.py"


def same(*names: str) -> tuple[Flag, ...]:
    return tuple(Flag(name, name) for name in names)


BY_DEVICE = "the device decides the number format; --dtype asks for one"
EVERY_STEP = "every step is logged"
NO_CACHE = "rows are read anew each time and no cache is kept"
NO = ("false", "no", "0")  # a switch that is given to say no
LORA = Flag("--finetuning_type", values={"lora": ""}, why="LoRA is what is trained here")
BASE = Flag("--model_name_or_path", "--base")
GREEDY = "answers are greedy here, there --temperature {}"
STEP = "a step has rows per device x accumulation x devices, and ours counts those"

PROGRAMS = {
    "alpaca-lora": Program(
        "alpaca-lora",
        "finetune.py",
        f"{TRAIN} --defaults alpaca-lora",
        (
            *same("--base_model", "--data_path", "--output_dir", "--batch_size"),
            Flag("--micro_batch_size", "--micro_batch_size", why="packs, not rows, bound the memory; it has to divide the batch"),
            *same("--num_epochs", "--learning_rate", "--cutoff_len", "--val_set_size", "--lora_r", "--lora_alpha"),
            *same("--lora_dropout", "--lora_target_modules", "--train_on_inputs"),
            Flag("--add_eos_token", switch=True, why="an answer always ends with the end token, there as here"),
            *same("--group_by_length"),
            Flag("--wandb_project", why="nothing is reported by itself; --report_to wandb asks for it"),
            Flag("--wandb_run_name", why="as --wandb_project"),
            Flag("--wandb_watch", why="as --wandb_project"),
            Flag("--wandb_log_model", why="as --wandb_project"),
            *same("--resume_from_checkpoint", "--prompt_template_name"),
        ),
        # of its signature, and of the Trainer's arguments that stand fixed in it
        defaults={
            "--data_path": "yahma/alpaca-cleaned",
            "--output_dir": "./lora-alpaca",
            "--batch_size": "128",
            "--micro_batch_size": "4",
            "--num_epochs": "3",
            "--learning_rate": "3e-4",
            "--cutoff_len": "256",
            "--val_set_size": "2000",
            "--lora_r": "8",
            "--lora_alpha": "16",
            "--lora_dropout": "0.05",
            "--lora_target_modules": "[q_proj,v_proj]",
            "--train_on_inputs": "True",
            "--prompt_template_name": "alpaca",
            "--warmup_steps": "100",
            "--save_steps": "200",
            "--eval_steps": "200",
            "--save_total_limit": "3",
        },
    ),
    "alpaca-lora export": Program(
        "alpaca-lora",
        "export_hf_checkpoint.py",
        MERGE,
        (Flag("--base-model", "--base"), Flag("--lora-model", "--adapter"), Flag("--output-model", "--output_dir")),
    ),
    "alpaca-lora page": Program(
        "alpaca-lora",
        "generate.py",
        PAGE,
        (
            Flag("--load_8bit", "--quantize int8", switch=True),
            Flag("--base_model", "--base"),
            Flag("--lora_weights", "--adapter"),
            Flag("--prompt_template", "--format"),
            Flag("--server_name", "--host"),
            Flag("--share_gradio", "--share", switch=True),
        ),
    ),
    "chatglm-efficient-tuning": Program(
        "ChatGLM-Efficient-Tuning",
        "src/train_sft.py",
        f"{TRAIN} --defaults chatglm-efficient-tuning",
        (
            Flag("--do_train", switch=True, why="training is all this does"),
            Flag("--model_name_or_path", "--base_model"),
            *same("--output_dir", "--overwrite_output_dir"),
            LORA,
            Flag("--overwrite_cache", switch=True, why=NO_CACHE),
            Flag("--per_device_train_batch_size", "--batch_size", why=STEP, of_all=True),
            Flag("--gradient_accumulation_steps", "--batch_size", why=STEP, of_all=True),
            Flag("--per_device_eval_batch_size", why="packs, not rows, bound the memory of a validation"),
            *same("--lr_scheduler_type"),
            Flag("--logging_steps", why=EVERY_STEP),
            *same("--save_steps", "--warmup_steps", "--learning_rate"),
            Flag("--num_train_epochs", "--num_epochs"),
            Flag("--fp16", switch=True, why=BY_DEVICE),
            Flag("--bf16", switch=True, why=BY_DEVICE),
            Flag("--lora_rank", "--lora_r"),
            *same("--lora_alpha", "--lora_dropout"),
            Flag("--lora_target", "--lora_target_modules"),
            Flag("--max_source_length", "--cutoff_len", why="question and answer are cut together, at the sum", of_all=True),
            Flag("--max_target_length", "--cutoff_len", why="question and answer are cut together, at the sum", of_all=True),
            Flag("--dev_ratio", "--val_set_size"),
            Flag("--checkpoint_dir", "--resume_from_checkpoint"),
            Flag("--quantization_bit", values={"4": "--load_in_4bit"}, why="NF4 is the only one"),
            Flag("--preprocessing_num_workers", why="rows are prepared in one process"),
            Flag("--plot_loss", switch=True, why="the Fine-tune tab draws the loss of every run"),
        ),
        defaults={
            "--batch_size": "8",
            "--num_epochs": "3",
            "--learning_rate": "5e-5",
            "--cutoff_len": "1024",
            "--lora_r": "8",
            "--lora_alpha": "32",
            "--lora_dropout": "0.1",
            "--lora_target_modules": "[q_proj,k_proj,v_proj]",  # its query_key_value
            "--save_steps": "500",
        },
    ),
    "chatglm-efficient-tuning chat": Program(
        "ChatGLM-Efficient-Tuning",
        "src/cli_demo.py",
        CHAT,
        (
            BASE,
            Flag("--checkpoint_dir", "--adapter", why=GREEDY.format("0.95 --top-p 0.7"), commas=True),
            LORA,
            Flag("--quantization_bit", values={"8": "--quantize int8", "4": "--quantize nf4"}, why="there are these two"),
            Flag("--do_sample", values={"true": "", "false": "--temperature 0"}, why="--temperature decides it"),
            *same("--temperature"),
            Flag("--num_beams", values={"1": ""}, why="there is no beam search"),
            Flag("--max_length", why="the context is the base's own; --max-new-tokens bounds an answer"),
        ),
        words={"clear": "/clear", "stop": "/quit"},
    ),
    "chatglm-efficient-tuning export": Program(
        "ChatGLM-Efficient-Tuning",
        "src/export_model.py",
        MERGE,
        (BASE, Flag("--checkpoint_dir", "--adapter", commas=True), *same("--output_dir"), LORA),
    ),
    "data-efficient-training": Program(
        "data-efficient-training-of-LLMs",
        "run_train.sh",
        f"{TRAIN} --defaults data-efficient-training",
        (
            *same("--train_dir", "--valid_dir"),
            Flag("--model_name_or_path", "--base_model"),
            Flag("--batch_size", "--batch_size", why="per device where --gradient_accumulation is given; " + STEP, of_all=True),
            Flag("--gradient_accumulation", "--batch_size", why=STEP, of_all=True),
        ),
        # of run_train.sh and its train_sft.py; their learning rate is one for all the weights of a model, not for an adapter's
        defaults={
            "--output_dir": "runs/adapters/%Y%m%d-%H%M%S",
            "--num_epochs": "15",
            "--cutoff_len": "2048",
            "--weight_decay": "0.1",
            "--save_total_limit": "15",
            "--seed": "0",
        },
    ),
    "data-efficient-training page": Program(
        "data-efficient-training-of-LLMs",
        "chat_gradio.py",
        PAGE,
        (BASE,),
    ),
    "bayling": Program(
        "BayLing",
        "chat.py (chat_with_model.sh)",
        CHAT,
        (
            Flag("--model-path", "--base", why=GREEDY.format("0.7")),
            *same("--device", "--style", "--temperature", "--max-new-tokens"),
            Flag("--repetition_penalty", "--repetition-penalty"),
            Flag("--conv-template", "--format"),
            Flag("--load-8bit", "--quantize int8", switch=True),
            Flag("--cpu-offloading", switch=True, refused="a base lies on one device; leave it out, or take --device cpu"),
            Flag("--num-gpus", values={"1": ""}, why="a base lies on one device; --device cuda:1 names it"),
            Flag("--max-gpu-memory", why="a base lies on one device and takes what it needs"),
            Flag("--debug", switch=True, why="/prompt shows the prompt"),
        ),
        words={"q": "/clear", "!!reset": "/clear", "!!exit": "/quit"},
    ),
}  # fmt: skip


def programs(ours: str) -> list[Program]:
    """Those in whose place `ours` stands."""
    return [one for one in PROGRAMS.values() if one.ours.startswith(ours)]


def key(name: str) -> str:
    """A flag's name without what its programs do not tell apart."""
    return name.lstrip("-").replace("-", "_")


@dataclass
class Call:
    """words: the call as ours. said: a sentence for each of their flags that was given. problems: sentences on those that
    cannot be taken. of_all: the values of the flags that only the program can reckon with, by name."""

    words: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    of_all: dict[str, str] = field(default_factory=dict)


def parsed(parser: argparse.ArgumentParser, arguments: Sequence[str] | None, ours: str) -> argparse.Namespace:
    """What a call of `ours` gives, flags of theirs among it; what those are taken as is said. Exits as argparse does."""
    call = translate(sys.argv[1:] if arguments is None else arguments, ours, parser)
    for line in (*call.said, *call.problems):
        print(line, file=sys.stderr)
    if call.problems:
        parser.exit(2)
    return parser.parse_args(call.words)


def translate(arguments: Iterable[str], ours: str, parser: argparse.ArgumentParser) -> Call:
    """A call of `ours`, in which flags of theirs may stand, as one with flags of ours alone.

    Our own flags (the parser's) stay as they are, also where only - and _ differ.
    """
    known = {name for action in parser._actions for name in action.option_strings}
    flags = {key(flag.name): flag for one in programs(ours) for flag in one.flags if flag.name not in known}
    own = {key(name): name for name in known if name.startswith("--")}
    call, words = Call(), list(arguments)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("--") or name in known:
            call.words.append(word)
        elif key(name) in own:
            call.words.append(own[key(name)] + equals + value)
        elif flag := flags.get(key(name)):
            if equals:
                words.insert(0, value)
            take(flag, values_of(flag, words), call)
        else:
            call.words.append(word)
    call.said = list(dict.fromkeys(call.said))
    return call


def values_of(flag: Flag, words: list[str]) -> list[str]:
    """The flag's values, taken off the beginning of `words`."""
    found = []
    while words and not words[0].startswith("--") and (not flag.switch or words[0].lower() in WORDS):
        found.append(words.pop(0))
    return found


def take(flag: Flag, values: Sequence[str], call: Call) -> None:
    """Puts one of their flags into the call. A switch that says no is only left out."""
    value = " ".join(values)
    shown = f"{flag.name} {value}".rstrip()
    if flag.refused:
        if value.lower() not in NO:
            call.problems.append(f"{shown}: {flag.refused}.")
    elif not values and not flag.switch:
        call.problems.append(f"{flag.name} needs a value.")
    elif flag.of_all:
        call.of_all[flag.name] = value
    elif flag.values:
        if value.lower() not in flag.values:
            call.problems.append(f"{shown} cannot be taken; {flag.why}: {' or '.join(flag.values)}.")
        else:
            taken = flag.values[value.lower()]
            call.words += taken.split()
            call.said.append(f"{shown} is taken as {taken}." if taken else f"{shown} is left out: {flag.why}.")
    elif not flag.ours:
        call.said.append(f"{shown} is left out: {flag.why}.")
    elif flag.switch:
        no = value.lower() in NO
        call.words += [] if no else flag.ours.split()
        call.said.append(f"{shown} is left out: it says no." if no else f"{shown} is taken as {flag.ours}.")
    else:
        parts = [part.strip() for part in value.split(",")] if flag.commas else values
        call.words += [word for part in parts for word in (flag.ours, part)] if flag.commas else [flag.ours, *parts]
        call.said.append(f"{flag.name} is taken as {flag.ours}" + (f"; {flag.why}." if flag.why else "."))


def spoken_commands(arguments: Iterable[str], ours: str) -> dict[str, str]:
    """What is typed in the conversations of the programs whose flags stand in the call -> our commands."""
    given = {key(word.partition("=")[0]) for word in arguments if word.startswith("--")}
    return {theirs: command for one in programs(ours) for theirs, command in one.words.items() if given & firsts(one)}


def firsts(program: Program) -> set[str]:
    """The flags by which a call is known as one of this program: those that are not ours as well."""
    return {key(flag.name) for flag in program.flags if flag.ours and key(flag.ours) != key(flag.name)}


def table(program: Program) -> str:
    """Its flags as a table in Markdown."""
    lines = [f"| `{program.theirs}` | here |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| `{flag.name}` | {meaning(flag)} |" for flag in program.flags)])


def meaning(flag: Flag) -> str:
    """What becomes of a flag, in words."""
    more = f"; {flag.why}" if flag.why else ""
    if flag.refused:
        return f"refused: {flag.refused}"
    if flag.of_all:
        return f"counted into `{flag.ours}`{more}"
    if flag.values:
        taken = ", ".join(f"`{value}` " + (f"taken as `{ours}`" if ours else "left out") for value, ours in flag.values.items())
        return f"{taken}, anything else refused: {flag.why}"
    if not flag.ours:
        return f"left out: {flag.why}"
    return ("the same" if flag.ours == flag.name else f"taken as `{flag.ours}`") + more


if __name__ == "__main__":
    print(*map(table, PROGRAMS.values()), sep="\n\n")
