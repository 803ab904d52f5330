"""One dataclass is the form, the command line and the saved file; a call's problems are told together."""

from __future__ import annotations

import shlex

import pytest

from tuning.train.command_line import command_line, parse
from tuning.train.presets import PRESETS
from tuning.train.settings import Settings, SettingsError
from tuning.train.steps import count_steps

ORIGINAL = shlex.split(
    "--base_model smollm2 --data_path rows.json --output_dir out --batch_size 100 --micro_batch_size 25 --num_epochs 1 "
    "--learning_rate 1e-4 --cutoff_len 512 --val_set_size 50 --lora_r 8 --lora_alpha 16 --lora_dropout 0.05 "
    "--lora_target_modules [q_proj,k_proj,v_proj,o_proj] --train_on_inputs False --prompt_template_name bayling --group_by_length"
)
LEAST = ["--data_path", "rows.json", "--output_dir", "out"]


def refusal(*words: str) -> str:
    with pytest.raises(SettingsError) as caught:
        parse([*LEAST, *words], PRESETS)
    return str(caught.value)


def test_the_originals_command_line_is_taken_as_it_stands():
    settings = parse(ORIGINAL, PRESETS)
    assert settings.batch_size == 100 and settings.learning_rate == 1e-4 and settings.val_set_size == 50
    assert settings.lora_target_modules == ("q_proj", "k_proj", "v_proj", "o_proj")
    assert settings.train_on_inputs is False and settings.group_by_length is True
    assert not settings.shares_rows  # its dropout is 0.05
    assert count_steps(settings, 950).total == 10


@pytest.mark.parametrize(
    "words", [ORIGINAL, [*LEAST, "--preset", "ms-swift"], [*LEAST, "--no-packing", "--learning_rate", "3.7e-4"]]
)
def test_file_form_and_command_line_are_one(words, tmp_path):
    settings = parse(words, PRESETS)
    settings.save(tmp_path / "settings.json")
    assert Settings.load(tmp_path / "settings.json") == settings
    assert Settings.from_dict(settings.as_dict()) == settings
    assert parse(settings.as_arguments()) == settings


def test_flags_win_over_a_preset():
    settings = parse([*LEAST, "--preset", "chatglm-self-cognition", "--num_epochs", "3"], PRESETS)
    assert (settings.batch_size, settings.learning_rate, settings.lr_scheduler_type) == (4, 1e-3, "cosine")
    assert settings.num_epochs == 3


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_valid_run(name):
    assert parse([*LEAST, "--preset", name], PRESETS).problems() == []


def test_all_problems_are_told_at_once():
    said = refusal(*shlex.split("--batch_size 0 --lora_r many --lernrate 3 --lr_scheduler_type zigzag --packing maybe"))
    assert said.startswith("5 problems:")
    for part in (
        "--batch_size is 0; give at least 1.",
        "--lora_r is 'many'; give a whole number.",
        "--lernrate is not known; did you mean --learning_rate?",
        "--lr_scheduler_type is 'zigzag'; choose one of linear, cosine, constant, constant_with_warmup.",
        "--packing is 'maybe'; give True or False.",
    ):
        assert f"- {part}" in said.split("\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--learning_rate nan", "--learning_rate is 'nan'; give a finite number."),
        ("--learning_rate 0", "--learning_rate is 0.0; give a number above 0."),
        ("--learning_rate 3", "--learning_rate is 3.0; give at most 1."),
        ("--lora_dropout 1", "--lora_dropout is 1.0; give at most 0.9."),
        ("--train_dir d", "--data_path rows.json and --train_dir d are both given; keep one of them."),
        ("--valid_dir d --val_set_size 5", "--valid_dir d and --val_set_size 5 are both given; keep one of them."),
        ("--warmup_steps 5 --warmup_ratio 0.1", "--warmup_steps 5 and --warmup_ratio 0.1 are both given; keep one of them."),
        ("--num_epochs 0", "--num_epochs is 0; give epochs above 0, or --max_steps."),
        (
            "--batch_size 100 --micro_batch_size 30",
            "--micro_batch_size 30 does not divide --batch_size 100; give a divisor of 100, or leave it out.",
        ),
        (
            "--lora_target_modules []",
            "--lora_target_modules is empty; name linear layers such as [q_proj,v_proj], or all-linear.",
        ),
        ("--dedup --no-packing", "--dedup needs packing; leave out --no-packing, or use --no-dedup."),
        ("--preset fast", f"--preset fast is unknown; choose one of {', '.join(PRESETS)}."),
        (
            "--overwrite_output_dir --resume_from_checkpoint last",
            "--overwrite_output_dir and --resume_from_checkpoint contradict each other; keep one of them.",
        ),
    ],
)
def test_each_refusal_says_flag_value_and_what_to_do(words, said):
    assert refusal(*words.split()) == said


def test_data_and_folder_are_needed():
    with pytest.raises(SettingsError, match="--output_dir is missing.*\n.*--data_path is missing"):
        parse([])


def test_switches_may_stand_alone_or_with_a_word():
    for words, wanted in (("--dedup", True), ("--dedup False", False), ("--no-dedup", False), ("--group-by-length yes", None)):
        assert parse([*LEAST, *words.split()]).dedup is wanted
    assert parse([*LEAST, "--lora_dropout", "0.1", "--dedup"]).shares_rows


def test_help_names_every_flag():
    said = command_line(PRESETS).format_help()
    for name in Settings.__dataclass_fields__:
        assert f"--{name}" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [({"lora_target_modules": ("all-linear", "lm_head")}, "names all-linear and lm_head"), ({"seed": 2**32}, "seed")],
)
def test_what_would_be_trained_otherwise_or_not_at_all_is_refused(given, said):
    found = Settings(data_path="rows.jsonl", output_dir="out", **given).problems()
    assert len(found) == 1 and said in found[0]
