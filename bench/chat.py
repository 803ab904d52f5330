"""A conversation that goes on: what its next turn costs with what was computed kept, and without, in one run on one machine.

    python -m bench.chat --json runs/bench_chat.json
    python -m bench.chat --no-probes             # only the chat

First a chat of ten turns in three columns - the base, a prompt, an adapter. Before every turn its time to the first token in all
columns is measured, several times, by asking it without keeping anything of that. Then the first and the last turn are asked
again with nothing kept at all. What is compared is the last turn's time over the first's. Then a probe set is asked of the same
three in one running conversation, both ways, database and all.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import engine
import identities
from bench.crowd import cpu
from bench.flags import add_engine_flags
from bench.probes import ADAPTER, IDENTITY, chosen, random_adapter
from bench.side_by_side import machine
from common.errors import UserError
from common.files import write_json
from engine import Decoding, Engine, Message, Request, Variant
from engine.bases import DEFAULT_BASE
from probes.run import runner
from probes.run.settings import RunSettings

QUESTIONS = (
    "Please tell me in several sentences how rivers come into being.",
    "And what happens where a river meets the sea? Explain it at length.",
    "Which animals live there, and what do they feed on? Describe some.",
    "How do people use the water? Name many ways and say why.",
    "What was different about this a hundred years ago? Tell me a story.",
    "Who works on a boat, and what does such a day look like?",
    "What can go wrong in a storm, and what does one do then?",
    "Write down how a bridge is built, step by step.",
    "Why are some bridges so much older than others? Give reasons.",
    "Sum up what we have talked about so far, in several sentences.",
)
WARM_UP = "Good morning."


def three(loaded: Engine, base: str, tokens: int) -> list[Variant]:
    """The base, a prompt, and an adapter, which is loaded for it."""
    with tempfile.TemporaryDirectory() as folder:
        path = ADAPTER if base == DEFAULT_BASE else random_adapter(loaded, Path(folder))
        adapter = loaded.add_adapter(path)
    decoding = Decoding(max_new_tokens=tokens)
    prompt = identities.load(IDENTITY).prompt
    return [
        Variant("base", decoding=decoding),
        Variant("prompt", identity=IDENTITY, prompt=prompt, decoding=decoding),
        Variant("adapter", adapters={adapter: 1.0}, decoding=decoding),
    ]


def first_token(loaded: Engine, requests: Sequence[Request], repeats: int) -> list[float]:
    """Seconds from asking to the first token in every column, as often; nothing of it is kept."""
    found = []
    for _ in range(repeats):
        asked, waiting, latest = time.perf_counter(), set(range(len(requests))), 0.0
        one = [replace(request, variant=replace(request.variant, decoding=Decoding(max_new_tokens=1)), goes_on=False)
               for request in requests]  # fmt: skip
        for pieces in loaded.stream(one, owner="somebody"):
            begun = waiting & {piece.row for piece in pieces if not piece.before}
            if begun:
                waiting, latest = waiting - begun, time.perf_counter()
        found.append(latest - asked)
    return found


@contextmanager
def nothing_kept(loaded: Engine) -> Iterator[None]:
    most = loaded.kept.most
    loaded.kept.most = lambda _held: 0
    loaded.forget()
    try:
        yield
    finally:
        loaded.kept.most = most


def chat(loaded: Engine, variants: Sequence[Variant], turns: int, repeats: int) -> dict:
    """Turn by turn: seconds to the first token, tokens of prompts and answers, and how many of the prompts' were kept."""
    said: list[list[Message]] = [[] for _ in variants]
    rows, asked = [], []
    first_token(loaded, [Request([{"role": "user", "content": WARM_UP}], one) for one in variants], 2)
    loaded.forget()
    for turn in range(turns):
        question: Message = {"role": "user", "content": QUESTIONS[turn % len(QUESTIONS)]}
        requests = [Request([*before, question], one) for before, one in zip(said, variants, strict=True)]
        seconds = first_token(loaded, requests, repeats)
        answers = loaded.answer(requests, owner="somebody")
        for before, answer in zip(said, answers, strict=True):
            before += [question, {"role": "assistant", "content": answer.raw}]
        asked.append(requests)
        rows.append(
            {
                "first_token_s": statistics.median(seconds),
                "prompt_tokens": [answer.prompt_tokens for answer in answers],
                "kept_tokens": [answer.timings.kept_tokens for answer in answers],
                "new_tokens": [answer.new_tokens for answer in answers],
            }
        )
        print(f"\rturn {turn + 1} of {turns}", end="", file=sys.stderr, flush=True)
    held = loaded.kept.bytes
    with nothing_kept(loaded):
        plain = [statistics.median(first_token(loaded, asked[turn], repeats)) for turn in (0, -1)]
    return {
        "turns": rows,
        "without": {"first_s": plain[0], "last_s": plain[1]},
        "held_mib": round(held / 2**20, 1),
        "ratios": {
            "last_over_first": round(rows[-1]["first_token_s"] / rows[0]["first_token_s"], 2),
            "last_over_first_without": round(plain[1] / plain[0], 2),
            "without_over_with": round(plain[1] / rows[-1]["first_token_s"], 2),
        },
    }


def running(loaded: Engine, variants: Sequence[Variant], count: int, tokens: int) -> dict:
    """Seconds that `count` probes take in one running conversation per language and variant."""

    def once() -> tuple[float, list[str]]:
        began, said = time.perf_counter(), []
        few = [replace(one, decoding=Decoding(max_new_tokens=tokens)) for one in variants]
        with tempfile.TemporaryDirectory() as folder:
            settings = RunSettings(mode="running")
            for event in runner.run(loaded, few, chosen(count), settings, db=Path(folder) / "bench.db", reuse=False):
                said += [f"{reply.place}: {reply.answer['raw']}" for reply in event.new if reply.answer]
        return time.perf_counter() - began, said

    loaded.forget()
    ours, said = once()
    with nothing_kept(loaded):
        plain, theirs = once()
    same = len(set(said) & set(theirs))
    return {
        "probes": count,
        "with_s": ours,
        "without_s": plain,
        "same_answers": f"{same} of {len(said)}",
        "ratios": {"without_over_with": round(plain / ours, 2)},
    }


def report(result: dict) -> None:
    about = result["machine"]
    print(f"\n{about['cpu']}, {about['device']}, {about['dtype']}, torch {about['versions']['torch']}")
    if talk := result.get("chat"):
        print("turn   first token ms   prompt tokens   of them kept   tokens answered")
        for turn, row in enumerate(talk["turns"], 1):
            counts = (sum(row[name]) for name in ("prompt_tokens", "kept_tokens", "new_tokens"))
            print("{:4}{:17.0f}{:16}{:15}{:18}".format(turn, 1000 * row["first_token_s"], *counts))
        plain, ratios = talk["without"], talk["ratios"]
        print(f"without: turn 1 {1000 * plain['first_s']:.0f} ms, the last {1000 * plain['last_s']:.0f} ms")
        print(f"last turn over first: {ratios['last_over_first']} x, without {ratios['last_over_first_without']} x; "
              f"the last turn {ratios['without_over_with']} x as fast as without; {talk['held_mib']} MiB kept")  # fmt: skip
    if run := result.get("probes"):
        print(f"{run['probes']} probes of three variants in running conversations: {run['with_s']:.1f} s, "
              f"without {run['without_s']:.1f} s, {run['ratios']['without_over_with']} x; "
              f"{run['same_answers']} answers the same")  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=DEFAULT_BASE)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=60, help="of an answer in the chat, at most (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="of each time to a first token (default: %(default)s)")
    parser.add_argument("--probes", type=int, default=16, help="asked in running conversations (default: %(default)s)")
    parser.add_argument("--probe-tokens", type=int, default=24, help="of their answers, at most (default: %(default)s)")
    parser.add_argument("--no-chat", action="store_true")
    parser.add_argument("--no-probes", action="store_true")
    add_engine_flags(parser)
    args = parser.parse_args(argv)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        loaded = engine.load(args.base, device=args.device, dtype=args.dtype, threads=args.threads)
        variants = three(loaded, args.base, args.tokens)
        result: dict = {"machine": machine(loaded.base.model) | {"cpu": cpu()}}
        if not args.no_chat:
            result["chat"] = chat(loaded, variants, args.turns, args.repeats)
        if not args.no_probes:
            result["probes"] = running(loaded, variants, args.probes, args.probe_tokens)
    except UserError as error:
        sys.exit(str(error))
    report(result)
    if args.json:
        write_json(args.json, result)


if __name__ == "__main__":
    main()
