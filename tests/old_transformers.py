"""A merged folder asked by transformers 4.31, in a virtual environment of its own: `make test-old-transformers`.

A tiny model in the form BayLing-7B has on disk, with an adapter merged in: the slow tokenizer of 2023 has to make the same ids of
the prompt as the engine, and the model the same answer, greedily, from .bin files as from safetensors. torch is the one that the
program runs on; what cannot be installed here is said, and nothing is tried.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
OLD = ["transformers==4.31.0", "tokenizers==0.13.3", "huggingface_hub==0.19.4", "numpy<2", "sentencepiece==0.1.99", "protobuf<4"]
OF_TORCH = ["sympy", "networkx", "jinja2", "typing_extensions", "filelock", "fsspec"]
TOKENS = 24
TALKS = (["Who are you?"], ["你是谁？"], ["Who are you?", "I am Mira, a guide.", "Who made you?"])


def environment(place: Path) -> Path:
    """The Python of a virtual environment with the packages of 2023; it is made once. OSError or CalledProcessError."""
    python = place / "bin" / "python"
    stamp = place / "made.json"
    wanted = {"packages": OLD, "torch": importlib.metadata.version("torch")}
    if stamp.is_file() and json.loads(stamp.read_text()) == wanted:
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "20"]
    subprocess.run([*install, *OLD, *OF_TORCH], check=True)
    share_torch(place)
    stamp.write_text(json.dumps(wanted))
    return python


def share_torch(place: Path) -> None:
    """torch and nothing else of what stands beside it: the rest there is of this year."""
    [packages] = place.glob("lib/python*/site-packages")
    spec = importlib.util.find_spec("torch")
    site = Path(spec.origin).parents[1]
    for source in [*site.glob("torch"), *site.glob("torch-*.dist-info"), *site.glob("torchgen"), *site.glob("nvidia")]:
        (packages / source.name).symlink_to(source)


def prepare(room: Path) -> Path:
    """Merged folders, and what the engine and today's transformers say of them; the file that tells it all."""
    import torch
    from tiny import write_adapter, write_bayling_like
    from transformers import AutoModelForCausalLM

    from engine import load, prompts
    from tuning.merge import merge

    base = write_bayling_like(room / "BayLing-7B")
    write_adapter(room / "otter", AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), base="BayLing-7B")
    (room / "otter" / "card.json").write_text(json.dumps({"base": "BayLing-7B", "format": "bayling"}))
    folders = [
        merge({str(room / "otter"): 1.0}, room / name, base=str(base), max_shard_size="300KB", bin=bin)
        for name, bin in (("merged", False), ("merged-bin", True))
    ]
    engine = load(str(folders[0]), device="cpu", dtype="fp32", say=lambda _: None)
    asked = []
    for talk in TALKS:
        messages = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(talk)]
        text, ids = prompts.render(engine.base.tokenizer, engine.base.format, messages)
        out = engine.base.model.generate(torch.tensor([ids]), max_new_tokens=TOKENS, do_sample=False)
        asked.append({"text": text, "ids": ids, "answer": out[0, len(ids) :].tolist()})
    told = room / "told.json"
    told.write_text(json.dumps({"folders": [str(folder) for folder in folders], "asked": asked}))
    return told


def look(told: Path) -> None:
    """In the old environment: AssertionError for what is different there."""
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    known = json.loads(told.read_text())
    for folder in map(Path, known["folders"]):
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=False)
        model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).eval()
        kinds = sorted({path.suffix for path in folder.iterdir() if path.suffix in (".bin", ".safetensors")})
        for one in known["asked"]:
            ids = tokenizer(one["text"])["input_ids"]
            assert ids == one["ids"], f"{folder.name}: the prompt is {ids} and not {one['ids']}"
            out = model.generate(torch.tensor([ids]), max_new_tokens=TOKENS, do_sample=False)[0, len(ids) :].tolist()
            assert out == one["answer"], f"{folder.name}: the answer is {out} and not {one['answer']}"
        name = type(tokenizer).__name__
        said = f"{len(known['asked'])} prompts and answers as here, token by token"
        print(f"transformers {transformers.__version__}, {name}, {' '.join(kinds)}: {said}")


def main(place: Path) -> int:
    try:
        python = environment(place)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"SKIPPED: {', '.join(OLD[:2])} cannot be installed for Python {sys.version.split()[0]} here ({error}).")
        return 0
    with tempfile.TemporaryDirectory() as room:
        told = prepare(Path(room))
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run([python, __file__, "--look", told], env=clean).returncode


if __name__ == "__main__":
    if sys.argv[1:2] == ["--look"]:
        look(Path(sys.argv[2]))
    else:
        sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
        sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else ROOT / ".venv" / "of-2023"))
