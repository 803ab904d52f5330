"""Talk to one variant in the terminal: python -m engine.chat --adapter adapters/NAME"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

from common import ending, paths
from engine.bases import DEFAULT_BASE
from engine.engine import MAX_ROWS, Engine, load
from engine.thoughts import spoken_text
from engine.types import Answer, Decoding, EngineError, Message, Request, Variant

HELP = "Type a question. /again asks the last one again, /clear forgets the conversation, /prompt shows the prompt, /quit leaves."


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m engine.chat", description=__doc__)
    options.add_argument("--base", default=DEFAULT_BASE, help="bayling-mini, smollm2, a folder, a .gguf file or a Hub id")
    options.add_argument("--adapter", action="append", default=[], metavar="FOLDER[=STRENGTH]", help="repeat it for a blend")
    options.add_argument("--prompt", help="an identity prompt")
    options.add_argument("--prompt-file", type=Path, help="its first line is the identity prompt, \\n in it a new line")
    options.add_argument("--mode", choices=("system", "first_turn"), default="system", help="how the identity is put")
    options.add_argument("--format", help="override the format recognised from the checkpoint")
    options.add_argument("--max-new-tokens", type=int, default=256)
    options.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    options.add_argument("--top-p", type=float, default=1.0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--dtype", choices=("fp32", "fp16", "bf16"))
    options.add_argument("--device")
    options.add_argument("--raw", action="store_true", help="show placeholders as the model writes them")
    options.add_argument("--trust-remote-code", action="store_true")
    options.add_argument("--accept-other-base", action="store_true", help="load adapters recorded for a base of another name")
    return options


def identity_prompt(args: argparse.Namespace) -> str | None:
    if not args.prompt_file:
        prompt: str | None = args.prompt
        return prompt
    try:
        first = paths.read_text(args.prompt_file).partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"--prompt-file {args.prompt_file}: cannot be read as UTF-8 text ({error}).") from error
    return first.replace("\\n", "\n") or None


def blend(engine: Engine, adapters: list[str], accept_other_base: bool) -> dict[str, float]:
    heard = {}
    for given in adapters:
        path, _, strength = given.rpartition("=") if "=" in given else (given, "", "1")
        try:
            heard[engine.add_adapter(path, accept_other_base=accept_other_base)] = float(strength)
        except ValueError:
            raise EngineError(f"--adapter {given}: {strength!r} is not a strength; write FOLDER=0.5.") from None
    return heard


def reply(engine: Engine, messages: list[Message], variant: Variant, raw: bool) -> tuple[str, Answer | None]:
    """Print the answer as it comes; return (raw text, answer). Ctrl-C stops it and keeps what is there; answer is then None."""
    shown, raw_text, answer = "", "", None
    pieces = engine.stream([Request(messages, variant)])
    try:
        for piece in itertools.chain.from_iterable(pieces):
            text = piece.raw if raw else piece.shown
            print(text[len(shown) :], end="", flush=True)
            shown, raw_text, answer = text, piece.raw, piece.answer
            if piece.problem:
                raise EngineError(piece.problem)
    except KeyboardInterrupt:
        pieces.close()
    print()
    return raw_text, answer


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        prompt = identity_prompt(args)
        settings = dict(format=args.format, dtype=args.dtype, device=args.device, trust_remote_code=args.trust_remote_code)
        engine = load(args.base, max_rows=MAX_ROWS, say=lambda line: print(line, file=sys.stderr), **settings)
        variant = Variant(
            name="terminal",
            adapters=blend(engine, args.adapter, args.accept_other_base),
            prompt=prompt,
            mode=args.mode,
            decoding=Decoding(args.max_new_tokens, args.temperature, args.top_p, seed=args.seed),
        )
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2
    talk(engine, variant, args.raw)
    return 0


def talk(engine: Engine, variant: Variant, raw: bool) -> None:
    if sys.stdin.isatty():
        print(HELP, file=sys.stderr)
    messages: list[Message] = []
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if line == "/quit":
            return
        if line == "/clear":
            messages = []
            continue
        if line == "/again":
            asked = [at for at, message in enumerate(messages) if message["role"] == "user"]
            if not asked:
                continue
            messages, line = messages[: asked[-1]], messages[asked[-1]]["content"]
        if not line:
            continue
        try:
            if line == "/prompt":
                print(engine.render(Request(messages[:-1] or [{"role": "user", "content": "..."}], variant)))
                continue
            question: list[Message] = [*messages, {"role": "user", "content": line}]
            said, answer = reply(engine, question, variant, raw)
        except EngineError as error:
            print(error, file=sys.stderr)
            continue
        if answer and answer.dropped_turns:
            print(f"({answer.dropped_turns} oldest turns were left out to fit the context.)", file=sys.stderr)
        if answer and answer.finish == "length":
            print(f"(Cut at {answer.new_tokens} tokens.)", file=sys.stderr)
        if said.strip():
            kept = spoken_text(said, answer.prompt if answer else "").strip()  # what was thought is not told to the model again
            messages = [*question, {"role": "assistant", "content": kept}]


if __name__ == "__main__":
    ending.run(main)
