"""Files on their way to a browser: nothing of them stays, neither of a download nor of a program that was killed."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from label_page import PageEngine, queue
from parcels import write_adapter
from served import served

import store
from engine.types import EngineError
from ui import temp_files
from ui.tabs.adapters import download as adapters_download, layout as adapters_layout, zip_file
from ui.tabs.label import files as label_files
from ui.tabs.results import events as results_events

HERE = Path(__file__).parents[2]
PROGRAM = """
import os, sys, time
from ui import temp_files
(temp_files.new_folder() / "large.zip").write_bytes(bytes(1000))
if not os.fork():
    sys.exit()  # a copy takes nothing along
os.wait()
print(temp_files.program_folder(), flush=True)
time.sleep(float(sys.argv[1]))
"""


def program(root: Path, seconds: float) -> tuple[subprocess.Popen, Path]:
    """A program that has something to give out, and the folder in which it keeps it."""
    environment = os.environ | {temp_files.PLACE: str(root), "PYTHONPATH": str(HERE)}
    started = subprocess.Popen([sys.executable, "-c", PROGRAM, str(seconds)], env=environment, stdout=subprocess.PIPE, text=True)
    return started, Path(started.stdout.readline().strip())


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with served(PageEngine(), tmp_path_factory.mktemp("passing")) as site:
        for name in ("mira", "米拉 2", "a&b"):
            write_adapter(site.adapters / name)
        yield site


def get(site, name: str, **headers):
    request = urllib.request.Request(f"{site.address.rstrip('/')}{adapters_download.ADDRESS}?name={urllib.parse.quote(name)}")
    request.headers.update(headers)
    return urllib.request.urlopen(request, timeout=30)


def everything() -> set[str]:
    return {str(path) for path in temp_files.program_folder().rglob("*")}


def nameless(seconds: float = 20) -> list[str]:
    """What this process goes on holding open of files without a name in the folder of passing files."""
    deadline = time.monotonic() + seconds  # the reader may have everything before the sender has closed it
    while held := [
        path for path in map(target, os.listdir("/proc/self/fd")) if path.startswith(str(temp_files.program_folder()))
    ]:
        if time.monotonic() > deadline:
            return held
        time.sleep(0.02)
    return []


def target(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:  # closed between the two looks
        return ""


def test_a_program_that_ends_takes_its_files_along_and_the_next_one_those_of_a_killed_one(tmp_path):
    ended, its = program(tmp_path, 0)
    assert ended.wait(30) == 0 and its.parent == tmp_path and not its.exists()
    killed, left = program(tmp_path, 60)
    running, kept = program(tmp_path, 60)
    killed.send_signal(signal.SIGKILL)
    killed.wait(30)
    (tmp_path / f"{temp_files.PREFIX}notes").mkdir()  # nobody's
    assert left.is_dir() and kept.is_dir()
    try:
        after, its = program(tmp_path, 0)
        assert after.wait(30) == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([kept.name, f"{temp_files.PREFIX}notes"])
        assert len(list(kept.rglob("large.zip"))) == 1
    finally:
        running.kill()
        running.wait(30)


def test_a_number_that_was_given_anew_keeps_nothing(tmp_path):
    old = tmp_path / f"{temp_files.PREFIX}{os.getpid()}-{'0' * 12}-abc"
    mine = tmp_path / f"{temp_files.PREFIX}{temp_files.owner(os.getpid())}-abc"
    for folder in (old, mine):
        folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("kept")
    (tmp_path / f"{temp_files.PREFIX}1-x-link").symlink_to(tmp_path / "elsewhere")
    temp_files.sweep(tmp_path)
    assert not old.exists() and mine.is_dir() and (tmp_path / "elsewhere" / "kept").is_file()


def test_gradio_keeps_its_copies_there_for_a_day(site):
    assert (
        gr.utils.get_upload_folder() == str(temp_files.program_folder())
        and temp_files.program_folder().stat().st_mode & 0o077 == 0
    )
    assert str(temp_files.program_folder()) == gr.Textbox(render=False).GRADIO_CACHE


def test_looking_at_an_adapter_writes_nothing(site):
    before = everything()
    tab = SimpleNamespace(
        **{name: name for name in adapters_layout.Adapters.__dataclass_fields__ if name != "actions"}, actions={}
    )
    updates = adapters_layout.show_adapter(site.app, tab, "en", "mira")
    assert updates["download"]["visible"] is True and everything() == before and not nameless()


@pytest.mark.parametrize("name", ["mira", "米拉 2", "a&b"])
def test_a_download_is_whole_and_leaves_nothing(site, name):
    before = everything()
    with get(site, name) as answer:
        data = answer.read()
        assert int(answer.headers["content-length"]) == len(data)
        assert urllib.parse.unquote(answer.headers["content-disposition"]).endswith(f"''{name}.zip")
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        assert packed.testzip() is None and f"{name}/adapter_model.safetensors" in packed.namelist()
        assert not any(entry.flag_bits & 8 for entry in packed.infolist())  # sizes stand before the data: any program unpacks it
    assert everything() == before and not nameless()


def test_a_download_that_is_broken_off_leaves_nothing(site):
    folder = write_adapter(site.adapters / "large")
    (folder / "README.md").write_bytes(bytes(40_000_000))  # more than what the sockets hold
    before = everything()
    with get(site, "large") as answer:
        answer.read(1000)
        assert everything() == before and nameless(0)
    assert not nameless() and everything() == before


@pytest.mark.parametrize("name", ["gone", "", "../mira", "/etc"])
def test_what_is_no_adapter_of_the_page_is_refused(site, name):
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(site, name)
    assert refused.value.code == 404 and "no adapter" in refused.value.read().decode()


def test_a_disk_that_is_full_is_said_in_a_sentence(site, monkeypatch):
    def full(*_given, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zip_file.zipfile.ZipFile, "write", full)
    with pytest.raises(EngineError, match="mira cannot be packed: the disk that holds .* is full .* free"):
        zip_file.pack(site.adapters / "mira", "mira")
    assert not nameless()


def test_a_file_without_a_date_is_packed(site):
    folder = write_adapter(site.adapters / "undated")
    os.utime(folder / "adapter_config.json", (0, 0))
    file, size = zip_file.pack(folder, "undated")
    with file:
        assert len(file.read()) == size


def test_who_has_not_logged_in_gets_no_adapter(site, monkeypatch):
    monkeypatch.setattr(adapters_download, "visitor", lambda _request: None)
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(site, "mira")
    assert refused.value.code == 401


def test_reports_and_labels_lie_in_the_same_place(site):
    from probes.answers import sources
    from probes.report import build

    queue(site.db, 4)
    for item in (1, 2):
        store.labels.add(site.db, item, "An", "formed")
    files, _ = label_files.export_labels(site.app, None)
    made = build.build_report(sources.Answers([{"variant": "a", "probe_id": "p", "lang": "en", "question": "?", "answer": "!"}]))
    archive, single = results_events.pack_report(made, "", "en")
    assert files and single
    assert all(temp_files.program_folder() in Path(file).parents for file in [*files, archive, *single])


def test_what_has_lain_for_too_long_goes_and_what_is_new_stays():
    old, mixed, new = temp_files.new_folder(), temp_files.new_folder(), temp_files.new_folder()
    loose = temp_files.program_folder() / "loose.csv"
    for file in (old / "report.zip", mixed / "a.csv", mixed / "b.csv", new / "c.csv", loose):
        file.write_text("x")
    long_ago = time.time() - temp_files.KEPT_FOR - 60
    for path in (old / "report.zip", old, mixed / "a.csv", mixed, loose):
        os.utime(path, (long_ago, long_ago))
    assert set(temp_files.clear()) >= {old, loose}
    assert not old.exists() and not loose.exists() and (mixed / "a.csv").exists() and (new / "c.csv").exists()
    shutil.rmtree(mixed)
    shutil.rmtree(new)
