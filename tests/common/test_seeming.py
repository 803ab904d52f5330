"""A file that is only a pointer, an error page, a beginning or nothing is named as that."""

from __future__ import annotations

import gzip
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from common.seeming import not_what_it_seems
from engine import EngineError
from engine.checkpoint import refuse_seeming

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 13476838144\n"
PAGE = b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><head><title>403 Forbidden</title></head></html>\n"


NAMES = ["model.safetensors", "pytorch_model.bin", "config.json", "tokenizer.model", "a.gguf", "rows.csv", "x.gz"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (POINTER, "is a Git LFS pointer (to 13,476,838,144 bytes), not the file itself: fetch it with git lfs pull"),
        (b"/annex/objects/SHA256E-s12--abc\n", "is a git-annex pointer"),
        (PAGE, "is an HTML page (an error page saved under this name?)"),
        (b"", "is empty"),
        (bytes(5000), "begins with nothing but zeros"),
    ],
)
def test_what_downloads_leave_behind_is_named_under_every_name(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    assert not_what_it_seems(tmp_path / name).startswith(said)
    with pytest.raises(EngineError, match=name):
        refuse_seeming([tmp_path / name])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.safetensors", b"Entry not found", "is a text, not weights: it says 'Entry not found'"),
        ("pytorch_model.bin", b'{"error": "Repository not found"}', "is a text, not weights"),
        ("model.safetensors", b"PK\x03\x04" + bytes(90), "is a zip archive, not what its name says"),
        ("rows.jsonl", b"\x1f\x8b\x08" + bytes(30), "is a gzip archive"),
        ("a.gguf", b"GGML" + b"\x01" * 30, "is not a GGUF model"),
        ("a.parquet", b"PAR1" + b"\x01" * 30, "is cut off"),
        ("a.gguf", b"GGUF\x03\0\0\0" + b"\x01" * 30, "is cut off or damaged"),
        ("model.safetensors", b"\x80" + bytes(7) + b'{"a"', "is cut off (its header promises 136 bytes, there are 12)"),
        ("model.safetensors", b"\x04" + bytes(7) + b'{"a"', "is damaged"),
        ("model.safetensors", b"\x01", "is cut off"),
    ],
)
def test_what_else_a_file_may_be(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    assert not_what_it_seems(tmp_path / name).startswith(said)


def test_whole_files_have_nothing_odd_and_their_halves_have(tmp_path):
    weights = {"a": torch.ones(300), "b": torch.zeros(3, 40)}
    save_file(weights, tmp_path / "model.safetensors")
    save_file({}, tmp_path / "none.safetensors")
    torch.save(weights, tmp_path / "new.bin")
    torch.save(weights, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(b"question,answer\n" * 9000))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a.json", "{}")
    for name, text in {"config.json": "{}", "a.txt": "Hello", "x.html": "<html></html>", "tokenizer.model": "\n\x0e\n"}.items():
        (tmp_path / name).write_text(text)
    assert {path.name: not_what_it_seems(path) for path in tmp_path.iterdir()} == {path.name: None for path in tmp_path.iterdir()}
    assert not_what_it_seems(tmp_path) is None and not_what_it_seems(tmp_path / "nowhere") is None
    for name in ("model.safetensors", "new.bin", "rows.csv.gz", "a.zip"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) * 2 // 3])
        assert not_what_it_seems(tmp_path / name).startswith("is cut off"), name


def test_a_download_under_way_and_a_link_into_nothing(tmp_path):
    save_file({"a": torch.ones(3)}, tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors.aria2").write_bytes(b"x")
    assert not_what_it_seems(tmp_path / "model.safetensors").startswith("is not downloaded to its end")
    (tmp_path / "config.json").symlink_to(tmp_path / "blobs" / "gone")
    assert not_what_it_seems(tmp_path / "config.json").startswith("is a link to a file that is not there")
