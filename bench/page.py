"""How long the page takes until it can be used, beside a plain Gradio page of three Chatbots and a Textbox, in one browser.

`python -m bench.page [--base NAME] [--repeats N] [--json FILE]`: starts both alone, in turn, several times, and prints the median
seconds from the command to the first page; then opens both in turn, each time in a fresh profile of the browser, and prints
seconds until one can type and until the first tab is whole, bytes of the page, requests, components, and ours over the plain
one's; of ours also what imports take, the seconds that a tab takes when it is opened for the first time, and later, with a
stored run of 200 probes and 8 variants, and how busy the browser's main thread is while three columns are being answered. Needs
a Chromium and requirements-dev.txt.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

import store
from bench import stored_runs
from bench.browser import CHROMIUM
from bench.crowd import cpu
from common.files import write_json
from store import answers

ROOT = Path(__file__).parents[1]
TABS = ("probes", "label", "results", "identity", "finetune", "adapters")
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PLAIN = """
import gradio as gr
with gr.Blocks() as demo:
    with gr.Row():
        chats = [gr.Chatbot() for _ in range(3)]
    box = gr.Textbox(elem_id="question")
    box.submit(lambda text: ["", *([{"role": "user", "content": text}] for _ in chats)], box, [box, *chats])
demo.launch(server_port=%d)
"""
PACKAGES = ("torch", "transformers", "gradio", "ui.app")
IMPORTS = f"""
import gc, importlib, time
gc.disable()  # as chat_app does meanwhile
for name in {PACKAGES}:
    began = time.monotonic()
    importlib.import_module(name)
    print(time.monotonic() - began)
"""
FILLED = ":is(.mt-filled, .mt-failed)"
PROBES, VARIANTS = 200, 8
STREAMED_S = 4.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def served(command: list[str], port: int) -> Iterator[tuple[str, float]]:
    """The address of a page that a process of its own serves, and seconds until it gave the page for the first time.
    TimeoutError if it does not within five minutes."""
    env = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    address, until = f"http://127.0.0.1:{port}/", began + 300
    try:
        while True:
            try:
                httpx.get(address, timeout=60).raise_for_status()
                break
            except httpx.HTTPError:
                if process.poll() is not None or time.monotonic() > until:
                    raise TimeoutError(f"Nothing answers at {address}.") from None
                time.sleep(0.1)
        yield address, time.monotonic() - began
    finally:
        process.terminate()
        process.wait(60)


def visit(browser: Any, address: str, ready: str, tabs: Sequence[str] = ()) -> dict[str, Any]:
    """One visit with nothing cached. ready: selectors that are all there when the first tab is whole."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, locale="en-US")
    page = context.new_page()
    page.set_default_timeout(120_000)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    began = time.monotonic()
    document = page.goto(address)
    page.wait_for_selector("#question textarea")
    found: dict[str, Any] = {"type_s": time.monotonic() - began}
    page.wait_for_selector(ready, state="attached")
    found |= {"whole_s": time.monotonic() - began, "bytes": len(document.body()), "requests": len(requests)}
    found["components"] = len(httpx.get(f"{address}config", timeout=60).json()["components"])
    for name in tabs:
        for when in ("first", "later"):
            began = time.monotonic()
            page.click(f"#tab-{name}-button")
            page.wait_for_selector(f"#notice-{name} {FILLED}", state="attached")
            page.wait_for_selector(f"#tab-{name}", state="visible")
            found[f"{name}_{when}_s"] = time.monotonic() - began
            page.click("#tab-chat-button")
            page.wait_for_selector("#question textarea", state="visible")
    context.close()
    return found


def stream(browser: Any, address: str, db: Path) -> dict[str, float]:
    """Share of the time in which the browser's main thread works while three columns are being answered, and tokens per second of
    one column."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, locale="en-US")
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(address)
    page.wait_for_selector(f"#notice-chat {FILLED}", state="attached")
    page.fill("#question textarea", "Tell me a long story about the sea.")
    page.press("#question textarea", "Enter")
    page.wait_for_function("[0, 1, 2].every(at => (document.querySelector(`#live-${at} .mt-a`)?.innerText ?? '').length > 20)")
    session = context.new_cdp_session(page)
    session.send("Performance.enable")

    def worked() -> tuple[float, float]:
        told = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        return told["TaskDuration"], told["Timestamp"]

    before = worked()
    page.wait_for_timeout(1000 * STREAMED_S)
    after = worked()
    page.wait_for_selector("#send", state="visible")
    context.close()
    timings = [(one["new_tokens"], one["timings"]) for one in answers.recent(db, 3)]
    rates = [tokens / timing["decode_s"] for tokens, timing in timings if timing.get("decode_s")]
    busy = (after[0] - before[0]) / (after[1] - before[1])
    return {"streaming_busy": busy, "column_tokens_per_s": statistics.median(rates) if rates else 0.0}


def imports(repeats: int) -> dict[str, float]:
    """Seconds that each of PACKAGES takes to come in after those before it, medians of processes of their own."""
    runs = []
    for _ in range(repeats):
        told = subprocess.run([sys.executable, "-c", IMPORTS], cwd=ROOT, check=True, capture_output=True, text=True)
        runs.append([float(word) for word in told.stdout.split()])
    return dict(zip(PACKAGES, map(statistics.median, zip(*runs, strict=True)), strict=True))


def measure(base: str, repeats: int) -> dict[str, Any]:
    """Medians over the repeats of both pages, which take turns, and ours over the plain one's."""
    from playwright.sync_api import sync_playwright

    ports = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        db = Path(folder) / "page.db"
        store.open(db).close()
        stored_runs.write_run(db, stored_runs.many(PROBES), VARIANTS)
        ours = [sys.executable, "chat_app.py", "--base", base, "--port", str(ports[0]), "--db", str(db)]
        plain = [sys.executable, "-c", PLAIN % ports[1]]
        starts: dict[str, list[float]] = {"ours": [], "plain": []}
        for _ in range(repeats):
            for who, command, port in (("plain", plain, ports[1]), ("ours", ours, ports[0])):
                with served(command, port) as (_, seconds):
                    starts[who].append(seconds)
        with served(plain, ports[1]) as (plain_address, _), served(ours, ports[0]) as (our_address, _):
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
            visits: dict[str, list] = {"ours": [], "plain": []}
            for _ in range(repeats):
                visits["plain"].append(visit(browser, plain_address, "#question textarea"))
                visits["ours"].append(visit(browser, our_address, f"#notice-chat {FILLED}", TABS))
            streamed = stream(browser, our_address, db)
            browser.close()
    found = {who: {key: statistics.median(one[key] for one in all_) for key in all_[0]} for who, all_ in visits.items()}
    for who, seconds_ in starts.items():
        found[who]["started_s"] = statistics.median(seconds_)
    found["ours"] |= streamed | {"imports_s": imports(repeats)}
    ratios = {
        key: found["ours"][key] / found["plain"][key]
        for key in ("started_s", "type_s", "whole_s", "bytes", "requests", "components")
    }
    return {"cpu": cpu(), "cores": os.cpu_count(), "repeats": repeats, "base": base, **found, "ratios": ratios}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.page", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="bayling-mini")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(arguments)
    found = measure(args.base, args.repeats)
    print(f"{found['cpu']}, {found['cores']} cores, median of {args.repeats}")
    for key, ratio in found["ratios"].items():
        print(f"{key:12} plain {found['plain'][key]:12.2f}   ours {found['ours'][key]:12.2f}   {ratio:5.2f} x")
    print("of the start, imports: " + ", ".join(f"{name} {took:.2f} s" for name, took in found["ours"]["imports_s"].items()))
    print(
        f"three columns of {found['ours']['column_tokens_per_s']:.1f} tokens/s each: the browser's main thread is busy for "
        f"{found['ours']['streaming_busy']:.0%} of the time"
    )
    for name in TABS:
        print(
            f"{name:12} first opening {found['ours'][f'{name}_first_s']:5.2f} s   later {found['ours'][f'{name}_later_s']:5.2f} s"
        )
    if args.json:
        write_json(args.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
