"""Reporting a run elsewhere as well: TensorBoard, Trackio or Weights & Biases, each only where its package is installed.

transformers' own callbacks do it. What a watcher needs is always in the run's folder (`run_files`), whoever is reported to.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

from tuning.train.settings import Settings, SettingsError

PROJECT = "mirror-test"
PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "trackio": ("trackio",), "wandb": ("wandb",)}


def missing_package(report_to: str) -> list[str]:
    """A sentence if what is to be reported to is not installed; nothing is imported to find out."""
    packages = PACKAGES.get(report_to, ())
    if not packages or any(importlib.util.find_spec(name) for name in packages):
        return []
    name = packages[0]
    return [f"--report_to {report_to} needs the package {name}: install it with pip install {name}, or leave it out."]


def report_arguments(settings: Settings) -> dict[str, Any]:
    """What transformers' TrainingArguments have to say of it. TensorBoard gets a folder of this start in OUTPUT_DIR/runs."""
    if not settings.report_to:
        return {"report_to": "none"}
    # Trackio keeps its own on this machine: a Space or its frozen copy would be an upload that nobody asked for
    return {
        "report_to": settings.report_to,
        "run_name": settings.adapter_name,
        "project": PROJECT,
        "trackio_static_space_id": False,
    }


def log_in(settings: Settings) -> None:
    """Before anything is loaded: transformers' callback logs in after it. Raises SettingsError where Weights & Biases refuses."""
    if settings.report_to != "wandb":
        return
    os.environ.setdefault("WANDB_PROJECT", PROJECT)  # that callback's own would be "huggingface"
    wandb = importlib.import_module("wandb")
    try:
        wandb.login()
    except wandb.Error as error:
        alone = "Set WANDB_MODE=offline to keep the run on this machine, or leave --report_to out."
        raise SettingsError([f"--report_to wandb: {str(error).rstrip('.')}. {alone}"]) from error


def report_line(settings: Settings) -> list[str]:
    """Where to look, for the log."""
    if settings.report_to == "tensorboard":
        return [f"reporting to TensorBoard: tensorboard --logdir {settings.output_dir}/runs"]
    if settings.report_to == "trackio":
        return [f"reporting to Trackio: trackio show --project {PROJECT}"]
    if settings.report_to == "wandb":
        return [f"reporting to Weights & Biases: project {os.environ.get('WANDB_PROJECT', PROJECT)}, run {settings.adapter_name}"]
    return []
