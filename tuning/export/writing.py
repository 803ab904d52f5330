"""What an adapter is exported as: a model's folder, a GGUF file, or that file with Ollama's Modelfile. Whole, or not there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from common.files import write_once, write_text
from engine.bases import Base
from engine.formats import Format
from engine.prompts import end_ids
from tuning import merge
from tuning.export import gguf_file, gguf_vocabulary, ollama
from tuning.merge import Merged
from tuning.portable import portable_template

To = Literal["folder", "gguf", "ollama"]
KINDS: tuple[To, ...] = ("folder", "gguf", "ollama")
MODELFILE = "Modelfile"


def write(
    made: Merged,
    target: Path,
    to: To,
    *,
    kind: str = "q8_0",
    max_shard_size: str = "2GB",
    bin: bool = False,
    identity: str | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """The folder `target`, which is not there yet. kind: of a GGUF file's numbers. identity: a prompt that goes along.

    Raises EngineError for what has no place in the form that is asked for.
    """
    say(f"writing {target}")
    if to == "folder":
        return write_once(
            target,
            lambda folder: merge.fill(
                made, folder, target.name, max_shard_size=max_shard_size, bin=bin, identity=identity, say=say
            ),
        )
    base, chosen, name = made.base, made.format, gguf_name(target, kind)
    merge.set_ends(base, chosen)
    ends = end_ids(base, chosen)
    template = portable_template(chosen, base.tokenizer, identity)
    recipe = modelfile(base, chosen, name, identity) if to == "ollama" else ""
    if not recipe and chosen.stop:
        told = ", ".join(map(repr, chosen.stop))
        say(f"A GGUF file has no place for stop strings; whoever asks it may add {told}.")

    def fill(folder: Path) -> None:
        gguf_file.write_gguf(
            base.model, base.tokenizer, folder / name, kind=kind, name=target.name, template=template, ends=ends, say=say
        )
        (folder / name).chmod(0o644)
        if recipe:
            write_text(folder / MODELFILE, recipe)

    return write_once(target, fill)


def modelfile(base: Base, chosen: Format, name: str, identity: str | None) -> str:
    """name: of the GGUF file beside it."""
    bare = portable_template(chosen, base.tokenizer)
    ends = end_ids(base, chosen)
    return ollama.modelfile(name, chosen, bare, base.tokenizer, ends=ends, context=base.context, identity=identity)


def refuse(base: Base, chosen: Format, to: To, identity: str | None) -> None:
    """Raises EngineError for what cannot be had in this form, before anything is asked or written."""
    portable_template(chosen, base.tokenizer, identity)
    if to != "folder":
        gguf_file.refuse_other_models(base.model)
        gguf_vocabulary.read_vocabulary(base.tokenizer, base.model.get_input_embeddings().weight.shape[0])
    if to == "ollama":
        modelfile(base, chosen, "model.gguf", identity)


def gguf_name(target: Path, kind: str) -> str:
    """Of letters that every shell and Modelfile takes as they are."""
    return f"{re.sub(r'[^0-9A-Za-z._-]+', '-', target.name).strip('-.') or 'model'}-{kind}.gguf"
