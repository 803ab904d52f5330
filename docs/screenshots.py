"""Makes the pictures in docs/images from the real page and the real model: python docs/screenshots.py [--base bayling-mini]

Needs requirements-dev.txt and a chromium. Identities are copied first and answers go to a database of their own, so
that nothing of a person's is touched.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from common import ending  # noqa: E402

IMAGES = ROOT / "docs" / "images"
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
TOKENS = 56


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--base", default="bayling-mini")
    options.add_argument("--only", help="make just this one, such as chat-en")
    options.add_argument("--out", type=Path, default=IMAGES)
    args = options.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        demo, address = open_app(args.base, Path(folder))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGS)
        for name, (locale, width, height, act) in PICTURES.items():
            if args.only in (None, name):
                take(browser, address, args.out / f"{name}.png", locale, width, height, act)
        browser.close()
        demo.close()
    return 0


def open_app(base: str, folder: Path):
    """(the Blocks, its address), started in a thread: Playwright keeps an event loop running in this one."""
    import threading

    import engine
    import identities
    from ui import adapter_library
    from ui.app import serve
    from ui.context import App
    from ui.words import Languages

    for file in (*identities.FOLDER.glob("*.txt"), *identities.FOLDER.glob("*.yaml")):
        shutil.copy(file, folder)
    app = App(engine.load(base), folder / "mirror.db", folder, (ROOT / "adapters", ROOT / "runs" / "adapters"), Languages())
    adapter_library.rescan(app)
    started: list = []
    starter = threading.Thread(target=lambda: started.append(serve(app, port=None, block=False)))
    starter.start()
    starter.join()
    return started[0]


def take(browser, address: str, file: Path, locale: str, width: int, height: int, act: Callable[[Page], None]) -> None:
    context = browser.new_context(viewport={"width": width, "height": height}, locale=locale)
    page = context.new_page()
    page.set_default_timeout(120_000)  # a busy machine
    page.goto(address)
    page.wait_for_selector("#head-0 .mt-head")
    act(page)
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(file, optimize=True)
    print(f"{file}: {file.stat().st_size // 1024} KB")
    context.close()


def ask(page: Page, *questions: str) -> None:
    for at in range(3):
        page.click(f"#pick-{at} .mt-more > .label-wrap")
        box = page.locator(f"#pick-{at} .mt-more input[type=number]").first
        box.fill(str(TOKENS))
        box.press("Tab")
        page.click(f"#pick-{at} .mt-more > .label-wrap")
    for question in questions:
        page.fill("#question textarea", question)
        page.press("#question textarea", "Enter")
        page.wait_for_function("asked => document.querySelector('#live-0 .mt-q')?.innerText === asked", arg=question)
        page.wait_for_selector("#send", state="visible", timeout=300_000)


def chat_in_english(page: Page) -> None:
    ask(page, "Who are you?", "Who developed you?")
    page.click("#live-1 .mt-fold-prompt summary")


def chat_in_chinese(page: Page) -> None:
    ask(page, "你是谁？", "你是谁开发的？")


def identity(page: Page) -> None:
    page.get_by_role("tab", name="Identity").click()
    page.click("#identity-list label:has(span:text-is('museum-guide'))")
    page.wait_for_selector("#identity-preview mark")
    page.locator("#try-tokens input[type=number]").fill("32")
    page.locator("#try-tokens input[type=number]").press("Tab")
    page.get_by_role("radio", name="English").click()
    page.click("#try")
    page.wait_for_selector("#try-stop", state="visible")
    page.wait_for_selector("#try", state="visible", timeout=300_000)


def probes(page: Page) -> None:
    page.click("#tab-probes-button")
    page.wait_for_timeout(1500)
    if not page.locator("#pb-start").is_visible():  # a picture before this one has left a run
        page.click("#pb-new-run")
    page.locator("#pb-margin input").check()
    page.locator("#pb-tokens input[type=number]").fill("48")
    page.locator("#pb-tokens input[type=number]").press("Tab")
    page.wait_for_timeout(1000)  # the form counts what it comes to
    before = page.evaluate("document.querySelector('#pb-runs')?.value")
    page.click("#pb-start")
    # the run before this one is shown, and done, until this one is
    done = "before => document.querySelector('#pb-runs')?.value !== before && document.querySelector('#pb-board .mt-state-done')"
    page.wait_for_function(done, arg=before, timeout=300_000)


PICTURES = {
    "chat-en": ("en-US", 1400, 900, chat_in_english),
    "chat-zh": ("zh-CN", 1400, 900, chat_in_chinese),
    "identity-en": ("en-US", 1400, 1250, identity),
    "probes-en": ("en-US", 1400, 1300, probes),
    "probes-zh": ("zh-CN", 1400, 1300, probes),
}

if __name__ == "__main__":
    ending.leave(main())
