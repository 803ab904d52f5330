"""Paths that somebody typed, posted or wrote into a file: where they may lead, and that nothing is read without an end."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from stand_in import StandIn

import chat_app
import identities
import store
from common import files, paths
from common.paths import Opened
from engine import EngineError, bases, formats
from engine.adapters import read_adapter
from engine.card import NO_CARD
from engine.checkpoint import refuse_seeming_files
from identities import IdentityError
from probes import identity_pair
from probes.answers import exchange
from probes.run import plan
from store import StoreError
from tuning.dataset import readers
from tuning.dataset.recipe import GENERAL, Dataset, compose
from tuning.dataset.rows import DataError
from tuning.train import preflight
from tuning.train.settings import Settings
from ui import adapter_library, training
from ui.context import App
from ui.tabs.adapters import merging as adapters_merging
from ui.tabs.probes import form as probes_form
from ui.words import Languages

ROW = '{"instruction": "Hi", "output": "Hello."}\n'
FEW = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ERRORS = (DataError, EngineError, StoreError, IdentityError, exchange.RowsError, identity_pair.FactsError, probes_form.ProbeError)


@contextmanager
def at_once(seconds: int = 20) -> Iterator[None]:
    """Fails where something waits for a pipe or reads without an end."""

    def late(*_):
        raise AssertionError("it did not come to an end")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def rooms(tmp_path):
    """A folder that was opened, one that was not, and links from the first to the second."""
    opened, outside = tmp_path / "opened", tmp_path / "outside"
    (opened / "below").mkdir(parents=True)
    outside.mkdir()
    (opened / "rows.jsonl").write_text(ROW)
    (outside / "secrets.json").write_text('[{"instruction": "the password", "output": "hunter2"}]')
    (opened / "link.json").symlink_to(outside / "secrets.json")
    (opened / "link").symlink_to(outside)
    return SimpleNamespace(opened=opened, outside=outside, gate=Opened((opened,)))


def odd(folder: Path, name: str = "odd.json") -> dict[str, Path]:
    """Things under the name of a file that are none."""
    made = {kind: folder / kind / name for kind in ("pipe", "socket", "device", "system", "full")}
    for path in made.values():
        path.parent.mkdir()
    os.mkfifo(made["pipe"])
    with socket.socket(socket.AF_UNIX) as one:
        here = os.open(folder / "socket", os.O_RDONLY)  # its address has room for 108 bytes only
        one.bind(f"/proc/self/fd/{here}/{name}")
        os.close(here)
    made["device"].symlink_to("/dev/zero")
    made["system"].symlink_to("/proc/self/environ")
    made["full"].symlink_to("/dev/full")
    return made


READERS = {
    "data": readers.read,
    "a folder of data": lambda path: readers.read(path.parent),
    "labels": exchange.read_rows,
    "facts": identity_pair.load,
    "a format": lambda path: formats.find(str(path)),
    "a script": lambda path: plan.load_script(path),
    "probes": lambda path: probes_form.questions.load(path),
    "a database": store.open,
    "general rows": lambda path: compose(Dataset(identity="museum-guide", rows=4, general=str(path))),
    "a model's folder": lambda path: refuse_seeming_files(path.parent),
    "an adapter's folder": lambda path: read_adapter(path.parent),
}


@pytest.mark.parametrize("what", READERS)
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "system", "full"])
def test_what_has_no_end_is_refused_in_a_sentence_and_nothing_of_it_is_read(tmp_path, what, kind):
    path = odd(tmp_path)[kind]
    with at_once(), pytest.raises(ERRORS) as refused:
        READERS[what](path)
    said = str(refused.value)
    assert "\n" not in said and len(said) < 600
    if what not in ("a script", "probes"):
        assert any(word in said for word in ("a pipe", "a socket", "a device", "the running system"))


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/stdin", "/proc", "/proc/self/mem", "/sys", "/dev"])
def test_the_local_user_is_told_the_same(path):
    if not os.path.exists(path) or (path == "/dev/stdin" and os.path.isfile(path)):
        pytest.skip("not on this machine")
    with at_once(), pytest.raises(DataError, match="a device|a pipe|the running system"):
        readers.read(path)


def test_files_kept_in_memory_are_files(tmp_path):
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("no /dev/shm on this machine")
    file = Path(f"/dev/shm/mirror-test-{os.getpid()}.jsonl")
    try:
        file.write_text(ROW)
        assert len(readers.read(file)) == 1
    finally:
        file.unlink()


@pytest.mark.parametrize("write", [lambda path: files.write_text(path, "x"), lambda path: readers.write([], path)])
def test_nothing_is_written_over_a_pipe_or_a_device(tmp_path, write):
    os.mkfifo(tmp_path / "out.jsonl")
    (tmp_path / "null").symlink_to("/dev/null")
    for path in (tmp_path / "out.jsonl", tmp_path / "null"):
        with at_once(), pytest.raises((OSError, DataError), match="a pipe|a device"):
            write(path)
    assert (tmp_path / "out.jsonl").is_fifo() and (tmp_path / "null").is_symlink()


def test_a_base_and_a_run_s_folder_are_no_devices(tmp_path):
    with pytest.raises(EngineError, match="is a device"):
        bases.find("/dev/zero")
    settings = Settings(data_path="x", output_dir="/dev/null")
    assert preflight.folder_problems(settings) == [f"--output_dir /dev/null {paths.why_no_file('/dev/null')}."]


def test_an_identity_that_is_a_pipe_stops_nobody(tmp_path):
    os.mkfifo(tmp_path / "odd.txt")
    (tmp_path / "good.txt").write_text("You are Good.\n")
    with at_once():
        assert identities.load("good", tmp_path).prompt == "You are Good."
        with pytest.raises(IdentityError, match=r"odd\.txt is a pipe"):
            identities.load("odd", tmp_path)


def test_reading_stops_at_a_bound_that_is_said(tmp_path):
    large = tmp_path / "large.jsonl"
    with large.open("wb") as file:
        file.write(ROW.encode())
        file.truncate(paths.MOST + 1)  # a hole: it takes no room on the disk
    with at_once(), pytest.raises(DataError, match=r"1,024 MB, and 1,024 MB are the most that is read"):
        readers.read(large)
    with at_once(), pytest.raises(exchange.RowsError, match="the most that is read"):
        exchange.read_rows(large)
    template = tmp_path / "large.jinja"
    template.write_text("x" * (paths.SMALL + 1))
    with pytest.raises(EngineError, match="cannot be read"):
        formats.find(str(template))


def test_packed_rows_are_bounded_as_they_unpack(tmp_path, monkeypatch):
    import gzip

    monkeypatch.setattr(paths, "MOST", 2**20)
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(ROW.encode() * 2**16))
    assert packed.stat().st_size < 2**17
    with pytest.raises(DataError, match="unpacks to more than 1 MB"):
        readers.read(packed)


def test_parquet_is_bounded_by_what_it_unpacks_to(tmp_path, monkeypatch):
    import pyarrow
    import pyarrow.parquet

    file = tmp_path / "rows.parquet"
    columns = {"instruction": [f"{at} " + "x" * 2000 for at in range(1000)], "output": ["y"] * 1000}
    pyarrow.parquet.write_table(pyarrow.table(columns), file, compression="gzip", use_dictionary=False)
    assert len(readers.read(file)) == 1000
    monkeypatch.setattr(paths, "MOST", 2**20)
    assert file.stat().st_size < 2**18
    with pytest.raises(DataError, match="the most that is read"):
        readers.read(file)


def test_a_folder_of_too_many_files_is_no_folder_of_data(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "MOST_FILES", 5)
    for number in range(6):
        (tmp_path / f"{number}.jsonl").write_text(ROW)
    with pytest.raises(DataError, match="more than 5 files"):
        readers.read(tmp_path)


# --- only what was opened ---------------------------------------------------------------------------------------------------


def test_only_folders_that_were_opened_are_read(rooms):
    assert len(readers.read(rooms.opened / "rows.jsonl", opened=rooms.gate)) == 1
    for path in (
        rooms.outside / "secrets.json",
        rooms.outside,
        rooms.opened / "link.json",
        rooms.opened / "link" / "secrets.json",
        rooms.opened / ".." / "outside" / "secrets.json",
        rooms.opened / "below" / ".." / "rows.jsonl",
        rooms.opened.parent,
        "/etc/passwd",
        "~",
        rooms.opened / "not there" / ".." / ".." / "outside",
    ):
        with pytest.raises(DataError) as refused:
            readers.read(path, opened=rooms.gate)
        assert "opened for this page" in str(refused.value) and "--data-dir" in str(refused.value)
        assert "hunter2" not in str(refused.value) and "secrets.json" not in str(refused.value).replace(str(path), "")


def test_a_folder_is_not_read_where_a_link_in_it_leads_out(rooms):
    with pytest.raises(DataError, match=r"link\.json' lies in no folder that was opened"):
        readers.read(rooms.opened, opened=rooms.gate)
    assert len(readers.read(rooms.opened)) == 2  # the local user's own


def test_dataset_info_leads_out_of_no_folder(rooms):
    below = rooms.opened / "below"
    (below / "own.json").write_text(f"[{ROW}]")
    info = {"a": {"file_name": "own.json"}, "b": {"file_name": "../../outside/secrets.json"}, "c": {"file_name": "/etc/passwd"}}
    (below / "dataset_info.json").write_text(json.dumps(info))
    notes: list[str] = []
    rows = readers.read(below, opened=rooms.gate, notes=notes)
    assert [row.answer for row in rows] == ["Hello."]
    assert any("outside of the folder, which are not read" in note and "secrets.json" in note for note in notes)


@pytest.mark.parametrize("name", ["a\0b", "\ud800.json", "", "x" * 5000, "loop", "loop/x.json", "."])
def test_dataset_info_may_name_what_it_likes(rooms, name):
    (rooms.opened / "below" / "loop").symlink_to(rooms.opened / "below" / "loop")
    (rooms.opened / "below" / "own.json").write_text(f"[{ROW}]")
    (rooms.opened / "below" / "dataset_info.json").write_text(json.dumps({"a": {"file_name": name}}))
    for gate in (Opened(), rooms.gate):
        try:
            assert len(readers.read(rooms.opened / "below", opened=gate)) == 1
        except DataError as refused:
            assert "dataset_info.json names" in str(refused)


def test_dataset_info_beside_what_was_opened_is_not_looked_at(rooms):
    """The one in the folder above lies where nobody opened anything; neither is one that is a link."""
    (rooms.opened.parent / "dataset_info.json").write_text("the secret")
    (rooms.opened / "dataset_info.json").symlink_to(rooms.outside / "secrets.json")
    assert len(readers.read(rooms.opened / "rows.jsonl", opened=rooms.gate)) == 1
    with pytest.raises(DataError, match=r"dataset_info\.json is no object"):
        readers.read(rooms.opened / "rows.jsonl")


def test_what_was_read_for_one_is_not_kept_for_another(rooms):
    recipe = Dataset(identity="museum-guide", rows=4, general=str(rooms.outside / "secrets.json"), clean=False)
    assert compose(recipe).general == 1
    with pytest.raises(DataError, match="opened for this page"):
        compose(recipe, rooms.gate)


@FEW
@given(
    parts=st.lists(
        st.sampled_from(["..", ".", "below", "rows.jsonl", "link", "link.json", "outside", "secrets.json", "~", "loop", ""])
        | st.text(max_size=6),
        max_size=7,
    ),
    start=st.sampled_from(["opened", "outside", "", "/", "~", "root"]),
)
def test_no_path_whatever_leads_out(rooms, parts, start):
    loop = rooms.opened / "loop"
    if not loop.is_symlink():
        loop.symlink_to(loop)
    begin = {"opened": str(rooms.opened), "outside": str(rooms.outside), "root": str(rooms.opened.parent)}.get(start, start)
    typed = "/".join([begin, *parts])
    for write in (False, True):
        try:
            place = rooms.gate.place(typed, EngineError, write=write)
        except EngineError as refused:
            assert "\n" not in str(refused) or "\n" in typed
            continue
        assert ".." not in Path(typed.strip()).parts
        assert place == Path(os.path.realpath(place)) and place.is_relative_to(os.path.realpath(rooms.opened))
    with at_once():
        try:
            readers.read(typed, opened=rooms.gate)
        except DataError as refused:
            assert "hunter2" not in str(refused)


@FEW
@given(st.text(max_size=300) | st.sampled_from(["\0", "a" * 5000, "/" + "a/" * 3000, "~nobody/x", "\ud800", "loop"]))
def test_whatever_the_local_user_types_is_a_path_or_a_sentence(typed):
    try:
        place = Opened().place(typed, EngineError, "The folder")
    except EngineError as refused:
        assert str(refused).startswith("The folder")
        return
    place.exists()
    assert shelf_key(place)


def shelf_key(place: Path) -> str:
    """What the page does with a folder at every load."""
    return str(place.resolve())


def test_readable_is_not_writable_and_closed_is_for_nobody(rooms):
    gate = Opened((rooms.opened,), readable=(rooms.outside,), closed=(rooms.opened / "mirror.db",))
    (rooms.opened / "mirror.db").write_text("")
    (rooms.opened / "same.json").symlink_to(rooms.opened / "mirror.db")
    assert gate.place(rooms.outside / "secrets.json", EngineError)
    for path, write in (
        (rooms.outside / "new", True),
        (rooms.opened / "mirror.db", False),
        (rooms.opened / "same.json", False),
        (rooms.opened / "link" / "new", True),
    ):
        with pytest.raises(EngineError, match="opened for this page"):
            gate.place(path, EngineError, write=write)
    assert gate.place(rooms.opened / "below" / "new", EngineError, write=True) == (rooms.opened / "below" / "new").resolve()


# --- the page ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def apps(rooms):
    """The page as others reach it, and as the local user does; both over the same folders."""
    engine = StandIn()
    engine.base.card, engine.base.remote_code = NO_CARD, False
    places = (engine, rooms.opened / "runs" / "mirror.db", identities.FOLDER, (rooms.opened / "adapters",), Languages())
    gate = Opened((rooms.opened,), readable=(GENERAL.parent,))
    return SimpleNamespace(shared=App(*places, opened=gate), own=App(*places))


WISH = {"identity": "museum-guide", "rows": 4}


def test_the_training_form_takes_no_file_from_elsewhere(apps, rooms):
    secret = str(rooms.outside / "secrets.json")
    (rooms.outside / "own.jinja").write_text("{{ secret }}")
    for form_values in (
        {"general": secret},
        {"general": str(rooms.opened / "link.json")},
        {"general": f"{rooms.opened}/../outside"},
        {"prompt_template_name": secret},
        {"prompt_template_name": str(rooms.outside / "own.jinja")},
        {"prompt_template_name": "../../x.json"},
    ):
        with pytest.raises(DataError, match="opened for this page"):
            training.read_form(apps.shared, WISH | form_values)
        training.read_form(apps.own, WISH | form_values)
    for name in ("output_dir", "data_path", "identities_dir", "resume_from_checkpoint", "base_model"):
        with pytest.raises(DataError, match="has no"):
            training.read_form(apps.shared, WISH | {name: secret})
    for general in (str(GENERAL), str(rooms.opened / "rows.jsonl"), "owner/name", ""):
        form_values = training.read_form(apps.shared, WISH | {"general": general, "prompt_template_name": "chatml"})
        assert form_values.dataset.general == general


def test_adapters_are_added_merged_and_fetched_only_from_what_was_opened(apps, rooms):
    def adapter(folder: Path) -> Path:
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text("{}")
        return folder

    outside, inside = adapter(rooms.outside / "one"), adapter(rooms.opened / "adapters" / "two")
    linked = adapter(rooms.opened / "adapters" / "three")
    (linked / "card.json").symlink_to(rooms.outside / "secrets.json")
    (rooms.opened / "adapters" / "four").symlink_to(outside)
    assert (
        adapter_library.try_load_folder(apps.shared, outside) is None
        and adapter_library.try_load_folder(apps.shared, rooms.opened / "link" / "one") is None
    )
    assert adapter_library.rescan(apps.shared) == ["two"]
    assert all("opened for this page" in why for why in apps.shared.refused.values()) and len(apps.shared.refused) == 2
    for target in (rooms.outside / "new", rooms.opened / "link" / "new", f"{rooms.opened}/../new", "/tmp/x", "../../x", "~/x"):
        with pytest.raises(EngineError, match="opened for this page"):
            adapters_merging.queue_merge(apps.shared, "two", str(target), 1.0)
    with pytest.raises(EngineError, match="opened for this page"):
        adapters_merging.queue_merge(apps.shared, "three", str(rooms.opened / "new"), 1.0)
    assert adapter_library.opened_folder(apps.shared, inside) == inside.resolve()
    assert adapter_library.try_load_folder(apps.own, outside) == "one"


def test_a_run_of_somebody_else_s_folder_is_stopped_but_not_discarded_or_gone_on_with(apps, rooms):
    db = apps.shared.db
    folder = rooms.outside / "run"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_text("weights")
    id = store.jobs.add(db, name="run", kind="train", arguments=[], folder=str(folder), log=str(folder / "log.txt"), device="cpu")
    for act in (training.resume, lambda app, id: training.stop(app, id, keep=False)):
        with pytest.raises(DataError, match="opened for this page"):
            act(apps.shared, id)
    assert (folder / "adapter_model.safetensors").exists()
    training.stop(apps.shared, id, keep=True)
    assert store.jobs.get(db, id)["status"] != "queued"


def test_probe_sets_and_scripts_are_named_not_typed_as_paths(rooms):
    (rooms.outside / "own.jsonl").write_text('{"id": "a", "lang": "en", "group": "novel", "category": "name", "turns": ["?"]}\n')
    plain = {"variants": ["base"], "sets": [str(rooms.outside / "own.jsonl")]}
    with pytest.raises(probes_form.ProbeError, match="no probe set"):
        probes_form.read_form(plain)
    with pytest.raises(probes_form.ProbeError, match="no script"):
        probes_form.read_form(plain | {"sets": ["quick"], "asking": "scripted", "script": str(rooms.outside / "secrets.json")})
    assert probes_form.read_form(plain | {"sets": ["quick"]}).set_name == "quick"


def test_the_door_opens_folders_to_those_who_log_in_and_all_to_the_local_user(tmp_path, capsys):
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir()
    elsewhere.mkdir()
    shelves = (tmp_path / "shelf",)

    def gate(*flags: str, others: bool) -> Opened:
        args = chat_app.flags().parse_args(["--db", str(tmp_path / "home" / "mirror.db"), *flags])
        return chat_app.opened_folders(args, shelves, others)

    assert gate(others=False) == Opened()
    shared = gate("--data-dir", str(data), "--data-dir", str(elsewhere), "--adapter", str(tmp_path / "mine"), others=True)
    home = tmp_path / "home"
    there = [data / "x", elsewhere / "y", shelves[0] / "a", home / "merged" / "m", home / "data" / "r"]
    assert all(shared.holds(path, write=True) for path in there)
    assert shared.holds(GENERAL) and not shared.holds(GENERAL, write=True)
    assert shared.holds(tmp_path / "mine") and not shared.holds(tmp_path / "mine", write=True)
    for path in (tmp_path / "home" / "mirror.db", tmp_path / "home" / "letter.txt", tmp_path, "/etc/passwd"):
        assert not shared.holds(path)
    assert chat_app.main(["--data-dir", str(tmp_path / "nowhere")]) == 2
    assert "--data-dir" in capsys.readouterr().err
