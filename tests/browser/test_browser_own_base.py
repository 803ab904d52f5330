"""A folder as base in a browser: from the form to the compared adapter, and on to the merged folder, which is then asked."""

from __future__ import annotations

import pytest
from finetune_form import fill_form, open_tab, set_number
from served import ask, open_page, opened, serving, shorten, wait_for_answers
from tiny import write_bayling_like

import store

pytestmark = pytest.mark.browser


@pytest.fixture
def root(tmp_path, monkeypatch):
    write_bayling_like(tmp_path / "我的 模型" / "百聆 BayLing-7B")
    (tmp_path / "adapters").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def app_of(base: str):
    return opened("--base", base, "--db", "runs/mirror.db", "--adapters-dir", "adapters")


def answers_of(page, columns: int) -> list[str]:
    shorten(page, columns, tokens=8)
    ask(page, "Who are you?")
    return wait_for_answers(page, columns)


def test_from_the_form_to_the_merged_folder_asked(root, page):
    with serving(app_of("我的 模型/百聆 BayLing-7B/")) as site:
        open_tab(page, site)
        assert "百聆 BayLing-7B" in page.inner_text("#header .mt-base") and str(root) not in page.inner_text("#header")
        fill_form(page, "otter", steps=4)
        set_number(page, "#set-learning-rate", "0.03")
        page.wait_for_selector("#ft-outlook .mt-figures dd:text-is('4')")
        page.wait_for_selector("#ft-outlook .mt-small div:has(dt:text-is('Memory')):has-text('GiB')")
        page.click("#ft-command-fold > .label-wrap")
        page.wait_for_selector(f"#ft-command pre:has-text('{root}/我的 模型/百聆 BayLing-7B')")
        page.click("#ft-start")
        page.wait_for_selector("#ft-head h2:has-text('otter')")
        page.wait_for_selector("#ft-head .mt-state-done", timeout=600_000)
        # where the folder lies is in the command line; the facts name it as people do
        assert "\n百聆 BayLing-7B" in page.inner_text("#ft-numbers") and str(root) not in page.inner_text("#ft-numbers")
        page.click("#ft-compare")
        page.wait_for_selector("#head-1 .mt-who:text-is('otter')")
        base, tuned = answers_of(page, 2)
        assert base != tuned
        page.get_by_role("tab", name="Adapters").click()
        page.locator("#adapter-chosen input").click()
        page.get_by_role("option", name="otter").click()
        page.wait_for_selector("#adapter-card h2:text-is('otter')")
        page.click("#adapter-export")
        page.fill("#adapter-text :is(input, textarea)", str(root / "merged model"))
        page.click("#adapter-confirm")
        page.wait_for_selector("#adapter-exports .mt-state-done", timeout=600_000)
        page.wait_for_selector("#adapter-exports li:has-text('of 16 answers are the same')")
    raw = {row["variant_name"]: row["raw"] for row in store.answers.recent(root / "runs" / "mirror.db", 2)}
    with serving(app_of("merged model")) as site:
        open_page(page, site.address)
        assert "merged model" in page.inner_text("#header .mt-base")
        answers_of(page, 3)
        [first] = [row for row in store.answers.recent(site.db, 3) if row["variant_name"] == "base"]
        assert first["raw"] == raw["otter"] != raw["base"]
