"""What every test may rely on: no network, no telemetry, folders of its own, and a browser where there is one."""

from __future__ import annotations

import os

# Read once at import by the libraries concerned, so set before any of them is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: more threads would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.browser import CHROMIUM, MISSING

CHROMIUM_ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


# What takes minutes begins first: with files dealt out among workers, a long one at the end would leave the others idle.
LONG = ("browser/test_browser_finetune", "browser/test_browser_own_base", "browser/", "bench/",
        "tuning/test_training_identity", "ui/test_label_kills", "tuning/test_job_parts", "engine/test_sharing")  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((at for at, part in enumerate(LONG) if part in path), len(LONG))

    items.sort(key=place)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("browser") and not CHROMIUM:
        # .ci/run asks for the browser: there a skip would look like a pass.
        (pytest.fail if os.environ.get("MIRROR_REQUIRE_BROWSER") else pytest.skip)(MISSING)


def pytest_terminal_summary(terminalreporter) -> None:
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if MISSING in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(f"NOT TESTED: {len(skipped)} browser tests, for there is {MISSING}.", red=True, bold=True)


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator:
    """A test, or a thread that it started, that leaves another default dtype behind is found at once."""
    yield
    if "torch" in sys.modules:
        import torch

        left = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        assert left is torch.float32


@pytest.fixture(scope="session")
def engine():
    """The real small model, loaded once. Its adapters are shared by the session: a test removes what it adds."""
    import engine

    return engine.load("smollm2", say=lambda _line: None)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A headless Playwright browser. Per module: its event loop lives in this thread and must not outlast the page tests."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser) -> Iterator:
    """A fresh 1400 x 900 page in English; a failing script on it fails the test."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, locale="en-US")
    page = context.new_page()
    page.set_default_timeout(120_000)  # the machines that test are busy
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert not errors, f"the page's scripts failed: {errors}"


def make_user_dirs(root: Path) -> SimpleNamespace:
    """What a user's folder holds: identities/, adapters/, runs/adapters/, and where the database goes (not made yet)."""
    dirs = SimpleNamespace(
        root=root,
        identities=root / "identities",
        adapters=root / "adapters",
        run_adapters=root / "runs" / "adapters",
        db=root / "runs" / "mirror.db",
    )
    for folder in (dirs.identities, dirs.adapters, dirs.run_adapters):
        folder.mkdir(parents=True)
    return dirs


@pytest.fixture(scope="session")
def user_dirs(tmp_path_factory) -> SimpleNamespace:
    """One user's folder for the whole session: for what is too slow to start for every test, such as the app."""
    return make_user_dirs(tmp_path_factory.mktemp("user"))


@pytest.fixture
def db_path(tmp_path) -> Path:
    """Where this test's own database goes; neither it nor its folder exists yet."""
    return tmp_path / "runs" / "mirror.db"
