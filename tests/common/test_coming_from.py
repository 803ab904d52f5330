"""Flags of other programs: the data, the page that shows it, and what becomes of a call."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import pytest

import chat_app
from common import coming_from
from common.coming_from import CHAT, MERGE, PAGE, PROGRAMS, TRAIN, translate
from engine import chat
from tuning import merge
from tuning.train import foreign
from tuning.train.command_line import command_line
from tuning.train.presets import PRESETS
from tuning.train.settings import SettingsError

DOC = Path(__file__).parents[2] / "docs" / "coming-from.md"
# the signature of its finetune.py
ALPACA_LORA = [
    "base_model", "data_path", "output_dir", "batch_size", "micro_batch_size", "num_epochs", "learning_rate", "cutoff_len",
    "val_set_size", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "train_on_inputs", "add_eos_token",
    "group_by_length", "wandb_project", "wandb_run_name", "wandb_watch", "wandb_log_model", "resume_from_checkpoint",
    "prompt_template_name",
]  # fmt: skip
PARSERS = {TRAIN: command_line(PRESETS), MERGE: merge.parser(), CHAT: chat.parser(), PAGE: chat_app.flags()}


def flags_of(ours: str) -> set[str]:
    return {name for action in PARSERS[ours]._actions for name in action.option_strings}


def call_of(ours: str, line: str) -> coming_from.Call:
    return translate(shlex.split(line), ours, PARSERS[ours])


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_page_shows_every_table(name):
    program, page = PROGRAMS[name], DOC.read_text(encoding="utf-8")
    assert coming_from.table(program) in page and program.ours in page
    for flag, value in program.defaults.items():
        assert f"`{flag} {value}`" in page


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_the_table_says_is_so(name):
    program = PROGRAMS[name]
    ours = next(one for one in PARSERS if program.ours.startswith(one))
    known = flags_of(ours)
    for flag in program.flags:
        assert not flag.ours or flag.ours.split()[0] in known, flag
        assert flag.name not in known or flag.ours in (flag.name, "--batch_size"), flag  # one of ours would win over the table
        assert flag.ours or flag.why or flag.refused, flag
    assert {*program.defaults} <= known


def test_every_parameter_of_alpaca_lora_is_there():
    assert [flag.name for flag in PROGRAMS["alpaca-lora"].flags] == [f"--{name}" for name in ALPACA_LORA]


def test_renamed_left_out_and_refused():
    call = call_of(
        CHAT, "--checkpoint_dir 'one, two' --model-path=b --load-8bit --num-gpus 1 --debug --max_new_tokens 5 --do-sample False"
    )
    assert call.words == shlex.split("--adapter one --adapter two --base b --quantize int8 --max-new-tokens 5 --temperature 0")
    assert call.problems == [] and "--load-8bit is taken as --quantize int8." in call.said
    assert "--debug is left out: /prompt shows the prompt." in call.said and len(call.said) == 6
    call = call_of(CHAT, "--num-gpus 2 --model-path --cpu-offloading --load-8bit false")
    assert [problem.split(" ")[0] for problem in call.problems] == ["--num-gpus", "--model-path", "--cpu-offloading:"]
    assert call.words == [] and call.said == ["--load-8bit false is left out: it says no."]


def test_our_own_calls_stay_as_they_are():
    line = "--adapter a=0.5 --output_dir=b --strength 1 --no_such_flag x -h"
    call = call_of(MERGE, line)
    assert (call.words, call.said, call.problems) == (line.split(), [], [])


def test_a_refusal_ends_the_program(capsys):
    parser = argparse.ArgumentParser(prog="it")
    parser.add_argument("--base")
    assert coming_from.parsed(parser, ["--model-path", "b"], CHAT).base == "b"
    with pytest.raises(SystemExit) as end:
        coming_from.parsed(parser, ["--cpu-offloading"], CHAT)
    assert end.value.code == 2 and "a base lies on one device" in capsys.readouterr().err


def settings_of(line: str):
    said: list[str] = []
    return foreign.read(["--output_dir", "out", "--data_path", "rows.json", *shlex.split(line)], said.append), said


def test_alpaca_loras_defaults_stand_where_nothing_is_said():
    settings, said = settings_of(
        "--defaults alpaca-lora --notrain_on_inputs --lora_target_modules=\"['q_proj', 'o_proj']\" --lora-r 4"
    )
    assert (settings.batch_size, settings.cutoff_len, settings.val_set_size, settings.warmup_steps) == (128, 256, 2000, 100)
    assert (settings.train_on_inputs, settings.lora_target_modules, settings.lora_r) == (False, ("q_proj", "o_proj"), 4)
    assert (settings.data_path, settings.output_dir, settings.prompt_template_name) == ("rows.json", "out", "alpaca")
    assert said[-1].startswith("Defaults of alpaca-lora, finetune.py: --batch_size 128") and "train_on_inputs" not in said[-1]
    bare = foreign.read(["--base_model", "b", "--defaults=alpaca-lora"], said.append)
    assert (bare.data_path, bare.output_dir, bare.train_on_inputs) == ("yahma/alpaca-cleaned", "./lora-alpaca", True)


@pytest.mark.parametrize(
    "modules", ["[q_proj,v_proj]", '\'["q_proj", "v_proj"]\'', "q_proj,v_proj", "'(q_proj, v_proj)'", "q_proj v_proj"]
)
def test_lists_as_fire_reads_them(modules):
    assert settings_of(f"--lora_target_modules {modules}")[0].lora_target_modules == ("q_proj", "v_proj")


def test_rows_of_a_step_are_counted_over_devices(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    settings, said = settings_of("--batch_size 8 --gradient_accumulation 3")
    assert settings.batch_size == 48 and "on 2 devices, are taken as --batch_size 48" in said[0]
    assert settings_of("--per_device_train_batch_size 4")[0].batch_size == 8
    assert settings_of("--max_source_length 100")[0].cutoff_len == 612


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--finetuning_type freeze", "--finetuning_type freeze cannot be taken; LoRA is what is trained here: lora."),
        ("--gradient_accumulation_steps 2", "--gradient_accumulation_steps needs the rows per device"),
        ("--per_device_train_batch_size two", "--per_device_train_batch_size is two; give a whole number above 0."),
        ("--defaults vicuna", "--defaults vicuna is unknown; choose one of alpaca-lora,"),
        ("--defaults alpaca-lora --preset quick", "--defaults alpaca-lora and --preset are both given"),
        ("--max_target_length 0", "--max_target_length is 0; give a whole number above 0."),
    ],
)
def test_what_cannot_be_taken_is_told_with_all_other_problems(line, said):
    with pytest.raises(SettingsError) as caught:
        settings_of(f"{line} --lora_r 0")
    assert said in str(caught.value) and "--lora_r is 0; give at least 1." in str(caught.value)
