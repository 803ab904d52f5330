"""The real page on a port of its own, for tests that drive it as people and scripts do."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch
from safetensors.torch import save_file

import chat_app
import identities
from probes.second_opinion import Judge
from ui.app import serve
from ui.context import App
from ui.tabs.chat import picker
from ui.words import Languages

SHORT = 32  # tokens; the machines that test have few cores


@contextmanager
def served(
    engine,
    root: Path,
    lang: str | None = None,
    judge: Judge | None = None,
    root_path: str | None = None,
    accounts=None,
    tokens: int | None = None,
    **more,
) -> Iterator[SimpleNamespace]:
    """`.address`, `.app` and `.db` of a page over `engine` whose files lie under `root`. tokens: how long answers may become."""
    folder = root / "identities"
    folder.mkdir(parents=True)
    for file in (*identities.FOLDER.glob("*.txt"), *identities.FOLDER.glob("*.yaml")):
        shutil.copy(file, folder)
    app = App(engine, root / "mirror.db", folder, (root / "adapters",), Languages(lang), judge=judge, accounts=accounts)
    picks = picker.first_picks

    def first_picks(*given):
        return [replace(one, max_new_tokens=tokens or one.max_new_tokens) for one in picks(*given)]

    with (
        patch.object(picker, "first_picks", first_picks),
        serving(app, root_path, **more) as page,
    ):
        yield page


def opened(*flags: str) -> App:
    """What `chat_app.py FLAGS` opens, with nothing printed."""
    return chat_app.open_app(chat_app.flags().parse_args(list(flags)), say=lambda _line: None)


@contextmanager
def serving(app: App, root_path: str | None = None, **more) -> Iterator[SimpleNamespace]:
    """`.address`, `.demo`, `.app`, `.db` and `.adapters` of a page over `app`."""
    started: list = []
    # Not in this thread: Playwright keeps an event loop running in it, and Gradio starts one of its own.
    quiet = {"port": None, "block": False, "say": lambda _address: None, "root_path": root_path} | more
    starter = threading.Thread(target=lambda: started.append(serve(app, **quiet)))
    starter.start()
    starter.join()
    demo, address = started[0]
    try:
        yield SimpleNamespace(address=address, demo=demo, app=app, db=app.db, adapters=app.made_adapters)
    finally:
        app.closed.set()
        demo.close()
        for name in list(app.engine.adapters):
            app.engine.remove_adapter(name)


def write_small_adapter(folder: Path, engine, seed: int = 1, scale: float = 0.6, layers: int = 4) -> Path:
    """A PEFT folder for the engine's own base: random weights in a few layers, enough to change every word."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for at in range(layers):
        shape = engine.base.model.get_submodule(f"model.layers.{at}.self_attn.q_proj").weight.shape
        name = f"base_model.model.model.layers.{at}.self_attn.q_proj"
        tensors[f"{name}.lora_A.weight"] = torch.randn(4, shape[1], generator=generator) / shape[1] ** 0.5
        tensors[f"{name}.lora_B.weight"] = torch.randn(shape[0], 4, generator=generator) * scale
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": ""}))
    return folder


def open_page(page, address: str) -> None:
    """Loads the page and waits until it has been filled."""
    page.set_default_timeout(90_000)  # a test machine may be busy with more than this page
    page.goto(address)
    page.wait_for_selector("#head-0 .mt-head")
    # a tab that has not been opened yet is not in the page
    page.wait_for_selector("#notice-chat :is(.mt-filled, .mt-failed)", state="attached")


def shorten(page, columns: int = 3, tokens: int = SHORT) -> None:
    """Sets the longest answer in every column, as a person would: in its fold, in the number box."""
    boxes = [page.locator(f"#pick-{at} .mt-more input[type=number]").first for at in range(columns)]
    for at, box in enumerate(boxes):
        page.click(f"#pick-{at} .mt-more > .label-wrap")
        box.fill(str(tokens))
        box.press("Tab")
    # what still arrives for a page that was just opened would put the numbers back
    for _ in range(50):
        lost = [box for box in boxes if box.input_value() != str(tokens)]
        if not lost:
            break
        for box in lost:
            box.fill(str(tokens))
            box.press("Tab")
        page.wait_for_timeout(200)
    else:
        raise AssertionError(f"{tokens} tokens do not stay in {len(lost)} columns")
    for at in range(columns):
        page.click(f"#pick-{at} .mt-more > .label-wrap")


def ask(page, question: str) -> None:
    """Types a question, sends it and waits until the columns show it."""
    page.fill("#question textarea", question)
    page.press("#question textarea", "Enter")
    # all of them: the columns' news do not arrive in one piece
    page.wait_for_function(
        """asked => {
            const shown = [...document.querySelectorAll("[id^='live-'] .mt-q")].filter(one => one.offsetParent);
            return shown.length && shown.every(one => one.innerText.trim() === asked.trim());
        }""",
        arg=question,
    )


def wait_for_answers(page, columns: int = 3) -> list[str]:
    """Waits until every column has finished its newest turn; the answers' texts."""
    page.wait_for_selector("#send", state="visible")
    page.wait_for_function(
        "n => [...Array(n).keys()].every(at => document.querySelector(`#live-${at} .mt-a, #live-${at} .mt-failed`)"
        " && !document.querySelector(`#live-${at} .mt-live`))",
        arg=columns,
    )
    return [page.inner_text(f"#live-{at} .mt-turn") for at in range(columns)]


def choose(page, where: str, label: str, option: str) -> None:
    """Picks `option` in the dropdown called `label` inside `where`."""
    page.locator(f"{where} .block", has=page.get_by_text(label, exact=True)).locator("input").first.click()
    page.get_by_role("option", name=option, exact=True).click()
