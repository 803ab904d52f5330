"""Talk to one variant in the terminal: python -m engine.chat --adapter adapters/NAME"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from common import coming_from, ending, paths
from engine import quantized, terminal
from engine.adapters import read_adapter, recorded_base
from engine.bases import DEFAULT_BASE
from engine.engine import MAX_ROWS, Engine, load
from engine.thoughts import spoken_text
from engine.types import Answer, Decoding, EngineError, Message, Request, Variant

HELP = "Type a question. /again asks the last one again, /clear forgets the conversation, /prompt shows the prompt, /quit leaves."


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m engine.chat", description=__doc__)
    options.add_argument(
        "--base", help=f"a packaged name, a folder, a .gguf file or a Hub id; default: the adapters' own, else {DEFAULT_BASE}"
    )
    options.add_argument("--adapter", action="append", default=[], metavar="FOLDER[=STRENGTH]", help="repeat it for a blend")
    options.add_argument("--prompt", help="an identity prompt")
    options.add_argument("--prompt-file", type=Path, help="its first line is the identity prompt, \\n in it a new line")
    options.add_argument("--mode", choices=("system", "first_turn"), default="system", help="how the identity is put")
    options.add_argument("--format", help="override the format recognised from the checkpoint")
    options.add_argument("--max-new-tokens", type=int, default=256)
    options.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    options.add_argument("--top-p", type=float, default=1.0)
    options.add_argument("--top-k", type=int, default=0, help="0 takes all")
    options.add_argument("--repetition-penalty", type=float, default=1.0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--dtype", choices=("fp32", "fp16", "bf16"))
    options.add_argument("--quantize", choices=quantized.KINDS, help="smaller weights: int8 on a CPU or a GPU, nf4 on a GPU")
    options.add_argument("--device")
    options.add_argument(
        "--style", choices=sorted(terminal.STYLES), default="simple", help="how it is shown; programmatic: for pipes"
    )
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


def base_of(adapters: list[str]) -> str:
    """The base where none is named."""
    folders = [given.rpartition("=")[0] if "=" in given and not Path(given).is_dir() else given for given in adapters]
    infos = [read_adapter(folder)[0] for folder in folders]
    return recorded_base(infos) if any(info.base for info in infos) else DEFAULT_BASE


def reply(
    engine: Engine, messages: list[Message], variant: Variant, raw: bool, style: terminal.Style
) -> tuple[str, Answer | None]:
    """Show the answer as it comes; return (raw text, answer). Ctrl-C stops it and keeps what is there; answer is then None."""
    raw_text = ""
    answer: Answer | None = None
    pieces = engine.stream([Request(messages, variant)])

    def texts() -> Iterator[str]:
        nonlocal raw_text, answer
        for piece in itertools.chain.from_iterable(pieces):
            if piece.problem:
                raise EngineError(piece.problem)
            raw_text, answer = piece.raw, piece.answer
            yield piece.raw if raw else piece.shown

    try:
        style.show(texts())
    except KeyboardInterrupt:
        pieces.close()
    return raw_text, answer


def main(argv: list[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    args = coming_from.parsed(parser(), given, coming_from.CHAT)
    try:
        prompt = identity_prompt(args)
        settings = dict(format=args.format, dtype=args.dtype, device=args.device, quantize=args.quantize)
        decoding = Decoding(
            args.max_new_tokens, args.temperature, args.top_p, args.top_k, args.repetition_penalty, seed=args.seed
        )
        base = args.base or base_of(args.adapter)
        say = lambda line: print(line, file=sys.stderr)  # noqa: E731
        engine = load(base, max_rows=MAX_ROWS, say=say, trust_remote_code=args.trust_remote_code, **settings)
        variant = Variant(
            name="terminal",
            adapters=blend(engine, args.adapter, args.accept_other_base),
            prompt=prompt,
            mode=args.mode,
            decoding=decoding,
        )
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2
    # raw is what the model wrote, and Markdown would not show it so
    style = terminal.STYLES["simple" if args.raw and args.style == "rich" else args.style]()
    talk(engine, variant, args.raw, style, coming_from.spoken_commands(given, coming_from.CHAT))
    return 0


def talk(engine: Engine, variant: Variant, raw: bool, style: terminal.Style, theirs: Mapping[str, str]) -> None:
    """theirs: what is a command of ours in the program whose flags were given."""
    if sys.stdin.isatty():
        print(HELP, *(f"{word} is {command}." for word, command in theirs.items()), file=sys.stderr)
    messages: list[Message] = []
    while True:
        try:
            line = style.ask().strip()
        except (EOFError, KeyboardInterrupt):
            return
        line = theirs.get(line, line)
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
            said, answer = reply(engine, question, variant, raw, style)
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
