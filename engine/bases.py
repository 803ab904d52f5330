"""One base model in memory: found, loaded, described."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from common.paths import why_no_file
from engine import formats, packaged, quantized, room
from engine.adapter_shapes import CARD, read_card
from engine.card import BAYLING, NO_CARD, ModelCard
from engine.checkpoint import BARE, WEIGHTS, adapter_left_inside, context_of, refuse_damaged
from engine.device import choose_device, choose_dtype
from engine.formats import Format
from engine.types import EngineError

DEFAULT_BASE = "bayling-mini"
BAYLING_MINI = "bayling-mini"
SMOLLM2_NAMES = ("smollm2", "SmolLM2-135M-Instruct")
PACKAGED = (BAYLING_MINI, *SMOLLM2_NAMES)
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Base:
    """A causal LM with all that is known of it.

    hash: of the weights themselves, the same for every file format and number format they were stored in.
    names: what an adapter's record may call this base. reasons: one sentence per automatic choice, for people.
    recorded_format: what the checkpoint's card.json says it was made for, if there is one. spec: how another process is told
    the same base (`portable_spec`). remote_code: whether program code that the checkpoint brings may run. quantized: "int8",
    "nf4", or "" for whole weights; dtype is then what is computed in.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    dtype: torch.dtype
    context: int
    format: Format
    card: ModelCard
    hash: str
    names: tuple[str, ...] = ()
    reasons: list[str] = field(default_factory=list)
    recorded_format: Format | None = None
    spec: str = ""
    remote_code: bool = False
    quantized: str = ""

    @property
    def number_format(self) -> str:
        """What stands beside an answer, for other numbers give other words: `float32`, or `int8 (float32)`."""
        computed = str(self.dtype).removeprefix("torch.")
        return f"{self.quantized} ({computed})" if self.quantized else computed

    def named(self, variant: str) -> str:
        """A variant's name, which says it where the weights are not whole: its answers are never taken for the other's."""
        mark = f" ({self.quantized})"
        return variant if not self.quantized or variant.endswith(mark) else variant + mark

    @property
    def record(self) -> str:
        """What an adapter's record calls it: a folder or file by its last part (the hash decides), else as it is asked for."""
        return self.name if os.path.isabs(self.spec) else self.spec or self.name


def load_base(
    spec: str = DEFAULT_BASE,
    *,
    format: str | None = None,
    card: ModelCard | None = None,
    device: str | None = None,
    dtype: str | None = None,
    context: int | None = None,
    trust_remote_code: bool = False,
    quantize: str | None = None,
    say: Callable[[str], None] = print,
) -> Base:
    """Load `bayling-mini`, `smollm2`, a folder, a .gguf file or a Hub id. Every automatic choice is said with its reason.

    context: prompt and answer together, in tokens; None takes the model's own limit. quantize: int8 or nf4, for weights that are
    smaller and no longer whole (`engine.quantized`).
    Raises EngineError, one sentence, for anything a person can put right.
    """
    torch_device, device_reason = choose_device(device)
    if quantize:
        quantized.refuse(quantize, torch_device)
    link, spec = spec_path(spec).absolute().name, portable_spec(spec)
    source, names = find(spec, say)
    name = spec if spec in PACKAGED else Path(spec).name
    if quantize:
        torch_dtype, dtype_reason = choose_dtype(torch_device, dtype)
        quantized.refuse_unfit(quantize, torch_device, torch_dtype, source, name)
    else:
        torch_dtype, dtype_reason = room.choose_dtype(source, torch_device, dtype, name)
    if os.path.isdir(source):
        refuse_damaged(Path(source))
    how = quantized.reading(quantize, torch_device, torch_dtype, source) if quantize else {"dtype": torch_dtype}
    model, tokenizer = read(source, torch_device, trust_remote_code, how)
    folder = room.folder_of(source)
    left = adapter_left_inside(folder) if folder else ""
    record = read_record(source)
    whole = cached_hash(source, record) or weights_hash(model, folder or "")
    shrunk = quantized.finish(quantize, model, torch_device, torch_dtype) if quantize else ""
    known = recorded_format(record)
    if format:
        chosen, format_reason = formats.find(format), f"format {format}: asked for"
    elif known:
        chosen, format_reason = known, f"format {known.name}: the model's card.json records it"
    else:
        chosen, format_reason = formats.recognise(tokenizer, model.config)
    limit = context_of(model.config)
    base = Base(
        name=name,
        model=model,
        tokenizer=tokenizer,
        device=torch_device,
        dtype=torch_dtype,
        context=min(context, limit) if context else limit,
        format=chosen,
        # the anonymised release speaks in placeholders, and its format is how it is known
        card=card or (BAYLING if chosen.name == "bayling" else NO_CARD),
        hash=whole,
        names=(*names, link),  # also as the folder was called here, where that is a link
        reasons=[device_reason, dtype_reason, *filter(None, [shrunk]), format_reason, *filter(None, [left])],
        recorded_format=known,
        spec=spec,
        remote_code=trust_remote_code,
        quantized=quantize or "",
    )
    for reason in base.reasons:
        say(reason)
    return base


def portable_spec(spec: str) -> str:
    """How any process on this machine is told this base, whatever folder it works in.

    A packaged name or a Hub id as it is; a folder or a .gguf file by its whole path, links followed, so that a link that is
    turned elsewhere meanwhile does not make it another base.
    """
    path = spec_path(spec)
    if spec in PACKAGED or not path.exists():
        return spec
    # of a file only the folder's: the Hub's cache links to files whose names have lost their ending
    return str(path.resolve() if path.is_dir() else path.parent.resolve() / path.name)


def spec_path(spec: str) -> Path:
    try:
        return Path(spec).expanduser()
    except RuntimeError:  # a user who is not there
        return Path(spec)


def find(spec: str, say: Callable[[str], None] = print) -> tuple[str, tuple[str, ...]]:
    """Where the checkpoint is (a folder or a Hub id), and the names adapters may know it by."""
    if spec in PACKAGED:
        folder = packaged.bayling_mini_folder(say) if spec == BAYLING_MINI else packaged.smollm2_folder(say)
        return str(folder), (*(SMOLLM2_NAMES if spec in SMOLLM2_NAMES else (spec,)), folder.name)
    path = spec_path(spec)
    if odd := why_no_file(path):
        raise EngineError(f"The base {spec!r} {odd}.")
    if path.is_file() and path.suffix.lower() == ".gguf":
        folder = packaged.converted_folder(path, say)
        return str(folder), (path.stem, folder.name)
    if path.is_dir():
        return find_in_folder(path, say)
    if HUB_ID.fullmatch(spec) and not spec.startswith((".", "~")):
        return spec, (spec.rpartition("/")[2],)
    raise EngineError(
        f"Base {spec!r} is not there: it is neither bayling-mini nor smollm2, nor a folder, nor a Hub id like organisation/model."
    )


def find_in_folder(folder: Path, say: Callable[[str], None]) -> tuple[str, tuple[str, ...]]:
    there = sorted(entry.name for entry in folder.iterdir())
    weights = [name for name in there if re.fullmatch(r"(model|pytorch_model).*\.(safetensors|bin)", name)]
    ggufs = [name for name in there if name.lower().endswith(".gguf")]
    if not weights and len(ggufs) == 1:
        converted = packaged.converted_folder(folder / ggufs[0], say)
        return str(converted), (folder.resolve().name, Path(ggufs[0]).stem, converted.name)
    missing = []
    if "adapter_config.json" in there and "config.json" not in there:
        raise EngineError(f"{folder} is an adapter, not a model: give the base it was trained on, and this with --adapter.")
    if "config.json" not in there:
        missing.append("config.json")
    if not weights:
        missing.append("weights (model*.safetensors, pytorch_model*.bin or one .gguf)")
    if missing:
        listed = ", ".join(there[:12]) or "nothing"
        raise EngineError(f"{folder} is not a whole model: {' and '.join(missing)} missing; there is {listed}.")
    return str(folder), (folder.resolve().name,)


def read(
    source: str, device: torch.device, trust_remote_code: bool, how: Mapping[str, Any]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """how: dtype and the like, for from_pretrained."""
    transformers_logging.disable_progress_bar()
    placement = {} if device.type == "cpu" else {"device_map": {"": device}}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code)
        model, loading = AutoModelForCausalLM.from_pretrained(
            source,
            weights_only=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            **how,
            **BARE,
            **placement,
        )
    except Exception as error:
        raise EngineError(reading_problem(source, error)) from error
    if lost := sorted(loading["missing_keys"]):
        raise EngineError(f"{source} is not a whole model: {len(lost)} weights are missing ({lost[0]}, ...); copy it again.")
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    if not hasattr(model.config.get_text_config(), "num_attention_heads") or any("attention" not in kind for kind in kinds):
        raise EngineError(
            f"{source} is a {model.config.model_type}: it remembers otherwise than by attention, which is needed here."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.requires_grad_(False)
    return model.eval(), tokenizer


def read_record(source: str) -> dict[str, Any]:
    """What the card.json of a merged model says, {} if there is none."""
    return read_card(Path(source) / CARD)[0]


def recorded_format(record: dict[str, Any]) -> Format | None:
    """The format a merged model was made for, if it is one of ours and still the same."""
    name = record.get("format")
    known = formats.get(name) if name in formats.names() else None
    return known if known and known.hash == record.get("format_hash") else None


def reading_problem(source: str, error: Exception) -> str:
    text = " ".join(str(error).split())
    if "trust_remote_code" in text:
        return f"{source} brings its own program code, which is not run unless you ask for it with --trust-remote-code."
    if isinstance(error, torch.OutOfMemoryError):
        return f"{source} does not fit into the memory of the GPU; free some of it, or use --device cpu."
    if "weights_only" in text.lower() or "unpickl" in text.lower():
        return f"{source}: a weights file holds program code or is damaged, and was refused; get the files again as safetensors."
    if not os.path.isdir(source):
        return f"{source} could not be had from the Hub ({text[:200]}); check the name and the connection, or give a folder."
    return f"{source} could not be loaded: {text[:300]}"


def cached_hash(source: str, record: dict[str, Any]) -> str | None:
    """The name of a model that was made here from parts with names; a card from elsewhere may claim anything."""
    known = record.get("hash")
    return known if isinstance(known, str) and Path(source).parent == packaged.cache_dir() else None


def weights_hash(model: PreTrainedModel, source: str | Path = "", samples: int = 64) -> str:
    """Twelve hex digits over every tensor's name, shape and `samples` of its values, rounded to bf16.

    A sample, because reading 13 GB to name a model would take longer than loading it. The values are the stored
    ones where `source` is a folder that has them: rounded to fp16 first, they would be other ones in bf16, and in NF4 the
    tensors have other shapes.
    """
    digest = hashlib.sha256()
    stored = StoredTensors(Path(source)) if source else {}
    for name, tensor in sorted(model.named_parameters()):
        tensor = stored[name] if name in stored else tensor.detach()
        flat = tensor.reshape(-1)
        at = torch.linspace(0, flat.numel() - 1, min(samples, flat.numel()), dtype=torch.float64).long()
        values = flat[at.to(flat.device)].float().bfloat16().view(torch.int16).cpu().numpy()
        digest.update(f"{name}{tuple(tensor.shape)}".encode() + values.tobytes())
    return digest.hexdigest()[:12]


class StoredTensors(Mapping[str, torch.Tensor]):
    """The tensors of a checkpoint folder by name, as they are stored, mapped and not read; empty for a Hub id."""

    def __init__(self, folder: Path) -> None:
        self.places: dict[str, tuple[Any, Any]] = {}  # the open file and the name in it, or None and the tensor
        files = sorted(file for file in folder.iterdir() if WEIGHTS.fullmatch(file.name)) if folder.is_dir() else []
        for file in (file for file in files if file.suffix == ".safetensors"):  # not an adapter's that was left inside
            opened = safe_open(file, "pt")
            self.places |= {name: (opened, name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
        if not self.places:
            for file in files:
                self.places |= {name: (None, tensor) for name, tensor in read_mapped(file).items()}

    def __getitem__(self, name: str) -> torch.Tensor:
        opened, found = self.places[name]
        return found if opened is None else opened.get_tensor(found)

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


def read_mapped(file: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor]
    try:
        found = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except RuntimeError:  # the files of before 2020 cannot be mapped
        found = torch.load(file, map_location="cpu", weights_only=True)
    return found
