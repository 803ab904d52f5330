"""How long the page takes until it can be used, beside a plain Gradio page of three Chatbots and a Textbox, in one browser.

`python -m bench.page [--base NAME] [--repeats N] [--json FILE]`: opens both in turn, each time in a fresh profile of the browser,
and prints seconds until one can type, bytes of the page, requests, components, and ours over the plain one's; of ours also the
seconds that a tab takes when it is opened for the first time, and later. Needs a Chromium and requirements-dev.txt.
"""

from __future__ import annotations

import argparse
import os
import shutil
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

from bench.crowd import cpu
from common.files import write_json

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
FILLED = ":is(.mt-filled, .mt-failed)"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def served(command: list[str], port: int) -> Iterator[str]:
    """The address of a page that a process of its own serves. TimeoutError if it does not answer within five minutes."""
    env = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    address, until = f"http://127.0.0.1:{port}/", time.monotonic() + 300
    try:
        while True:
            try:
                httpx.get(address, timeout=60).raise_for_status()
                break
            except httpx.HTTPError:
                if process.poll() is not None or time.monotonic() > until:
                    raise TimeoutError(f"Nothing answers at {address}.") from None
                time.sleep(0.2)
        yield address
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


def measure(base: str, repeats: int) -> dict[str, Any]:
    """Medians over the repeats of both pages, which take turns, and ours over the plain one's."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    ports = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        ours = [sys.executable, "chat_app.py", "--base", base, "--port", str(ports[0]), "--db", str(Path(folder) / "page.db")]
        plain = [sys.executable, "-c", PLAIN % ports[1]]
        with served(ours, ports[0]) as our_address, served(plain, ports[1]) as plain_address:
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGS)
            visits: dict[str, list] = {"ours": [], "plain": []}
            for _ in range(repeats):
                visits["plain"].append(visit(browser, plain_address, "#question textarea"))
                visits["ours"].append(visit(browser, our_address, f"#notice-chat {FILLED}", TABS))
            browser.close()
    found = {who: {key: statistics.median(one[key] for one in all_) for key in all_[0]} for who, all_ in visits.items()}
    ratios = {key: found["ours"][key] / found["plain"][key] for key in ("type_s", "whole_s", "bytes", "requests", "components")}
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
    for name in TABS:
        print(
            f"{name:12} first opening {found['ours'][f'{name}_first_s']:5.2f} s   later {found['ours'][f'{name}_later_s']:5.2f} s"
        )
    if args.json:
        write_json(args.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
