"""Tables of contents that lie, and files that would take more than they weigh."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import save_file
from tiny import edit_json, tiny_llama, write_adapter

from common import seeming, zips
from engine import entries
from engine.adapters import read_adapter, read_config, read_tensors
from engine.types import EngineError
from ui.tabs.adapters import zip_file

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_adapter(tmp_path_factory.mktemp("made") / "mine", tiny_llama(num_hidden_layers=1))


def zipped(file: Path, contents: dict[str, bytes], method: int) -> Path:
    with zipfile.ZipFile(file, "w", method) as packed:
        for name, content in contents.items():
            packed.writestr(name, content)
    return file


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_stored_and_deflated_zips_are_taken(made, tmp_path, method):
    file = zipped(tmp_path / "up.zip", {name: (made / name).read_bytes() for name in (CONFIG, WEIGHTS)}, method)
    kept = zip_file.unpack(file, tmp_path / "shelf")
    assert (kept / WEIGHTS).read_bytes() == (made / WEIGHTS).read_bytes()


@pytest.mark.parametrize(("method", "told"), [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "lzma")])
@pytest.mark.parametrize("packed", [CONFIG, WEIGHTS, "card.json"])
def test_other_methods_are_refused_before_a_byte_is_unpacked(made, tmp_path, monkeypatch, method, told, packed):
    file = tmp_path / "up.zip"
    with zipfile.ZipFile(file, "w") as target:
        for name in {CONFIG, WEIGHTS, packed}:
            content = (made / name).read_bytes() if (made / name).exists() else b"{}"
            target.writestr(name, content, method if name == packed else zipfile.ZIP_STORED)
    monkeypatch.setattr(zip_file, "extract", None)
    with pytest.raises(EngineError, match=f"holds '{packed}' packed with {told}; only stored and deflated entries are read"):
        zip_file.unpack(file, tmp_path / "shelf")
    assert not list((tmp_path / "shelf").glob("*"))


def test_a_small_zip_that_makes_much_is_stopped_at_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(zip_file, "LIMIT", 1 << 20)
    file = zipped(tmp_path / "bomb.zip", {CONFIG: b"{}", WEIGHTS: bytes(1 << 26)}, zipfile.ZIP_DEFLATED)
    raw = bytearray(file.read_bytes())  # the directory says that there is little: it is not believed
    at = raw.rindex(b"PK\x01\x02")
    raw[at + 24 : at + 28] = struct.pack("<I", 1000)
    file.write_bytes(raw)
    tracemalloc.start()
    with pytest.raises(EngineError):
        zip_file.unpack(file, tmp_path / "shelf")
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()
    assert not list((tmp_path / "shelf").glob("*"))


def test_a_directory_of_very_many_entries_is_not_read(tmp_path, monkeypatch):
    """Every entry costs half a kilobyte of memory when it is listed."""
    monkeypatch.setattr(zips, "DIRECTORY", 5_000)
    file = zipped(tmp_path / "many.zip", {f"{at}.txt": b"" for at in range(200)}, zipfile.ZIP_STORED)
    monkeypatch.setattr(zipfile.ZipFile, "_RealGetContents", None)
    with pytest.raises(EngineError, match=r"its directory takes [\d,]+ bytes, at most 5,000 are read"):
        zip_file.unpack(file, tmp_path / "shelf")


METHODS = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
NAMES = st.sampled_from([CONFIG, WEIGHTS, f"a/{CONFIG}", f"a/{WEIGHTS}", "card.json", "a/card.json", "../x", "README.md"])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(NAMES, st.binary(max_size=80), METHODS), max_size=6), st.integers(0, 10_000), st.integers(0, 255))
def test_any_zip_is_an_adapter_or_a_sentence(tmp_path_factory, contents, place, value):
    """Whatever is in it, and with one byte of it changed."""
    folder, raw = tmp_path_factory.mktemp("z"), io.BytesIO()
    with zipfile.ZipFile(raw, "w") as packed, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name that stands there twice
        for name, content, method in contents:
            packed.writestr(name, content, method)
    changed = bytearray(raw.getvalue())
    changed[place % len(changed)] = value
    (folder / "up.zip").write_bytes(changed)
    try:
        zip_file.unpack(folder / "up.zip", folder / "shelf")
    except EngineError as error:
        assert "up.zip" in str(error) or ".upload-" in str(error)
    assert not list((folder / "shelf").glob(".upload-*")) and not (folder / "x").exists()


# --- what a checkpoint promises


def header(file: Path, tensors: dict, data: bytes = b"") -> Path:
    text = json.dumps(tensors).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return file


def named(shape: tuple[int, int], side: str = "A", layer: int = 0, kind: str = "F32") -> dict:
    key = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{side}.weight"
    return {key: {"dtype": kind, "shape": list(shape), "data_offsets": [0, 0]}}


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        (named((5000, 8)), r"lora_A.weight has rank 5,000, at most 4,096 is taken"),
        (named((8, 10**6), "B"), r"lora_B.weight has rank 1,000,000"),
        (named((8, 10**12)), r"needs about 29802.3 GiB of memory"),
        (
            {f"t{at}": {"dtype": "F32", "shape": [1], "data_offsets": [0, 0]} for at in range(101)},
            "holds 101 tensors, at most 100",
        ),
    ],
)
def test_what_is_too_large_is_said_from_the_header(made, tmp_path, monkeypatch, tensors, says):
    monkeypatch.setattr(entries, "ENTRIES", 100)
    monkeypatch.setattr("engine.adapters.load_file", None)  # nothing is read
    (tmp_path / CONFIG).write_bytes((made / CONFIG).read_bytes())
    header(tmp_path / WEIGHTS, tensors)
    with pytest.raises(EngineError, match=says):
        read_adapter(tmp_path)


def test_a_header_larger_than_any_models_is_not_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(seeming, "HEADER", 1000)
    header(tmp_path / WEIGHTS, {f"t{at}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for at in range(40)})
    monkeypatch.setattr(seeming.json, "loads", None)
    with pytest.raises(EngineError, match=r"its header takes [\d,]+ bytes, at most 1,000 are read"):
        read_tensors(tmp_path)


def test_a_header_of_nested_lists_is_a_sentence(tmp_path):
    text = b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    (tmp_path / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(EngineError, match="its header is not readable"):
        read_tensors(tmp_path)


def legacy(made: Path, folder: Path) -> Path:
    (folder / CONFIG).write_bytes((made / CONFIG).read_bytes())
    torch.save(read_tensors(made)[1], folder / "adapter_model.bin")
    return folder / "adapter_model.bin"


def test_a_bin_of_packed_parts_is_refused(made, tmp_path):
    """torch unpacks what others packed: 10 MB of zeros are 10 kB."""
    file = legacy(made, tmp_path)
    assert read_adapter(tmp_path)
    with zipfile.ZipFile(file) as plain:
        contents = {entry.filename: plain.read(entry) for entry in plain.infolist()}
    zipped(file, contents, zipfile.ZIP_DEFLATED)
    with pytest.raises(EngineError, match="is a packed archive, which torch.save does not write"):
        read_adapter(tmp_path)


def test_a_bin_that_names_one_place_many_times_is_refused(made, tmp_path):
    """Entries of the directory that all show the same bytes: each is memory of its own once it is read."""
    file = legacy(made, tmp_path)
    raw = file.read_bytes()
    with open(file, "rb") as opened, zipfile.ZipFile(file) as plain:
        end = zipfile._EndRecData(opened)
        largest = max(plain.infolist(), key=lambda entry: entry.file_size)
    start, size, count = end[zipfile._ECD_OFFSET], end[zipfile._ECD_SIZE], end[zipfile._ECD_ENTRIES_TOTAL]
    at = raw.index(largest.filename.encode(), start) - 46
    one = raw[at : at + 46 + sum(struct.unpack("<HHH", raw[at + 28 : at + 34]))]
    directory = raw[start : start + size] + one * 100
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count + 100, count + 100, len(directory), start, 0)
    file.write_bytes(raw[:start] + directory + tail)
    with pytest.raises(EngineError, match=r"promises [\d,]+ bytes of weights in a file of"):
        read_adapter(tmp_path)


def test_a_bin_whose_numbers_stand_for_very_many_is_refused(made, tmp_path):
    """A view without strides is one number that counts as a billion."""
    (tmp_path / CONFIG).write_bytes((made / CONFIG).read_bytes())
    key = next(iter(named((1, 1))))
    torch.save({key: torch.zeros(1).expand(8, 1 << 40)}, tmp_path / "adapter_model.bin")
    with pytest.raises(EngineError, match="GiB of memory"):
        read_adapter(tmp_path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"r": 10**9}, "r is 1000000000, at most 4096"),
        ({"rank_pattern": {"q_proj": 10**6}}, "1000000, at most 4096"),
        ({"layer_replication": [[0, 10**9]]}, "makes 1,000,000,000 layers"),
        ({"layer_replication": [[0, 1]] * 2000}, "makes 2,000 layers"),
    ],
)
def test_ranks_and_layers_of_a_configuration_are_bounded(made, tmp_path, changes, says):
    (tmp_path / CONFIG).write_bytes((made / CONFIG).read_bytes())
    edit_json(tmp_path / CONFIG, **changes)
    with pytest.raises(EngineError, match=says):
        read_config(tmp_path)


def test_peft_is_not_asked_for_a_rank_that_the_weights_do_not_have(tmp_path):
    """It makes room for what the configuration names before it looks at the weights."""
    from tuning import merge_by_peft

    folder = write_adapter(tmp_path / "dora", tiny_llama(num_hidden_layers=1), use_dora=True)
    assert merge_by_peft.read(folder)
    edit_json(folder / CONFIG, r=4000)
    with pytest.raises(EngineError, match="holds weights of rank 8, its configuration names 4000"):
        merge_by_peft.read(folder)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.dictionaries(
        st.sampled_from([*named((1, 1)), *named((1, 1), "B"), "other", "__metadata__"]),
        st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["F32", "BF16", "F8_E4M3", "X"]),
                "shape": st.lists(st.integers(0, 2**62), max_size=3),
                "data_offsets": st.lists(st.integers(0, 64), min_size=2, max_size=2),
            }
        ),
        max_size=3,
    ),
    st.binary(max_size=64),
)
def test_any_header_is_read_or_a_sentence(made, tmp_path_factory, tensors, data):
    folder = tmp_path_factory.mktemp("h")
    (folder / CONFIG).write_bytes((made / CONFIG).read_bytes())
    header(folder / WEIGHTS, tensors, data)
    try:
        read_adapter(folder)
    except EngineError as error:
        assert str(folder) in str(error)


def test_a_gz_that_makes_much_is_stopped(tmp_path, monkeypatch):
    from tuning.dataset.tables import read_table

    monkeypatch.setattr(seeming, "UNPACKED", 1 << 21)
    file = tmp_path / "rows.json.gz"
    file.write_bytes(gzip.compress(b"[" + b" " * (1 << 24) + b"]"))
    assert read_table(file, "rows.json.gz").problems[0].startswith("rows.json.gz unpacks to more than")


def test_weights_of_ordinary_size_pass(made, tmp_path):
    info, weights = read_adapter(made)
    assert info.rank == 8 and weights
    save_file({key: tensor.bfloat16() for key, tensor in read_tensors(made)[1].items()}, tmp_path / WEIGHTS)
    (tmp_path / CONFIG).write_bytes((made / CONFIG).read_bytes())
    assert read_adapter(tmp_path)[0].rank == 8
