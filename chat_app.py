"""The door: flags, then the engine and the store, then the page.

`python chat_app.py` opens the packaged small model on http://127.0.0.1:7860; `--help` lists the rest.
"""

from __future__ import annotations

import signal

from common.errors import UserError

if __name__ == "__main__":  # until `main` listens itself, Ctrl-C is what it is to every other program: no trace of imports
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import gc
import ipaddress
import os
import re
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from common import coming_from, ending, space
from common.paths import EVERYWHERE, Opened

PASSWORD = "MIRROR_PASSWORD"  # whose value is a password of --auth
HERE = Path(__file__).parent
SHELVES = (HERE / "adapters", HERE / "runs" / "adapters")


def flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chat_app.py", description="Mirror Test: one base model, many identities, side by side."
    )
    base_flags(parser.add_argument)
    folder_flags(parser.add_argument)
    engine_flags(parser.add_argument)
    page_flags(parser.add_argument)
    return parser


def base_flags(say: Callable) -> None:
    """say: a parser's `add_argument`."""
    say(
        "--base",
        default="bayling-mini",
        help="bayling-mini or smollm2 (packaged), a model folder, a .gguf file or a Hub id (default: %(default)s)",
    )
    say("--format", help="the base's prompt format; recognised from the checkpoint if not given")
    say("--card", metavar="IDENTITY", help="identity whose .yaml gives the placeholders and the names shown for them")


def folder_flags(say: Callable) -> None:
    say("--adapter", action="append", default=[], metavar="FOLDER", help="a PEFT adapter to load; may be given several times")
    say("--adapters-dir", type=Path, metavar="FOLDER", help="where adapters lie (default: adapters/ and runs/adapters/)")
    say("--identities-dir", type=Path, metavar="FOLDER", help="where identities lie (default: identities/)")
    say(
        "--data-dir",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="opens a folder to those who log in, to read data from and write models to, beside the adapters and runs/; may be "
        "given several times. Without a login the page is the local user's, to whom every folder is open",
    )
    say("--db", type=Path, default=HERE / "runs" / "mirror.db", help="database of answers and votes (default: runs/mirror.db)")
    say("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine only)")
    say("--port", type=int, default=7860, help="port to listen on (default: %(default)s)")


def engine_flags(say: Callable) -> None:
    say("--dtype", choices=("fp32", "fp16", "bf16"), help="chosen by what the device can do if not given")
    say(
        "--quantize",
        choices=("int8", "nf4"),
        help="smaller, faster weights that give slightly other answers, each marked so: int8 on a CPU or a GPU (7.5 and up), nf4 "
        "on a GPU; never chosen by itself",
    )
    say("--device", help="cpu, cuda, cuda:1 ...; chosen if not given")
    say("--context", type=int, metavar="TOKENS", help="context limit; the model's own if not given")
    say("--threads", type=int, metavar="N", help="CPU threads to compute with")
    say(
        "--max-rows",
        type=int,
        default=32,
        metavar="N",
        help="answers computed at once (default: %(default)s); fewer need less memory",
    )
    say("--trust-remote-code", action="store_true", help="run Python code that comes with the checkpoint")
    say("--accept-other-base", action="store_true", help="load adapters recorded for a base of another name")
    say("--judge", metavar="base|URL", help="who gives second opinions: the base itself, or an OpenAI-compatible server")
    say("--judge-model", default="", metavar="NAME", help="the judge's name on that server")


def page_flags(say: Callable) -> None:
    say(
        "--root-path",
        metavar="ADDRESS",
        help="where a reverse proxy shows this page, such as https://lab.example.org/mirror (only a path: under the names of "
        "this machine); the proxy takes the path off and passes Host on",
    )
    say("--share", action="store_true", help="a public address through Gradio's servers; needs --accounts or --auth")
    say(
        "--accounts",
        type=Path,
        metavar="FILE",
        help="who may log in and for what: a file made with `python -m ui.accounts add NAME --role ROLE`; this, or --auth, is "
        "needed with --share or another host than this machine",
    )
    say(
        "--auth",
        metavar="USER[:PASSWORD]",
        action="append",
        default=[],
        help="somebody who may log in this time, for everything; without the password it is taken from MIRROR_PASSWORD or asked "
        "for, and nobody sees it in the list of processes; repeat it for more people",
    )
    say("--lang", choices=("en", "zh"), help="language of the page until someone switches it (default: the browser's)")


def problems(args: argparse.Namespace) -> list[str]:
    """Everything that is wrong with the flags, a sentence each, found before anything slow begins."""
    return [*login_problems(args), *address_problems(args), *judge_problems(args), *value_problems(args)]


def login_problems(args: argparse.Namespace) -> list[str]:
    wrong = []
    named = [one.partition(":") for one in args.auth]
    if not all(name and (password or not colon) for name, colon, password in named):
        wrong.append("--auth is written USER:PASSWORD or USER, with neither of them empty")
    elif unasked := [name for name, colon, _ in named if not colon and not os.environ.get(PASSWORD) and not sys.stdin.isatty()]:
        wrong.append(
            f"--auth {unasked[0]} has no password: write USER:PASSWORD, set {PASSWORD}, or start this in a terminal to be asked"
        )
    if twice := [name for name, _, _ in named if sum(name == other for other, _, _ in named) > 1]:
        wrong.append(f"--auth names {twice[0]} twice")
    if args.auth or args.accounts:
        return wrong
    if args.share:
        wrong.append("--share gives everyone who has the address this page; add --accounts FILE or --auth USER:PASSWORD")
    if not loopback(args.host):
        wrong.append(
            f"--host {args.host} opens this page to other machines; add --accounts FILE or --auth USER:PASSWORD, or use 127.0.0.1"
        )
    return wrong


def address_problems(args: argparse.Namespace) -> list[str]:
    wrong = []
    if not 1 <= args.port <= 65535:
        wrong.append(f"--port {args.port} is no port; it lies between 1 and 65535")
    elif taken := port_taken(args.host, args.port):
        wrong.append(taken)
    if args.root_path and not re.fullmatch(r"(?:https?://[^/\s?#]+)?(?:/[^/\s?#]+)*/?", args.root_path):
        wrong.append(f"--root-path {args.root_path} is no path; it begins with a slash, such as /mirror, or is a whole address")
    return wrong


def judge_problems(args: argparse.Namespace) -> list[str]:
    if args.judge and args.judge != "base":
        if not args.judge.startswith(("http://", "https://")):
            return [f"--judge {args.judge} is neither base nor an address that begins with http:// or https://"]
        return [] if args.judge_model else ["--judge with an address needs the model's name there: --judge-model NAME"]
    return ["--judge-model belongs to a --judge with an address"] if args.judge_model else []


def value_problems(args: argparse.Namespace) -> list[str]:
    """Numbers that are too small, folders that are none."""
    wrong = []
    for flag in ("threads", "context", "max_rows"):
        if getattr(args, flag) is not None and getattr(args, flag) < 1:
            wrong.append(f"--{flag.replace('_', '-')} {getattr(args, flag)} is too small; at least 1 is needed")
    for flag in ("adapters_dir", "identities_dir"):
        folder = getattr(args, flag)
        if folder is not None and not folder.is_dir():
            wrong.append(f"--{flag.replace('_', '-')} {folder} is no folder")
    return [*wrong, *(f"--data-dir {folder} is no folder" for folder in args.data_dir if not folder.expanduser().is_dir())]


def opened_folders(args: argparse.Namespace, shelves: tuple[Path, ...], others: bool) -> Opened:
    """Where paths that come from the page may lead. others: than the local user can reach it. The database is nobody's."""
    if not others:
        return EVERYWHERE
    from ui.app import database_files

    # a database may lie in a home folder, of which only what is made here is meant
    runs = [args.db.parent] if args.db.parent.name == "runs" else [args.db.parent / "data", args.db.parent / "merged"]
    folders = [*(folder.expanduser() for folder in args.data_dir), *shelves, *runs]
    return Opened(
        folders=tuple(dict.fromkeys(folder.absolute() for folder in folders)),
        readable=(HERE / "data", *(Path(folder).expanduser().absolute() for folder in args.adapter)),
        closed=(*map(Path, database_files(args.db)), *([args.accounts.expanduser().absolute()] if args.accounts else [])),
    )


def loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def port_taken(host: str, port: int) -> str:
    """A sentence if nothing can listen there, else ""."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind, protocol) as probe:
            # as the server does it: a port whose last server has just ended is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if isinstance(error, socket.gaierror):
            return f"--host {host} is no address of this machine"
        return f"port {port} on {host} cannot be used ({os.strerror(error.errno or 0).lower()}); choose another with --port"
    return ""


def model_card(args: argparse.Namespace):
    """The card of --card, or None for the one that comes with the base."""
    if not args.card:
        return None
    import identities
    from engine import EngineError
    from engine.card import from_mapping

    facts = identities.load(args.card, args.identities_dir).facts
    if facts is None or not facts.placeholders:
        raise EngineError(
            f"--card {args.card}: {args.card}.yaml names no placeholders; add a mapping `placeholders` or leave --card out."
        )
    return from_mapping(args.card, facts.placeholders)


def accounts_of(args: argparse.Namespace):
    """Who may log in, or None if nobody has to. AccountError."""
    from ui.accounts import AccountError, Accounts, ask_password, check_name

    if not (args.accounts or args.auth):
        return None
    once = {}
    for one in args.auth:
        name, colon, password = one.partition(":")
        once[check_name(name)] = password if colon else ask_password(name)
    os.environ.pop(PASSWORD, None)  # no process that is started later has to know it
    accounts = Accounts(args.accounts and args.accounts.expanduser().absolute(), once)
    if not accounts.once and not accounts.read:
        raise AccountError(f"{args.accounts} holds no account; add one with: python -m ui.accounts add NAME --role ROLE.")
    return accounts


def open_app(args: argparse.Namespace, say=print):
    """Loads the base and what belongs to it. Raises AccountError, EngineError, IdentityError or StoreError, a sentence each."""
    import engine
    import identities
    import store

    accounts = accounts_of(args)
    # as seen from here: what is started later works in another folder
    for name in ("db", "adapters_dir", "identities_dir"):
        if path := getattr(args, name):
            setattr(args, name, path.expanduser().absolute())
    store.open(args.db).close()
    loaded = engine.load(
        args.base,
        format=args.format,
        card=model_card(args),
        device=args.device,
        dtype=args.dtype,
        context=args.context,
        trust_remote_code=args.trust_remote_code,
        quantize=args.quantize,
        threads=args.threads,
        max_rows=args.max_rows,
        say=say,
    )
    from probes.second_opinion import judge_of
    from ui import adapter_library
    from ui.context import App
    from ui.words import Languages

    shelves = (args.adapters_dir,) if args.adapters_dir else SHELVES
    app = App(
        engine=loaded,
        db=args.db,
        identities=args.identities_dir or identities.FOLDER,
        adapters=shelves,
        opened=opened_folders(args, shelves, others=bool(accounts or args.share or args.root_path)),
        language=Languages(args.lang),
        accept_other_base=args.accept_other_base,
        judge=judge_of(args.judge, args.judge_model, loaded) if args.judge else None,
        accounts=accounts,
    )
    adapter_library.sweep_leftovers(app)
    adapter_library.rescan(app)
    for folder in args.adapter:
        try:
            adapter_library.load_folder(app, folder)
        except engine.EngineError as error:
            raise engine.EngineError(f"--adapter {folder}: {error}") from None
    if loaded.adapters:
        say(f"adapters {', '.join(sorted(loaded.adapters, key=identities.natural_key))}")
    for folder, why in app.refused.items():
        say(f"not loaded {folder}: {why}")
    return app


def main(arguments: list[str] | None = None) -> int:
    given = coming_from.parsed(flags(), arguments, coming_from.PAGE)
    with ending.Bell().hanging() as bell:
        return run(given, bell)


def run(args: argparse.Namespace, bell: ending.Bell) -> int:
    """The exit code, when the page has been closed or cannot be opened."""
    if wrong := problems(args):
        print("; ".join(wrong) + ".", file=sys.stderr)
        return 2
    # Half a million objects come with the packages and stay for good: looking through them again and again costs a second of the
    # start. (Gradio in a thread of its own costs two: imports take turns, and each turn is waited for.)
    gc.disable()
    try:
        app = open_app(args)
        bell.waiting(app.closed.set)
        from ui.app import serve

        gc.freeze()
        gc.enable()

        def say(address: str) -> None:
            print(f"Mirror Test is open at {address}", flush=True)
            threading.Thread(target=app.engine.settle, daemon=True).start()  # while the first question is being typed

        serve(
            app,
            host=args.host,
            port=args.port,
            share=args.share,
            root_path=(args.root_path or "").rstrip("/") or None,
            say=say,
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        # whoever else began to listen there while the base was being loaded
        if not (why := port_taken(args.host, args.port) or space.full_disk_sentence(error)):
            raise
        print(f"{why}.".replace("..", "."), file=sys.stderr)
        return 1
    return bell.code


if __name__ == "__main__":
    ending.leave(main())
