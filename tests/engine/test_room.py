"""Whether weights fit is told from their files, before anything of them is read, and said in one sentence with what would fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from tiny import tiny_llama, write_adapter, write_bayling_like
from tiny_base import write_tiny_base

import engine.chat
from engine import EngineError, bases, device, packaged, room
from tuning import merge as merging
from tuning.jobs import memory
from tuning.train import loading
from tuning.train.settings import Settings

GIB = 2**30
SEVEN_B = 6_738_415_616  # LLaMA-7B's parameters
CPU = torch.device("cpu")


def sparse(file: Path, size: int, begin: bytes = b"") -> None:
    with file.open("wb") as opened:
        opened.write(begin)
        opened.truncate(size)


def seven_b(folder: Path, kind: str, dtype: str = "float16") -> Path:
    """A folder whose files are as large as BayLing-7B's and hold nothing; its configuration is a tiny one's."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "torch_dtype": dtype}))
    size = {"float16": 2, "bfloat16": 2, "float32": 4}[dtype]
    if kind == "bin":
        for shard in (1, 2):
            sparse(folder / f"pytorch_model-{shard:05d}-of-00002.bin", SEVEN_B // 2 * size)
    else:
        kind = {2: "F16", 4: "F32"}[size]
        about = {"w": {"dtype": kind, "shape": [SEVEN_B // 2, 2], "data_offsets": [0, SEVEN_B * size]}}
        header = json.dumps(about).encode()
        begin = len(header).to_bytes(8, "little") + header
        sparse(folder / "model.safetensors", len(begin) + SEVEN_B * size, begin)
    return folder


@pytest.fixture
def machine(monkeypatch):
    """machine(free_gib, bf16=False): so much is free, and the CPU has bf16 arithmetic or not."""

    def pretend(free: float, bf16: bool = False) -> None:
        monkeypatch.setattr(room, "free_bytes", lambda _device: int(free * GIB))
        monkeypatch.setattr(device, "cpu_has_bf16", lambda: bf16)

    return pretend


@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_a_7b_checkpoint_on_24_gib_without_bf16_is_held_in_bf16_and_that_is_said(tmp_path, machine, kind):
    machine(22)
    folder = seven_b(tmp_path / "BayLing-7B", kind)
    assert room.weights_of(folder).numbers == SEVEN_B
    dtype, reason = room.choose_dtype(folder, CPU)
    assert dtype == torch.bfloat16
    assert reason.startswith("dtype bf16: in fp32 it needs about 27.6 GiB, and 22.0 GiB are free on cpu")


@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_where_there_is_room_nothing_changes(tmp_path, machine, kind):
    machine(40)
    folder = seven_b(tmp_path / "BayLing-7B", kind)
    assert room.choose_dtype(folder, CPU) == device.choose_dtype(CPU)
    assert room.choose_dtype(folder, CPU, "fp16") == device.choose_dtype(CPU, "fp16")


def test_what_was_asked_for_and_does_not_fit_is_refused_with_what_would(tmp_path, machine):
    folder = seven_b(tmp_path / "BayLing-7B", "bin")
    machine(22)
    with pytest.raises(EngineError) as told:
        room.choose_dtype(folder, CPU, "fp32", "BayLing-7B")
    assert str(told.value) == (
        "BayLing-7B does not fit into memory: in fp32 it needs about 27.6 GiB, and 22.0 GiB are free on cpu; "
        "--dtype bf16 would fit, or take a smaller base."
    )
    machine(8)
    for asked in (None, "bf16", "fp16"):
        with pytest.raises(EngineError, match="8.0 GiB are free on cpu; free some memory, or take a smaller base.$"):
            room.choose_dtype(folder, CPU, asked)


def test_on_a_gpu_the_other_formats_and_the_cpu_are_named(tmp_path, monkeypatch):
    gpu = torch.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (8, 0))
    monkeypatch.setattr(room, "free_bytes", lambda place: (16 if torch.device(place).type == "cuda" else 60) * GIB)
    folder = seven_b(tmp_path / "BayLing-7B", "safetensors", "float32")
    assert room.choose_dtype(folder, gpu)[0] == torch.bfloat16
    with pytest.raises(EngineError, match="--dtype bf16 would fit, or --device cpu has 60.0 GiB free, or take a smaller base"):
        room.choose_dtype(folder, gpu, "fp32")


def test_every_way_that_reads_weights_asks_first(tmp_path, machine, capsys, monkeypatch):
    machine(8)
    monkeypatch.setattr(bases, "read", lambda *_: pytest.fail("the weights were read"))
    folder = seven_b(tmp_path / "BayLing-7B", "bin")
    says = "^BayLing-7B does not fit into memory: in .* it needs about .* GiB, and 8.0 GiB are free on cpu"
    with pytest.raises(EngineError, match=says):
        bases.load_base(str(folder), device="cpu", say=lambda _line: None)
    assert engine.chat.main(["--base", str(folder), "--device", "cpu"]) == 2
    assert "does not fit into memory" in capsys.readouterr().err
    settings = Settings(base_model=str(folder), data_path="x", output_dir="y", device="cpu")
    with pytest.raises(EngineError, match=says):
        loading.load_base(settings, say=lambda _line: None)
    adapter = write_adapter(tmp_path / "one", tiny_llama())
    said = ["--adapter", str(adapter), "--base", str(folder), "--output_dir", str(tmp_path / "whole")]
    assert merging.main(said) == 2
    assert "BayLing-7B does not fit into memory: in fp16 it needs about 13.8 GiB" in capsys.readouterr().err
    assert not (tmp_path / "whole").exists()


def test_in_four_bits_it_is_asked_of_the_gpu_too(tmp_path, monkeypatch):
    folder = seven_b(tmp_path / "BayLing-7B", "bin")
    monkeypatch.setattr(loading, "choose_device", lambda _asked: (torch.device("cuda:0"), ""))
    monkeypatch.setattr(room, "free_bytes", lambda place: 3 * GIB)
    settings = Settings(base_model=str(folder), data_path="x", output_dir="y", load_in_4bit=True)
    with pytest.raises(EngineError, match="in 4 bits it needs about 3.8 GiB, and 3.0 GiB are free on cuda:0"):
        loading.load_base(settings, say=lambda _line: None)


def test_a_training_is_estimated_in_the_format_the_trainer_would_choose(tmp_path, machine):
    folder = write_tiny_base(tmp_path / "own", hidden_size=256, vocab_size=4096)
    plain = Settings(base_model=str(folder), data_path="x", output_dir="y", device="cpu")
    size = room.weights_of(folder)
    machine(room.needed_bytes(size, torch.bfloat16) / GIB)
    assert memory.sketch_base(plain).dtype == torch.bfloat16
    machine(0)  # nothing fits at this moment; in the queue the job waits for what it takes otherwise
    assert memory.sketch_base(plain).dtype == torch.float32


# --- what is counted -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_numbers_are_counted_whatever_format_they_are_stored_in(tmp_path, dtype):
    model = tiny_llama().to(dtype)
    model.save_pretrained(tmp_path / "safe", max_shard_size="100KB")
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text('{"dtype": "float64"}')  # what the file itself says counts
    numbers = sum(p.numel() for p in model.parameters())
    assert len(list((tmp_path / "safe").glob("*.safetensors"))) > 1
    assert room.weights_of(tmp_path / "safe") == room.weights_of(tmp_path) == room.Weights(numbers)


def test_one_kind_of_files_counts_as_it_is_read(tmp_path):
    folder = write_bayling_like(tmp_path / "both")
    before = room.weights_of(folder)
    save_file({"w": torch.zeros(3, 5)}, folder / "model.safetensors")
    assert room.weights_of(folder) == room.Weights(15)
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    assert room.weights_of(folder) == before
    names = ["model.safetensors", "model.fp16.safetensors", "pytorch_model.bin", "consolidated.safetensors"]
    assert room.weight_files(names) == ["model.safetensors"]


def test_quantised_codes_are_held_as_they_are_stored(tmp_path):
    save_file({"codes": torch.zeros(10, dtype=torch.int32), "scales": torch.zeros(4)}, tmp_path / "model.safetensors")
    found = room.weights_of(tmp_path)
    assert found == room.Weights(4, 40) and found.bytes(torch.bfloat16) == 48


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_damaged_file_counts_by_its_size_and_is_named_by_the_loader(tmp_path, name):
    folder = write_tiny_base(tmp_path / "own")
    (folder / "model.safetensors").unlink()
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\n")
    assert room.weights_of(folder).numbers == (folder / name).stat().st_size // 4
    with pytest.raises(EngineError) as told:
        bases.load_base(str(folder), say=lambda _line: None)
    assert "memory" not in str(told.value)


def test_a_model_that_lies_on_the_hub_only_is_weighed_there(monkeypatch, machine):
    asked = []

    class Api:
        def model_info(self, name, **_how):
            asked.append(name)
            files = [SimpleNamespace(rfilename=f"pytorch_model-0000{at}-of-00002.bin", size=SEVEN_B) for at in (1, 2)]
            return SimpleNamespace(safetensors=None, siblings=[*files, SimpleNamespace(rfilename="a.txt", size=None)])

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert room.weights_of("ictnlp/of-no-cache") is None and not asked  # offline, nobody is asked
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert room.weights_of("ictnlp/of-no-cache") == room.Weights(SEVEN_B)
    Api.model_info = lambda *_, **__: SimpleNamespace(safetensors=SimpleNamespace(parameters={"F16": 8, "I32": 2}))
    assert room.weights_of("ictnlp/of-no-cache") == room.Weights(8, 8)


@pytest.mark.model
def test_a_gguf_file_is_weighed_as_it_will_be_converted(tmp_path, machine, monkeypatch):
    place = packaged.importlib.util.find_spec(packaged.SMOLLM2_PACKAGE).submodule_search_locations[0]
    file = Path(shutil.copy(Path(place) / packaged.SMOLLM2_FILE, tmp_path / "big.gguf"))
    monkeypatch.setenv("MIRROR_CACHE", str(tmp_path / "cache"))
    machine(0.4)
    with pytest.raises(EngineError, match=r"^big.gguf does not fit into memory: converted it is in fp32 and needs about 0.6 GiB"):
        bases.find(str(file))
    assert not list((tmp_path / "cache").glob("*"))
    file.write_text("no such file")
    assert room.gguf_weights(file) is None


# --- what is free --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, root, names",
    [
        ("4:memory:/docker/abc", "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")),
        ("5:cpu,memory:/docker/abc", "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")),
        ("0::/docker/abc", "", ("memory.max", "memory.current", "inactive_file")),
    ],
)
@pytest.mark.parametrize("depth", ["", "docker", "docker/abc"])
def test_the_limit_of_any_group_on_the_way_counts(tmp_path, monkeypatch, line, root, names, depth):
    (tmp_path / "membership").write_text(f"1:name=systemd:/\n2:cpu:/other\n{line}\n")
    monkeypatch.setattr(room, "CGROUPS", tmp_path)
    monkeypatch.setattr(room, "MEMBERSHIP", tmp_path / "membership")
    assert room.left_in_container() == float("inf")
    group = tmp_path / root / depth
    group.mkdir(parents=True, exist_ok=True)
    for name, text in zip(names, ("1000000\n", "400000\n", ""), strict=True):
        (group / name).write_text(text)
    (group / "memory.stat").write_text(f"anon 1\n{names[2]} 50000\n")
    assert room.left_in_container() == 650_000
    assert room.free_bytes("cpu") == 650_000


def test_a_form_that_asks_leaves_the_process_default_dtype_alone(tmp_path, monkeypatch):
    """It is everybody's: an answer that is being computed would go on in half precision, and two forms would leave it there."""
    folder = write_tiny_base(tmp_path / "own")
    config = json.loads((folder / "config.json").read_text()) | {"dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config))
    asked = []
    monkeypatch.setattr(torch, "set_default_dtype", asked.append)
    sketch = memory.sketch_base(Settings(base_model=str(folder), data_path="x", output_dir="y", device="cpu"))
    assert set(asked) <= {torch.float32} and next(sketch.model.parameters()).is_meta
