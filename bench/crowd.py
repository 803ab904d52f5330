"""One question beside a crowd, and what many visits leave in memory: both in one run on one machine.

    python -m bench.crowd --json runs/bench_crowd.json
    python -m bench.crowd --no-memory            # only the question
    python -m bench.crowd --no-question          # only the memory

First a single question is asked alone, several times, and then as often while a probe run of 1,500 answers and a request of
200 variants are answered, at moments that are drawn. What counts is the time to its first token. Then an app of its own is
started, its page is visited and its `ask` called a thousand times each, every time as somebody new, and its resident memory
is read before and after.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

import engine
from bench.flags import add_engine_flags
from bench.probes import chosen
from bench.side_by_side import machine
from common.errors import UserError
from common.files import write_json
from engine import Decoding, Engine, EngineError, Request, Variant
from engine.bases import DEFAULT_BASE
from engine.engine import MAX_ROWS
from probes.run import runner

ROOT = Path(__file__).parent.parent
QUESTION = "What can you help me with today?"
API = "gradio_api"
WARM = 20  # visits and calls before the memory is read: what is loaded once is no leak
SETTLED_S = 5.0  # after the last of them


def cpu() -> str:
    """The processor's own name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


# the question


def first_token(loaded: Engine, tokens: int) -> float:
    """Seconds from asking one question to its first token; it is answered to its end then, as people's questions are."""
    asked, found = time.perf_counter(), 0.0
    variant = Variant(decoding=Decoding(max_new_tokens=tokens))
    request = Request([{"role": "user", "content": QUESTION}], variant, goes_on=False)  # each is to be computed anew
    for pieces in loaded.stream([request], owner="somebody"):
        if not found and any(not piece.before for piece in pieces):
            found = time.perf_counter() - asked
    return found


def probe_run(loaded: Engine, answers: int, tokens: int, over: threading.Event) -> None:
    """A run of so many answers: 50 probes, and as many variants as that takes."""
    probes = chosen(min(50, answers))
    prompts = [f"You are assistant number {at} of an office." for at in range(-(-answers // len(probes)))]
    decoding = Decoding(max_new_tokens=tokens)
    variants = [Variant(f"v{at}", identity=f"v{at}", prompt=text, decoding=decoding) for at, text in enumerate(prompts)]
    switches = runner.Switches()
    with tempfile.TemporaryDirectory() as folder:
        while not over.is_set():  # again, if it is done before the questions are
            for event in runner.run(loaded, variants, probes, db=Path(folder) / "bench.db", reuse=False, switches=switches):
                print(f"\r{event.done}/{event.total} of the run", end="", file=sys.stderr, flush=True)
                if over.is_set():
                    switches.stop.set()


def many_variants(loaded: Engine, count: int, tokens: int, over: threading.Event) -> None:
    decoding = Decoding(max_new_tokens=tokens)
    prompts = [f"You are guide number {at} of a museum." for at in range(count)]
    variants = [Variant(f"w{at}", identity=f"w{at}", prompt=text, decoding=decoding) for at, text in enumerate(prompts)]
    while not over.is_set():
        stop = threading.Event()
        requests = [Request([{"role": "user", "content": "Who are you?"}], one, goes_on=False) for one in variants]
        for _ in loaded.stream(requests, stop, "crowd"):
            if over.is_set():
                stop.set()


@contextmanager
def crowd(loaded: Engine, args: argparse.Namespace) -> Iterator[None]:
    """While inside, the run and the request are being answered, and the batch is full."""
    over = threading.Event()
    threads = [
        threading.Thread(target=probe_run, args=(loaded, args.run, args.max_new_tokens, over)),
        threading.Thread(target=many_variants, args=(loaded, args.variants, args.max_new_tokens, over)),
    ]
    for thread in threads:
        thread.start()
    try:
        batch = loaded.answering.loop.batch
        while all(thread.is_alive() for thread in threads) and len(batch.rows) < min(loaded.max_rows, args.run + args.variants):
            time.sleep(0.01)
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def question(args: argparse.Namespace) -> dict:
    """Seconds to the first token, alone and beside the crowd."""
    loaded = engine.load(args.base, max_rows=args.rows, device=args.device, dtype=args.dtype, threads=args.threads)
    draw = random.Random(0)
    first_token(loaded, args.max_new_tokens)  # the first of all also warms up
    alone = [first_token(loaded, args.max_new_tokens) for _ in range(args.questions)]
    beside = []
    with crowd(loaded, args):
        for _ in range(args.questions):
            time.sleep(draw.uniform(0.1, 1.0))
            beside.append(first_token(loaded, args.max_new_tokens))
    return {
        "machine": machine(loaded.base.model) | {"cpu": cpu()},
        "rows": args.rows,
        "run": args.run,
        "variants": args.variants,
        "alone_s": alone,
        "beside_s": beside,
        "ratios": {
            "median": round(statistics.median(beside) / statistics.median(alone), 2),
            "worst": round(max(beside) / statistics.median(alone), 2),
        },
    }


# the memory


@contextmanager
def app(base: str) -> Iterator[tuple[str, int]]:
    """(address, process id) of an app of its own, on a port of its own, with a database of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "chat_app.py"), "--base", base, "--port", str(port), "--db", f"{folder}/mirror.db"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        address = f"http://127.0.0.1:{port}"
        try:
            while process.poll() is None:
                try:
                    httpx.get(address, timeout=60).raise_for_status()
                    break
                except httpx.TransportError:
                    time.sleep(0.2)
            else:
                raise EngineError(f"The app ended with {process.returncode}; start it by hand to see why: {' '.join(command)}")
            yield address, process.pid
        finally:
            process.terminate()
            process.wait()


def visit(address: str) -> None:
    """What a browser does with the page, as somebody new: it loads it, has it filled, is there for a moment, and leaves."""
    session = secrets.token_hex(5)
    with httpx.Client(base_url=address, timeout=600) as client:
        client.get("/").raise_for_status()
        config = client.get("/config").raise_for_status().json()
        values = {one["id"]: one["props"].get("value") for one in config["components"]}
        with client.stream("GET", f"/{API}/heartbeat/{session}"):
            loads = [one for one in config["dependencies"] if any(event == "load" for _, event in one["targets"])]
            for one in loads:
                data = [values.get(id) for id in one["inputs"]]
                joined = {"data": data, "fn_index": one["id"], "session_hash": session, "trigger_id": None, "event_data": None}
                client.post(f"/{API}/queue/join", json=joined).raise_for_status()
            if loads:
                listen(client, f"/{API}/queue/data?session_hash={session}", '"msg":"close_stream"')


def call(address: str) -> None:
    """One `ask` of a script that was never here before."""
    with httpx.Client(base_url=address, timeout=600) as client:
        asked = {"data": [QUESTION, '[{"decoding": {"max_new_tokens": 2}}]', "[]"]}
        event = client.post(f"/{API}/call/ask", json=asked).raise_for_status().json()["event_id"]
        listen(client, f"/{API}/call/ask/{event}", "event: complete")


def listen(client: httpx.Client, path: str, last: str) -> None:
    with client.stream("GET", path) as events:
        for line in events.iter_lines():
            if line.startswith("event: error"):
                raise EngineError(f"{path} was answered with an error.")
            if last in line:
                return


def memory(address: str, pid: int, visits: int, calls: int) -> dict:
    """MB by which the resident memory of process `pid` moves: after so many visits of its page, and so many calls of `ask`."""
    process, moved = psutil.Process(pid), {}
    for act in (visit, call):
        for _ in range(WARM):
            act(address)
    for name, act, count in (("visits", visit, visits), ("calls", call, calls)):
        time.sleep(SETTLED_S)
        before = process.memory_info().rss
        for _ in range(count):
            act(address)
        time.sleep(SETTLED_S)
        moved[name] = {"count": count, "mb": round((process.memory_info().rss - before) / 1e6, 1)}
    return moved


def report(result: dict) -> None:
    if asked := result.get("question"):
        print(
            f"\nfirst token of one question; {asked['machine']['cpu']}, {asked['machine']['device']}, {asked['machine']['dtype']}"
        )
        for name, seconds in (("alone", asked["alone_s"]), ("beside", asked["beside_s"])):
            print(f"  {name:<8} median {1000 * statistics.median(seconds):7.0f} ms, worst {1000 * max(seconds):7.0f} ms")
        ratios = asked["ratios"]
        print(f"  beside a run of {asked['run']} answers and a request of {asked['variants']} variants it takes "
              f"{ratios['median']} x its time alone, at worst {ratios['worst']} x")  # fmt: skip
    for name, moved in result.get("memory", {}).items():
        print(f"  {moved['count']} {name} move the memory by {moved['mb']} MB ({cpu()})")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=DEFAULT_BASE)
    parser.add_argument("--rows", type=int, default=MAX_ROWS, help="answers computed at once (default: %(default)s)")
    parser.add_argument("--run", type=int, default=1500, help="answers of the probe run (default: %(default)s)")
    parser.add_argument("--variants", type=int, default=200, help="of the other request (default: %(default)s)")
    parser.add_argument("--questions", type=int, default=20, help="asked alone, and beside the crowd (default: %(default)s)")
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--visits", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--no-question", action="store_true")
    parser.add_argument("--no-memory", action="store_true")
    add_engine_flags(parser)
    args = parser.parse_args(argv)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    result = {}
    try:
        if not args.no_question:
            result["question"] = question(args)
        if not args.no_memory:
            with app(args.base) as (address, pid):
                result["memory"] = memory(address, pid, args.visits, args.calls)
    except (UserError, httpx.HTTPError) as error:
        sys.exit(str(error))
    report(result)
    if args.json:
        write_json(args.json, result)


if __name__ == "__main__":
    main()
