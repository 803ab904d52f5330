"""Adapters exported as a model: `python -m tuning.export --adapter A --to gguf --output_dir D`.

`--to folder` writes what transformers loads, `--to gguf` a file for llama.cpp and what is built on it, `--to ollama` that file
with a Modelfile. Then the export is asked a probe set, and what became of the answers is said and kept as asked.json.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

import identities
from common import ending
from common.errors import UserError
from engine.adapter_shapes import CARD, read_card
from engine.adapters import Unfit, read_adapter
from engine.prompts import end_ids
from engine.types import EngineError
from probes import keeping
from tuning import legacy, merge
from tuning.export import asking, comparing, gguf_file, writing
from tuning.export.comparing import Question

WRITTEN = "The export is whole in {target}"
MERGED_BEFORE = "before: the merged model in memory, as the chat cannot load such an adapter beside others"


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m tuning.export", description=__doc__.partition("\n")[0])
    say = options.add_argument
    say("--adapter", action="append", required=True, metavar="FOLDER[=STRENGTH]", help="several make a blend")
    say("--to", choices=writing.KINDS, default="folder", help="what is made of it [%(default)s]")
    say("--output_dir", required=True, type=Path, help="a folder that is not there yet")
    say("--type", choices=sorted(gguf_file.KINDS), default="q8_0", help="numbers of a GGUF file [%(default)s]")
    say("--identity", default="", metavar="NAME", help="an identity whose prompt goes along, as the system message")
    say("--identities_dir", type=Path, metavar="FOLDER", help="where identities lie [identities/]")
    say("--strength", type=float, default=1.0, help="of adapters named without one [1]")
    say("--base", help="the base, where the adapter does not say it or it has moved")
    say("--format", help="chat template of the export; default: the adapter's")
    say("--dtype", choices=sorted(merge.DTYPES.values()), help="of a folder's weights; default: the base's")
    say("--max_shard_size", default="2GB", help="of a folder's weights [2GB]")
    say("--bin", action="store_true", help="a folder's weights as pytorch_model*.bin, for programs of 2023")
    say("--lora_alpha", type=float, help="for a checkpoint without configuration")
    say("--accept_other_base", action="store_true", help="export although the record names another base")
    say("--set", default="quick", metavar="NAME|FILE", help="probes that are asked before and after [quick]")
    say("--no_questions", action="store_true", help="do not ask; only write")
    return options


def export(args: argparse.Namespace) -> Path:
    """Writes, asks, compares. Raises UserError; what was written by then is whole."""
    merge.refuse_what_is_there(args.output_dir)
    adapters = merge.read_adapters(args.adapter, args.strength)
    identity = identities.load(args.identity, args.identities_dir).prompt if args.identity else None
    if args.identity and not identity:
        raise EngineError(f"Identity {args.identity!r} has facts and no prompt, so nothing of it can go along; leave it out.")
    probes = [] if args.no_questions else keeping.as_they_stand(args.set)
    asked = [Question(probe.id, probe.lang, tuple(probe.turns)) for probe in probes]
    before = ask_before(args, adapters, identity, asked)
    gc.collect()  # an engine is a circle, and its base would stay beside the next one
    made = merge.merged(
        adapters, base=args.base, format=args.format, dtype=args.dtype, accept_other_base=args.accept_other_base,
        lora_alpha=args.lora_alpha,
    )  # fmt: skip
    writing.refuse(made.base, made.format, args.to, identity)
    if asked and before is None:
        whole = asking.merged_in_engine(made, identity)
        before = Before(asking.ask_all(whole.ask, asked, "before", print), whole.dtype, MERGED_BEFORE)
    more = dict(kind=args.type, max_shard_size=args.max_shard_size, bin=args.bin, identity=identity)
    target = writing.write(made, args.output_dir, args.to, **more)
    ends, stops = sorted(end_ids(made.base, made.format)), made.format.stop if args.to == "ollama" else ()
    context = made.base.context
    del made  # its memory is needed for what is asked now
    gc.collect()
    if before:
        judge, by_id = keeping.keeps(taught(adapters), args.identities_dir), {probe.id: probe for probe in probes}
        kept = lambda one, said: judge(by_id[one.id], said)  # noqa: E731
        answered, through = ask_after(args, target, ends, stops, context, asked, before, kept)
        comparing.keep(target, answered, through, args.set, before.note)
        for line in [*filter(None, [before.note]), *comparing.summary(answered, through)]:
            print(line)
    return target


class Before(NamedTuple):
    """Answers, the number format they were computed in, and what is to be known of them."""

    answers: list[str]
    dtype: torch.dtype
    note: str = ""


def ask_before(
    args: argparse.Namespace, adapters: Mapping[str, float], identity: str | None, asked: Sequence[Question]
) -> Before | None:
    """Base and adapters as the chat gives them; None where nothing is asked, or where the chat could not load them."""
    if not asked or any(legacy.is_checkpoint(Path(folder)) for folder in adapters):
        return None
    try:
        base = args.base or merge.recorded_base([read_adapter(folder)[0] for folder in adapters])
        unmerged = asking.adapters_in_engine(
            adapters, base, format=args.format, identity=identity, accept_other_base=args.accept_other_base,
            check=lambda loaded, chosen: writing.refuse(loaded, chosen, args.to, identity),
        )  # fmt: skip
    except Unfit:
        return None
    return Before(asking.ask_all(unmerged.ask, asked, "before", print), unmerged.dtype)


def ask_after(
    args: argparse.Namespace,
    target: Path,
    ends: Sequence[int],
    stops: Collection[str],
    context: int,
    asked: Sequence[Question],
    before: Before,
    keeps: comparing.Keeps,
) -> tuple[list[comparing.Answered], str]:
    """(what became of the answers, the program that was asked). Raises EngineError, which says that the export is whole."""
    place = target if args.to == "folder" else target / writing.gguf_name(target, args.type)
    try:
        with asking.opened(place, ends, context, before.dtype) as export:
            after = asking.ask_all(export.ask, asked, "the export", print, stops)
    except EngineError as error:
        raise EngineError(f"{WRITTEN.format(target=target)}, but it could not be asked: {error}") from error
    return comparing.compare(asked, before.answers, after, keeps), export.through


def taught(adapters: Mapping[str, float]) -> object:
    """The one identity that the adapters' cards name."""
    names = {str(read_card(Path(folder) / CARD)[0].get("identity") or "") for folder in adapters}
    return names.pop() if len(names) == 1 else None


def main(arguments: Sequence[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    try:
        print(WRITTEN.format(target=export(args)))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    ending.run(main)
