"""The models that are measured: a small random one for parity, and one of LLaMA-7B's shape, both as folders of our own making."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from peft import PeftModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import identities
from bench.gpu.session import Session
from bench.side_by_side import SHAPE_7B, make_adapters
from engine.bases import Base, load_base
from tuning.dataset.generate import generate

SPECIAL = dict(bos_token_id=1, eos_token_id=2, pad_token_id=0)
TOKENS = 2000  # of the tokenizer at most; it learns them from the identity rows, which are then about as short as in a real one
SMALL = dict(
    hidden_size=256,
    intermediate_size=688,
    num_hidden_layers=4,
    num_attention_heads=8,
    num_key_value_heads=8,
    max_position_embeddings=2048,
    initializer_range=256**-0.5,  # activations and attention scores of about 1: wider ones would make every rounding a landslide
)
TINY = SMALL | dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
TINY_7B = dict(vocab_size=TOKENS) | TINY | dict(initializer_range=0.02)  # what stands for the 7B model where there is no GPU
ADAPTERS, FEW_ADAPTERS = 16, 3
SHARDS = 6
SLOWEST_WRITE = 45.0  # seconds for the 7B model's files; then it is measured without them
LAYER_BYTES, OTHER_BYTES, BESIDE = 0.405e9, 0.53e9, 4e9  # of the 7B shape in 16 bits; beside: adapters, caches, activations


@dataclass
class Big:
    """The model of 7B's shape. base: as the engine loaded it; peer: the same for PEFT, None where only one has room.

    folder: with the shards, None if they could not be written.
    """

    config: LlamaConfig
    tokenizer: PreTrainedTokenizerFast
    base: Base | None
    peer: LlamaForCausalLM | None
    folder: Path | None
    wrapped: PeftModel | None = None
    adapters: list[Path] = field(default_factory=list)


# --- small things


@functools.cache
def texts() -> list[str]:
    """What the tokenizer learns from, and what is trained on: identity rows in two languages."""
    rows = generate(identities.load(identities.DEFAULT_NEW).facts, 200, "diverse", seed=0)
    return [turn.content for row in rows for turn in row.turns]


@functools.cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with LLaMA's special tokens; <s> comes first, as LLaMA's tokenizer has it."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts(), trainer)
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def write_small(folder: Path, session: Session) -> Path:
    """A random model with its tokenizer, fp32 safetensors."""
    made = tokenizer()
    torch.manual_seed(0)
    shape = SMALL if session.on_gpu else TINY
    model = LlamaForCausalLM(LlamaConfig(**shape | SPECIAL, vocab_size=len(made)))
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def random_model(config: LlamaConfig, device: torch.device, dtype: torch.dtype) -> LlamaForCausalLM:
    """Made on the device itself: on a CPU seven billion random numbers take minutes."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        with torch.device(device):
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    return model.eval().requires_grad_(False)


# --- the folder of .bin shards, as the checkpoints of 2023 are


def write_shards(model: LlamaForCausalLM, folder: Path, limit_s: float) -> int:
    """pytorch_model-0000x-of-0000y.bin in fp16, with their index and config.json. Bytes written. Raises TimeoutError."""
    folder.mkdir(parents=True)
    began = time.monotonic()
    state = model.state_dict()
    names = list(state)
    per = -(-len(names) // SHARDS)
    parts = [names[at : at + per] for at in range(0, len(names), per)]
    files = [f"pytorch_model-{at + 1:05d}-of-{len(parts):05d}.bin" for at in range(len(parts))]

    def write(at: int) -> None:
        if time.monotonic() - began > limit_s:
            raise TimeoutError(f"the shards were not written within {limit_s:.0f} s")
        torch.save({name: state[name].half().cpu() for name in parts[at]}, folder / files[at])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(len(parts))))
    total = sum(tensor.numel() * 2 for tensor in state.values())
    index = {
        "metadata": {"total_size": total},
        "weight_map": {name: files[at] for at, part in enumerate(parts) for name in part},
    }
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    config = model.config.to_dict() | {"architectures": ["LlamaForCausalLM"], "dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config, default=str))
    return total


def room_for(size: float, session: Session) -> Path:
    """A folder with so many bytes free: the temporary one, or one in memory."""
    if shutil.disk_usage(session.folder).free > size * 1.2:
        return session.folder
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < size * 1.2:
        raise OSError(f"there is no room for {size / 1e9:.0f} GB in {session.folder} or {memory}")
    session.folders.append(Path(tempfile.mkdtemp(prefix="bench-gpu-", dir=memory)))
    return session.folders[-1]


@contextmanager
def memory_watched(found: dict[str, Any]) -> Iterator[None]:
    """Most memory of the process while inside, less what it had: all of it, and without the files that are mapped."""
    process, over = psutil.Process(), threading.Event()

    def now() -> tuple[int, int]:
        about = process.memory_info()
        return about.rss, about.rss - getattr(about, "shared", 0)

    before = most = now()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.02):
            most = tuple(map(max, most, now()))  # type: ignore[assignment]

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        found["host_peak_gib"] = (most[0] - before[0]) / 2**30
        found["host_peak_without_mapped_files_gib"] = (most[1] - before[1]) / 2**30


def load_watched(folder: Path, session: Session, **how: Any) -> tuple[Base, dict[str, Any]]:
    """The engine's loading of a folder, with its seconds and peaks."""
    found: dict[str, Any] = {}
    session.begin_peak()
    held = session.allocated()
    said: list[str] = []
    with memory_watched(found):
        began = time.perf_counter()
        base = load_base(str(folder), device=str(session.device), say=said.append, **how)
        session.sync()
        found["seconds"] = time.perf_counter() - began
    if session.on_gpu:
        found["device_peak_gib"] = session.peak_gib() - held / 2**30
        found["device_after_gib"] = (session.allocated() - held) / 2**30
    return base, found | {"said": said, "format": base.format.name}


# --- the big one


def shape_of_7b(session: Session) -> tuple[dict[str, Any], bool]:
    """(the shape, whether two of it have room). A GPU with less memory gets fewer layers."""
    if not session.on_gpu:
        return dict(TINY_7B), True
    free = torch.cuda.mem_get_info(session.device)[0] - BESIDE
    for copies in (2, 1):
        if free / copies >= 32 * LAYER_BYTES + OTHER_BYTES:
            return dict(SHAPE_7B), copies == 2
    layers = int((free / 2 - OTHER_BYTES) / LAYER_BYTES)
    return dict(SHAPE_7B) | dict(num_hidden_layers=max(1, layers)), True


def big(session: Session) -> Big:
    """Made, written, loaded and wrapped by PEFT when it is asked for the first time; session.results["load"] says how it went."""
    if session.big:
        return session.big
    place = session.results.setdefault("load", {})
    shape, two = shape_of_7b(session)
    config = LlamaConfig(**shape | SPECIAL)
    began = time.perf_counter()
    session.tidy()
    made = random_model(config, session.device, torch.float16 if session.on_gpu else torch.float32)
    session.sync()
    parameters = sum(tensor.numel() for tensor in made.parameters())
    place["shape"] = shape | {"parameters": parameters, "made_s": round(time.perf_counter() - began, 2)}
    session.say(f"a random model of {parameters / 1e9:.2f} billion numbers, made in {place['shape']['made_s']} s")
    words = tokenizer()
    loaded: list[tuple[Base, Path]] = []
    figures = place.setdefault("folder of .bin shards", {})

    def from_folder() -> dict[str, Any]:
        loaded.append(written_and_loaded(made, words, session, figures, two))
        return figures

    session.attempt(place, "folder of .bin shards", from_folder)
    if loaded:
        base, folder = loaded[0]
    else:
        base, folder = in_memory(random_model(config, session.device, session.dtype), words, session), None
    session.big = Big(config, words, base, made.to(session.dtype) if two else None, folder)
    if session.big.peer is not None:
        count = ADAPTERS if session.on_gpu else FEW_ADAPTERS
        session.big.wrapped, session.big.adapters = make_adapters(session.big.peer, count, session.folder / "adapters-7b")
    session.save()
    return session.big


def written_and_loaded(
    made: LlamaForCausalLM, words: PreTrainedTokenizerFast, session: Session, figures: dict[str, Any], keep: bool
) -> tuple[Base, Path]:
    """The engine's own base, and the folder it came from. figures: are given the seconds and peaks."""
    folder = room_for(2 * made.num_parameters(), session) / "random-7b"
    began = time.perf_counter()
    size = write_shards(made, folder, SLOWEST_WRITE)
    words.save_pretrained(folder)
    figures |= {"folder_on": str(folder.parent), "gb": size / 1e9, "write_s": time.perf_counter() - began}
    session.say(f"{size / 1e9:.1f} GB of shards written in {figures['write_s']:.1f} s")
    probe = made.model.layers[-1].mlp.down_proj.weight[:64].half().to(session.dtype)
    if not keep:
        made.to("meta")
    base, about = load_watched(folder, session, dtype=session.dtype_name, format="bayling")
    read = base.model.get_submodule("model.layers")[-1].mlp.down_proj.weight[:64]
    figures |= about | {
        "weights_as_written": bool(torch.equal(read, probe)),
        "page_cache": "the files had just been written, so they came from memory and not from the disk",
    }
    session.say(f"loaded in {about['seconds']:.1f} s")
    return base, folder


def in_memory(model: LlamaForCausalLM, words: PreTrainedTokenizerFast, session: Session) -> Base:
    """A base around a model that is there already."""
    from engine import formats
    from engine.card import NO_CARD

    return Base(
        name="random-7b",
        model=model,
        tokenizer=words,
        device=session.device,
        dtype=session.dtype,
        context=2048,
        format=formats.get("bayling"),
        card=NO_CARD,
        hash="0" * 12,
    )


def bytes_of(tensors: Mapping[str, Any]) -> int:
    """Of an adapter as the bank holds it."""
    return sum(pair.a.nbytes + pair.b.nbytes for pair in tensors.values())
