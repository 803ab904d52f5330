"""Files are whole or not there; a full disk is called one; what a killed program left goes, and nothing else does."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from hypothesis import given, settings, strategies as st
from parcels import write_adapter
from safetensors import SafetensorError

import identities
import store
from common import files, leftovers, space
from common.space import DiskFull
from engine.types import EngineError
from probes.answers import exchange
from tuning.dataset import readers, recipe
from tuning.dataset.recipe import Dataset
from tuning.jobs import watcher
from tuning.train import run, run_files
from tuning.train.settings import Settings
from tuning.train.trainer import PackedTrainer
from ui import adapter_library as shelf
from ui.context import sentence
from ui.tabs.adapters import zip_file

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def full_disk(monkeypatch):
    """Every file that is written whole meets a disk without room."""

    def new_file(folder):
        path = Path(folder) / f"{leftovers.prefix()}full"
        path.touch()
        return os.open(FULL, os.O_WRONLY), path

    monkeypatch.setattr(leftovers, "new_file", new_file)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(text=st.text(st.characters(blacklist_categories=("Cs",)), max_size=200))
def test_what_is_written_is_what_is_read(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("whole") / "sub" / "a file.json"
    files.write_text(file, text)
    assert file.read_bytes() == text.encode() and file.stat().st_mode & 0o777 == 0o644
    assert list(file.parent.iterdir()) == [file]


def test_an_error_while_writing_leaves_the_earlier_file_and_nothing_beside_it(tmp_path):
    file = files.write_text(tmp_path / "card.json", "before")
    file.chmod(0o600)
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), files.atomic_file(file) as out:
            out.write("half")
            raise error
        assert listing(tmp_path) == {"card.json": b"before"}
    files.write_text(file, "after")
    assert file.read_text() == "after" and file.stat().st_mode & 0o777 == 0o600


def test_a_link_stays_a_link(tmp_path):
    files.write_text(tmp_path / "real", "before")
    (tmp_path / "link").symlink_to("real")
    files.write_text(tmp_path / "link", "after")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "after"


WRITERS = {
    "text": lambda file: files.write_text(file, "after"),
    "json": lambda file: files.write_json(file, {"a": 1}),
    "copy": lambda file: files.copy(__file__, file),
    "state": lambda file: run_files.write_json(file, {"a": 1}),
    "settings": lambda file: Settings(base_model="x").save(file),
    "labels": lambda file: exchange.write_rows(file.with_suffix(".csv"), [{"a": 1}]),
    "rows": lambda file: readers.write([], file),
    "identity": lambda file: identities.save("mira", "You are Mira.", file.parent),
}


@needs_full
@pytest.mark.parametrize("how", WRITERS)
def test_a_full_disk_is_called_one_and_leaves_everything_as_it_was(tmp_path, full_disk, how):
    for name in ("file", "file.csv", "mira.txt"):
        (tmp_path / name).write_text("before")
    with pytest.raises(DiskFull, match=r"could not be written: the disk that holds .* is full \(.* free\); make room there"):
        if how == "rows":  # nothing to write meets no full disk
            with files.atomic_file(tmp_path / "file") as out:
                out.write("x" * 100_000)
        WRITERS[how](tmp_path / "file")
    assert listing(tmp_path) == dict.fromkeys(("file", "file.csv", "mira.txt"), b"before")


@needs_full
def test_renaming_an_adapter_on_a_full_disk_changes_nothing(tmp_path, full_disk):
    write_adapter(tmp_path / "mira")
    (tmp_path / "mira" / "card.json").write_text('{"name": "mira", "steps": 3}')
    was = listing(tmp_path)
    app = SimpleNamespace(
        engine=SimpleNamespace(adapters={}), db=tmp_path.parent / "m.db", adapters=(tmp_path,), refused={}, base_spec="x"
    )
    with pytest.raises(DiskFull):
        shelf.rename(app, "mira", "lin")
    assert listing(tmp_path) == was


@needs_full
def test_a_folder_that_does_not_fit_is_not_there(tmp_path):
    def fill(folder):
        (folder / "first").write_text("x")
        (folder / "weights").symlink_to(FULL)
        (folder / "weights").write_bytes(bytes(10_000))

    with pytest.raises(DiskFull, match=f"{tmp_path / 'model'} could not be written: the disk"):
        files.write_once(tmp_path / "model", fill)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("old")
    with pytest.raises(DiskFull):
        files.replace_folder(tmp_path / "model", fill)
    assert listing(tmp_path) == {"model/old": b"old"}
    files.replace_folder(tmp_path / "model", lambda folder: (folder / "new").write_text("new"))
    assert listing(tmp_path) == {"model/new": b"new"}


@needs_full
@pytest.mark.parametrize("save", ["safetensors", "torch", "plain"])
def test_whoever_meets_it_says_it_in_their_own_words_and_is_understood(tmp_path, monkeypatch, save):
    monkeypatch.setattr(space, "free_bytes", lambda where: 300)
    (tmp_path / "full").symlink_to(FULL)
    with (
        pytest.raises(DiskFull, match=r"The adapter could not be written: the disk .* \(300 bytes free\)"),
        space.room_for("The adapter", tmp_path),
    ):
        try:
            if save == "safetensors":
                # not written to FULL: safetensors would put its file in the place of the device
                raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
            elif save == "torch":
                torch.save({"a": torch.zeros(100_000)}, FULL)
            else:
                FULL.write_bytes(bytes(100_000))
        except (OSError, SafetensorError) as error:
            raise RuntimeError("could not be saved") from error


def test_another_failure_is_not_called_a_full_disk(tmp_path, monkeypatch):
    for error in (OSError(errno.EACCES, "Permission denied"), RuntimeError("PytorchStreamWriter failed writing file data/0")):
        with pytest.raises(type(error)) as raised, space.room_for("It", tmp_path):
            raise error
        assert raised.value is error
    monkeypatch.setattr(space, "free_bytes", lambda where: 0)
    with pytest.raises(DiskFull), space.room_for("It", tmp_path):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0")


def test_the_page_calls_it_by_its_name():
    said = sentence("en", OSError(errno.ENOSPC, "No space left on device", "/data/x"))
    assert said.startswith("Nothing more could be written: the disk that holds /data/x is full (")
    assert "A disk is full" in sentence("en", RuntimeError("I/O error: No space left on device (os error 28)"))
    assert "A disk is full" in sentence("en", sqlite3.OperationalError("database or disk is full"))


def test_a_database_without_room_says_so_and_keeps_what_it_has(tmp_path, monkeypatch):
    path = tmp_path / "mirror.db"
    answer = {"variant": {"name": "base"}, "messages": [{"role": "user", "content": "?"}], "raw": "x" * 5000, "shown": "x"}
    store.answers.add(path, [answer])
    opened = store.db.open

    def limited(path):
        db = opened(path)
        db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
        return db

    monkeypatch.setattr(store.db, "open", limited)
    with pytest.raises(store.StoreError, match=r"the disk that holds .*mirror\.db is full \(.* free\).* Nothing was changed\."):
        store.answers.add(path, [answer] * 9)
    monkeypatch.undo()
    assert len(store.answers.recent(path, 99)) == 1


@needs_full
def test_an_upload_that_does_not_fit_leaves_nothing_on_the_shelf(tmp_path, monkeypatch):
    packed, _ = zip_file.pack(write_adapter(tmp_path / "mira"), "mira")
    (tmp_path / "mira.zip").write_bytes(packed.read())

    def extract(_parcel, _entries, folder, _name):
        (folder / "adapter_model.safetensors").symlink_to(FULL)
        (folder / "adapter_model.safetensors").write_bytes(bytes(100_000))

    monkeypatch.setattr(zip_file, "extract", extract)
    with pytest.raises(DiskFull, match=r"The adapter in mira\.zip could not be written: the disk"):
        zip_file.unpack(tmp_path / "mira.zip", tmp_path / "shelf")
    assert list((tmp_path / "shelf").iterdir()) == []


def test_a_checkpoint_is_whole_or_not_there(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoint-3"

    def save(_trainer, _model, _trial):
        folder.mkdir()
        (folder / "optimizer.pt").write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:814] . PytorchStreamWriter failed writing file data/3")

    monkeypatch.setattr(transformers.Trainer, "_save_checkpoint", save)
    monkeypatch.setattr(space, "free_bytes", lambda where: 0)
    unmade = object.__new__(PackedTrainer)
    unmade.args = SimpleNamespace(output_dir=str(tmp_path), should_save=True)
    unmade.state = SimpleNamespace(global_step=3)
    with pytest.raises(DiskFull, match=rf"^The checkpoint of step 3 could not be .*{folder} is full \(0 bytes") as full:
        unmade._save_checkpoint(None, None)
    assert not folder.exists() and run.describe_error(full.value, tmp_path) == str(full.value)


def test_a_job_that_finds_no_room_for_its_last_words_is_told_of_the_disk(tmp_path, monkeypatch):
    job = {"log": str(tmp_path / "log.txt"), "folder": str(tmp_path)}
    assert watcher.last_line(job) == "The process failed without a word."
    monkeypatch.setattr(space, "free_bytes", lambda where: 100)
    assert watcher.last_line(job).startswith(f"The process failed: the disk that holds {tmp_path} is full (100 bytes free)")


# --- what is left ----------------------------------------------------------------------------------------------------------

KILLED = """
import sys, time
from pathlib import Path
from common import files, leftovers
shelf = Path(sys.argv[1])
(leftovers.new_folder(shelf) / "adapter_model.safetensors").write_text("half")
handle, path = leftovers.new_file(shelf)
print("ready", flush=True)
time.sleep(300)
"""


def killed(shelf: Path) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(shelf)], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def test_what_a_killed_program_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    others = ("mira", ".mirror-notes", ".git", ".upload-mine", "x.new", ".adapter-abcdefgh9")
    for name in others:
        (tmp_path / name).mkdir()
    process = killed(tmp_path)
    try:
        assert leftovers.sweep([tmp_path]) == [] and len(list(tmp_path.iterdir())) == len(others) + 2
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(leftovers.sweep([tmp_path, tmp_path / "not there"])) == 2
    assert {path.name for path in tmp_path.iterdir()} == set(others)


def test_what_earlier_versions_and_other_machines_left_goes_by_its_age(tmp_path):
    old = time.time() - leftovers.OLD_S - 60
    names = [".upload-ab12cd_9", ".adapter-ab12cd_9", f".mirror-ffffff-{os.getpid()}-0123456789ab-x"]
    for name in names:
        (tmp_path / name).mkdir()
    assert leftovers.sweep([tmp_path]) == []
    for name in names:
        os.utime(tmp_path / name, (old, old))
    assert {path.name for path in leftovers.sweep([tmp_path])} == set(names)


def test_a_link_with_such_a_name_takes_nothing_along(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    link = tmp_path / f".mirror-{leftovers.host()}-999999-0123456789ab-x"
    link.symlink_to("kept")
    assert leftovers.sweep([tmp_path]) == [link] and (tmp_path / "kept" / "file").exists()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(name=st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=40))
def test_no_other_name_is_ever_swept(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("names")
    for one in {name, f".{name}", f".mirror-{name}", f".upload-{name}"} - {".", ".."}:
        if not leftovers.NAME.fullmatch(one) and not leftovers.EARLIER.fullmatch(one):
            (folder / one).touch()
            os.utime(folder / one, (0, 0))
    there = set(folder.iterdir())
    assert leftovers.sweep([folder]) == [] and set(folder.iterdir()) == there


def test_an_identity_is_renamed_whole_or_not_at_all(tmp_path, monkeypatch):
    identities.save("mira", "You are Mira.", tmp_path)
    (tmp_path / "mira.yaml").write_text("en: {name: Mira}\n")
    was = listing(tmp_path)

    def refuse(source, target):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("identities.files.os.replace", refuse)
        with pytest.raises(OSError):
            identities.rename("mira", "lin", tmp_path)
    assert {name for name in listing(tmp_path) if not name.startswith(".mirror-")} == set(was)
    identities.rename("mira", "lin", tmp_path)
    assert listing(tmp_path) == {name.replace("mira", "lin"): data for name, data in was.items()}
    identities.rename("lin", "Lin", tmp_path)
    assert set(listing(tmp_path)) == {"Lin.txt", "Lin.yaml"}


def test_a_recipe_is_written_whole(tmp_path):
    file = recipe.write(Dataset(identity="museum-guide", rows=2, general=""), tmp_path / "rows.jsonl")
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl", "rows.recipe.json"} and recipe.recipe_of(file)
    with pytest.raises(EngineError):
        zip_file.unpack(file, tmp_path)


def test_the_program_sweeps_wherever_it_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("MIRROR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    places = [tmp_path / name for name in ("shelf", "shelf/run", "runs", "runs/data", "identities", "cache", "tmp")]
    for place in places:
        place.mkdir(parents=True)
        (place / f".mirror-{leftovers.host()}-999999-0123456789ab-x").mkdir()
        (place / "kept").touch()
    app = SimpleNamespace(adapters=(tmp_path / "shelf",), identities=tmp_path / "identities", runs=tmp_path / "runs")
    assert len(shelf.sweep_leftovers(app)) == len(places)
    assert all((place / "kept").exists() for place in places)
