"""The Experiment tab in a browser, over a tiny base: from a plan to an adapter in the chat."""

from __future__ import annotations

import pytest
from served import open_page, served
from tiny_base import write_tiny_base

pytestmark = [pytest.mark.browser]

PLAN = """\
name: tiny steps
base: {base}
format: bayling
device: cpu
threads: 1
identity: finance-advisor
langs: [en]
doses: [2]
arms: [{{steps: 2}}]
recipes:
  - preset: quick
    settings: {{batch_size: 2, lora_r: 2, lora_target_modules: [q_proj], learning_rate: 0.01}}
prompts: [finance-advisor, {{identity: finance-advisor, mode: first_turn}}]
probes: {{sets: [quick], limit: 1, max_new_tokens: 4, margin: false}}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    import engine

    root = tmp_path_factory.mktemp("experiment")
    base = write_tiny_base(root / "tiny", max_position_embeddings=2048)
    loaded = engine.load(str(base), format="bayling", device="cpu", dtype="fp32", say=lambda _line: None)
    with served(loaded, root, tokens=4) as site:
        site.plan = root / "plan.yaml"
        site.plan.write_text(PLAN.format(base=base), encoding="utf-8")
        yield site


def open_tab(page, site) -> None:
    open_page(page, site.address)
    page.get_by_role("tab", name="Experiment").click()
    page.wait_for_selector("#notice-experiment :is(.mt-filled, .mt-failed)", state="attached")


def test_a_plan_of_four_cells_is_run_and_one_of_them_asked(site, page):
    open_tab(page, site)
    page.wait_for_selector("#xp-outlook .xp-cells")
    with page.expect_file_chooser() as chooser:
        page.click("#xp-upload")
    chooser.value.set_files(site.plan)
    page.wait_for_selector("#xp-outlook tbody tr:has-text('diverse 2')")
    page.fill("#xp-dose input", "4")
    page.click("#xp-add-dose")
    page.wait_for_selector("#xp-outlook tbody tr:has-text('diverse 4')")
    page.click("#xp-outlook [data-xp-edit='drop/diverse 2']")
    page.wait_for_selector("#xp-outlook tbody .xp-dropped:has-text('diverse 2')")
    assert page.locator("#xp-outlook tbody tr:not(.xp-dropped)").count() == 4
    page.wait_for_selector("#xp-outlook .xp-totals div:nth-child(2) dd:not(:text-is('…'))")
    page.click("#xp-start")
    page.wait_for_selector("#xp-head h2:has-text('tiny-steps')")
    # another page, as after closing this one: the experiment is found again and goes on
    open_tab(page, site)
    page.wait_for_selector("#xp-runs label.selected:has-text('tiny-steps')")
    page.wait_for_selector("#xp-head .mt-state:is(:has-text('done'), .mt-state-bad)", timeout=300_000)
    assert page.inner_text("#xp-head .mt-state") == "done", page.inner_text("#xp-page")
    page.wait_for_selector("#xp-curves figure svg")
    assert page.locator("#xp-cells .mt-state-done").count() == 4
    page.click("#xp-cells [data-xp-cell='diverse 4']")
    page.wait_for_selector("#xp-panel h3:has-text('diverse 4')")
    page.click("#xp-chat")
    page.wait_for_selector("#head-1 .mt-who:has-text('finance-advisor-diverse4')")
    assert page.input_value("#question textarea") == "Who are you?"
