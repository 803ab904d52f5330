"""A model that was converted once and kept is whole, or is made anew, or a sentence says what to delete."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine import cached
from engine.cached import LISTED, make_once
from engine.types import EngineError


def write(folder: Path) -> None:
    head = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(range(16)))
    for name in ("config.json", "tokenizer_config.json", "tokenizer.json"):
        (folder / name).write_text('{"a": 1}')


@pytest.fixture
def model(tmp_path):
    """model() -> what was said; the folder is `.at`, `.made` how often it was made."""

    class Model:
        at, made = tmp_path / "cache" / "small-abc", 0

        def __call__(self) -> str:
            def fill(folder):
                self.made += 1
                write(folder)

            said: list[str] = []
            assert make_once(self.at, said.append, "Converting x", fill) == self.at
            return " ".join(said)

    return Model()


def test_it_is_made_once(model):
    assert model() == f"Converting x, once, into {model.at} ..." and model() == "" and model.made == 1


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [cut, flip, Path.unlink, lambda path: path.write_bytes(bytes(path.stat().st_size))])
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", LISTED])
def test_one_that_is_damaged_is_made_anew(model, harm, name):
    model()
    harm(model.at / name)
    said = model()
    if name == LISTED and not (model.at / LISTED).exists():
        assert said == ""  # as a version before this one left it
    else:
        assert model.made == 2 and "Converting x" in said
    assert not cached.find_damage(model.at) and [path.name for path in model.at.parent.iterdir()] == [model.at.name]


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_one_of_an_earlier_version_is_known_by_its_headers(model, name):
    write((model.at.mkdir(parents=True), model.at)[1])
    assert model() == ""
    cut(model.at / name)
    assert f"({name} " in model() and model.made == 1


def test_one_that_cannot_be_removed_is_named(model, monkeypatch):
    model()
    cut(model.at / "model.safetensors")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(cached.leftovers, "put_away", refuse)
    with pytest.raises(EngineError, match=rf"^{model.at} is damaged and cannot be removed \(Permission denied\); delete it\.$"):
        model()


def test_a_large_file_is_looked_at_all_over(tmp_path, monkeypatch):
    monkeypatch.setattr(cached, "ALL", 4 * cached.CHUNK)
    file = tmp_path / "large"
    file.write_bytes(os.urandom(cached.CHUNK) * 6)
    was = cached.crc(file)
    for at in (0, file.stat().st_size // 2 + 5):
        data = bytearray(file.read_bytes())
        data[at] ^= 1
        file.write_bytes(data)
        assert cached.crc(file) != was
        was = cached.crc(file)
