"""Starting a job's process: detached, so that it outlives whoever started it."""

from __future__ import annotations

import dataclasses
import os
import secrets
import shlex
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from common.space import full_disk_sentence
from store import jobs as stored
from store.db import now
from tuning.jobs import folders, processes
from tuning.jobs.folders import RECORD
from tuning.train.run_files import STATE, STOP
from tuning.train.settings import Settings

ROOT = Path(__file__).resolve().parents[2]  # where `python -m tuning.train` is found
LOG = "log.txt"
# of another program's way of starting processes: a job that inherited them would wait for partners that do not exist
FOREIGN: tuple[str, ...] = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "GROUP_RANK")
# and what would change how Python itself starts
FOREIGN += ("PYTHONSAFEPATH", "PYTHONSTARTUP", "PYTHONINSPECT")
# A thread that waits for the others tries for a fraction of a millisecond and gives its core away then, to the page for instance.
# Without trying a training takes half as long again, and one that only tries stands still beside answers (bench.beside).
WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "5000"}
# where models and their conversions are kept
PLACES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "MIRROR_CACHE")


def start(where: str | Path | Database, id: int) -> bool:
    """Starts a queued job if its device is free; of several that try at once one does."""
    job = stored.claim(where, id, secrets.token_hex(8))
    if job is None:
        return False
    folder = Path(job["folder"])
    try:
        folders.claim_folder(job)
        for name in (STATE, STOP, RECORD):  # of an earlier attempt: they would be taken for this one's
            (folder / name).unlink(missing_ok=True)
        process = launch(job)
    except folders.TakenError as error:
        return stored.change(where, job, status="failed", message=str(error), ended=now())
    except (OSError, ValueError) as error:  # ValueError: an argument that no command line can hold
        why = (
            full_disk_sentence(error, folder) if isinstance(error, OSError) else ""
        ) or f"The job could not be started: {error}."
        return stored.change(where, job, status="failed", message=why, ended=now())
    stored.change(where, job, pid=process.pid, process_start=processes.identity(process.pid))
    return True


def launch(job: Mapping) -> subprocess.Popen:
    """Starts the job's process, detached. Raises OSError, or ValueError for an argument that no command line can hold."""
    arguments = job["arguments"] if job["resumed_from"] is None else resuming_arguments(job["arguments"])
    command = [sys.executable, "-m", "tuning.jobs.wrapper", str(Path(job["folder"]) / RECORD), job["token"], *arguments]
    with open(job["log"], "ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment(job["token"]),
            start_new_session=True,
        )
    # collects it as soon as it has ended, for as long as this app lives; else it would stay as a zombie
    threading.Thread(target=process.wait, name=f"job {job['id']}", daemon=True).start()
    return process


def environment(token: str) -> dict[str, str]:
    """The environment of a job: whose it is, how its threads wait, and nothing that would make it start otherwise."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    kept |= {} if WAITING.keys() & kept.keys() else WAITING  # the number of tries would win over a policy that somebody chose
    # the job works in another folder than whoever started it
    kept |= {name: os.path.abspath(kept[name]) for name in PLACES if kept.get(name) and not kept[name].startswith("~")}
    return kept | {
        processes.MARK: token,
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "TOKENIZERS_PARALLELISM": "false",
    }


def resuming_arguments(arguments: Sequence[str]) -> list[str]:
    """The same command line, going on from the last checkpoint."""
    dropped = ("--resume_from_checkpoint", "--overwrite_output_dir")
    kept: list[str] = []
    skip = False
    for word in arguments:
        flag = word.startswith("--")
        name = word.partition("=")[0].replace("-", "_").replace("__", "--", 1)
        if flag and name in dropped:
            skip = "=" not in word
        elif skip and not flag:
            skip = False  # the dropped flag's value
        else:
            kept, skip = [*kept, word], False
    return [*kept, "--resume_from_checkpoint", "last"]


def with_absolute_paths(settings: Settings) -> Settings:
    """Its paths as they are seen from here: the job runs in another folder. What is no path (a name, a Hub id) stays."""
    from engine.bases import portable_spec  # imports torch

    found: dict[str, Any] = {"base_model": portable_spec(settings.base_model)}
    plain = ("data_path", "train_dir", "valid_dir", "identities_dir", "dataset_dir", "init_adapter")
    for name in (*plain, "output_dir", "prompt_template_name", "resume_from_checkpoint"):
        value = getattr(settings, name)
        # `chatml` and `last` are words with a meaning, even where a file is called so
        path_like = "/" in value or name in plain
        if value and (name == "output_dir" or (path_like and Path(value).expanduser().exists())):
            found[name] = str(Path(value).expanduser().resolve())
    return dataclasses.replace(settings, **found)


def shell_lines(*commands: Sequence[str]) -> str:
    """Lines to paste into a shell, wherever it stands: each `python ARGUMENT...` of `commands`, in the program's folder."""
    return "\n".join([shlex.join(["cd", str(ROOT)]), *(shlex.join([sys.executable, *command]) for command in commands)])


def best_device() -> str:
    """The device that is chosen where none is named, as jobs call it."""
    from engine.device import choose_device

    return str(choose_device()[0])
