"""Adapters as zip files, and what may be done to those on the shelf."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
from parcels import write_adapter
from stand_in import StandIn

import identities
import store
from engine.types import EngineError
from ui import adapter_library
from ui.context import App
from ui.tabs.adapters import zip_file
from ui.words import Languages


def write_zip(file: Path, entries: dict[str, bytes], link: str = "") -> Path:
    with zipfile.ZipFile(file, "w") as parcel_file:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            if name == link:
                info.external_attr = 0o120777 << 16
            parcel_file.writestr(info, content)
    return file


class Forgetful(StandIn):
    def remove_adapter(self, name: str) -> None:
        del self.adapters[name]


@pytest.fixture
def app(tmp_path):
    store.open(tmp_path / "mirror.db").close()
    return App(Forgetful(), tmp_path / "mirror.db", identities.FOLDER, (tmp_path / "adapters",), Languages())


def test_a_downloaded_adapter_can_be_uploaded_again_without_its_checkpoints(tmp_path):
    folder = write_adapter(tmp_path / "shelf" / "mira")
    write_adapter(folder / "checkpoint-2")
    packed, size = zip_file.pack(folder, "mira")
    file = tmp_path / "mira.zip"
    with packed:
        file.write_bytes(packed.read())
    assert file.stat().st_size == size
    assert sorted(zipfile.ZipFile(file).namelist()) == [
        "mira/adapter_config.json", "mira/adapter_model.safetensors", "mira/card.json",
    ]  # fmt: skip
    kept = zip_file.unpack(file, tmp_path / "other")
    assert kept == tmp_path / "other" / "mira"
    assert (kept / "adapter_model.safetensors").read_bytes() == (folder / "adapter_model.safetensors").read_bytes()
    assert zip_file.unpack(file, tmp_path / "other").name == "mira-2"


@pytest.mark.parametrize(
    "entries, said",
    [
        ({"../adapter_config.json": b"{}"}, "points outside"),
        ({"/etc/adapter_config.json": b"{}"}, "points outside"),
        ({"a\\..\\..\\adapter_config.json": b"{}"}, "points outside"),
        ({"C:/adapter_config.json": b"{}"}, "points outside"),
        ({"run.py": b"print()"}, "adapter_config.json and adapter_model.safetensors missing"),
        ({"adapter_config.json": b"{}", "adapter_model.bin": b"x"}, "save it as adapter_model.safetensors"),
        ({"a/adapter_config.json": b"{}", "b/adapter_model.safetensors": b""}, "different folders"),
        (
            {f"{folder}/{file}": b"{}" for folder in "ab" for file in ("adapter_config.json", "adapter_model.safetensors")},
            r"several adapters \(a, b\)",
        ),
        ({"adapter_config.json": b"{}"}, "adapter_model.safetensors missing"),
        ({}, "is empty"),
        ({"adapter_config.json": b"{", "adapter_model.safetensors": b"x"}, "JSON"),
    ],
)
def test_a_zip_that_is_no_adapter_is_refused_and_leaves_nothing(tmp_path, entries, said):
    file = write_zip(tmp_path / "bad.zip", entries)
    with pytest.raises(EngineError, match=said):
        zip_file.unpack(file, tmp_path / "shelf")
    assert not list((tmp_path / "shelf").glob("*")) and not (tmp_path / "adapter_config.json").exists()


OWN = ("adapter_config.json", "adapter_model.safetensors")
OTHERS = {
    "trainer's folder": ("mine", ("trainer_state.json", "training_args.bin", "optimizer.pt", "runs/events.out")),
    "unsloth's": ("lora_model", ("chat_template.jinja", "vocab.json", "merges.txt")),
    "a Mac's": ("mine", ("../__MACOSX/mine/._adapter_config.json", "../__MACOSX/mine/._adapter_model.safetensors", ".DS_Store")),
    "with checkpoints": ("mine", ("checkpoint-20/adapter_config.json", "checkpoint-20/adapter_model.safetensors")),
    "deep": ("runs/adapters/mine", ("LICENSE", ".gitattributes")),
    "with notes above": ("mine", ("../notes.txt",)),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_of_a_trainers_folder_the_adapter_is_taken_and_the_rest_named(tmp_path, kind):
    inside, others = OTHERS[kind]
    made = write_adapter(tmp_path / "made" / "mine")
    entries = {f"{inside}/{file}": (made / file).read_bytes() for file in OWN}
    entries |= {os.path.normpath(f"{inside}/{file}"): b"{}" for file in others}
    passed: list[str] = []
    kept = zip_file.unpack(write_zip(tmp_path / "up.zip", entries), tmp_path / "shelf", passed)
    assert kept.name == Path(inside).name and {path.name for path in kept.iterdir()} == set(OWN)
    assert passed == [os.path.normpath(f"{inside}/{file}") for file in others]
    assert all((kept / file).read_bytes() == (made / file).read_bytes() for file in OWN)


def test_an_adapter_keeps_the_tokenizer_it_brings_down_and_up(tmp_path):
    folder = write_adapter(tmp_path / "shelf" / "mira")
    (folder / "tokenizer.json").write_text("{}")
    packed, _ = zip_file.pack(folder, "mira")
    with packed:
        (tmp_path / "mira.zip").write_bytes(packed.read())
    assert (zip_file.unpack(tmp_path / "mira.zip", tmp_path / "other") / "tokenizer.json").read_text() == "{}"


def test_links_and_files_that_are_no_zip_are_refused(tmp_path):
    file = write_zip(tmp_path / "link.zip", {"adapter_config.json": b"/etc/passwd"}, link="adapter_config.json")
    with pytest.raises(EngineError, match="the link"):
        zip_file.unpack(file, tmp_path / "shelf")
    (tmp_path / "no.zip").write_bytes(b"PK nothing")
    with pytest.raises(EngineError, match="cannot be unpacked"):
        zip_file.unpack(tmp_path / "no.zip", tmp_path / "shelf")


def test_a_zip_that_unpacks_to_more_than_it_says_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(zip_file, "LIMIT", 1000)
    honest = write_zip(tmp_path / "big.zip", {"adapter_config.json": b"{}", "adapter_model.safetensors": bytes(2000)})
    with pytest.raises(EngineError, match="more than"):
        zip_file.unpack(honest, tmp_path / "shelf")
    with zipfile.ZipFile(honest) as file, pytest.raises(EngineError, match="more than"):
        zip_file.extract(file, file.infolist(), tmp_path, "big.zip")


def test_renaming_takes_folder_card_and_memory_along(app):
    write_adapter(app.adapters[0] / "mira")
    adapter_library.rescan(app)
    assert adapter_library.rename(app, "mira", "米拉") == "米拉"
    assert list(app.engine.adapters) == ["米拉"] and not (app.adapters[0] / "mira").exists()
    assert adapter_library.read_card(app.adapters[0] / "米拉")["name"] == "米拉"
    for wrong in ("", "../out", "a b/c", ".x"):
        with pytest.raises(EngineError, match="is no name"):
            adapter_library.rename(app, "米拉", wrong)


def test_deleting_removes_only_what_lies_on_a_shelf(app, tmp_path):
    write_adapter(app.adapters[0] / "mira")
    outside = write_adapter(tmp_path / "elsewhere")
    adapter_library.rescan(app)
    adapter_library.try_load_folder(app, outside)
    adapter_library.delete(app, "mira")
    assert not (app.adapters[0] / "mira").exists() and list(app.engine.adapters) == ["elsewhere"]
    with pytest.raises(EngineError, match="none of the page's shelves"):
        adapter_library.delete(app, "elsewhere")
    assert outside.is_dir()


def test_the_folder_of_a_running_job_is_left_alone(app):
    folder = write_adapter(app.adapters[0] / "busy")
    adapter_library.rescan(app)
    store.jobs.add(app.db, name="busy", kind="train", arguments=[], folder=str(folder.resolve()), log="", device="cpu")
    for change in (lambda: adapter_library.delete(app, "busy"), lambda: adapter_library.rename(app, "busy", "idle")):
        with pytest.raises(EngineError, match="writes to this folder"):
            change()
    assert folder.is_dir()


def test_what_was_taken_out_rests_on_the_shelf_and_a_run_under_way_does_not(app):
    write_adapter(app.adapters[0] / "mira")
    write_adapter(app.adapters[0] / "run" / "checkpoint-5")
    assert [folder.name for folder in adapter_library.unloaded_folders(app)] == ["mira"]
    adapter_library.rescan(app)
    assert adapter_library.unloaded_folders(app) == [] and list(app.engine.adapters) == ["mira"]
    app.engine.adapters.clear()
    assert adapter_library.folder_of(app, "mira") == app.adapters[0] / "mira"
    assert os.path.samefile(adapter_library.unloaded_folders(app)[0], app.adapters[0] / "mira")


def test_the_cells_of_experiments_are_offered_and_not_loaded_unasked(app):
    cell = write_adapter(app.adapters[0] / "experiments" / "diverse8")
    assert adapter_library.rescan(app) == [] and adapter_library.unloaded_folders(app) == [cell]
    assert adapter_library.ensure_loaded(app, cell) == "diverse8"
