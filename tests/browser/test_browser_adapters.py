"""The Adapters tab in a browser: found, refused, added by path, picked in Chat, taken out."""

from __future__ import annotations

import pytest
from served import ask, choose, open_page, served, wait_for_answers, write_small_adapter

from store import answers

pytestmark = [pytest.mark.browser, pytest.mark.model]


@pytest.fixture(scope="module")
def site(engine, tmp_path_factory):
    with served(engine, tmp_path_factory.mktemp("adapters"), tokens=12) as site:
        yield site


def test_an_adapter_goes_from_the_folder_into_an_answer_and_out_again(site, page, tmp_path):
    open_page(page, site.address)
    page.get_by_role("tab", name="Adapters").click()
    page.wait_for_selector("#adapter-table:has-text('No adapters are loaded')")
    write_small_adapter(site.adapters / "found", site.app.engine)
    broken = site.adapters / "broken"
    broken.mkdir()
    (broken / "adapter_config.json").write_text("{")
    page.click("#adapter-rescan")
    page.wait_for_selector("#adapter-table tbody th:text-is('found')")
    refused = page.inner_text(".mt-refused")
    assert "broken" in refused and "Traceback" not in refused
    added = write_small_adapter(tmp_path / "elsewhere", site.app.engine, seed=2)
    page.fill("#adapter-path input, #adapter-path textarea", str(added))
    page.click("#adapter-add")
    page.wait_for_selector("#adapter-table tbody th:text-is('elsewhere')")
    page.get_by_role("tab", name="Chat").click()
    choose(page, "#pick-0", "Adapter", "elsewhere")
    page.wait_for_selector("#pick-0 .mt-dial")
    page.locator("#pick-0 .mt-dial input[type=number]").fill("0.5")
    page.locator("#pick-0 .mt-dial input[type=number]").press("Tab")
    page.wait_for_selector("#head-0 .mt-who:has-text('elsewhere × 0.5')")
    ask(page, "Who are you?")
    wait_for_answers(page)
    asked = {row["variant_name"]: row for row in answers.recent(site.db, 3)}
    assert asked["elsewhere 0.5"]["variant"]["adapters"] == {"elsewhere": 0.5}
    page.get_by_role("tab", name="Adapters").click()
    page.locator("#adapter-chosen input").click()
    page.get_by_role("option", name="elsewhere").click()
    page.click("#adapter-remove")
    page.wait_for_selector("#adapter-table tbody th:text-is('elsewhere')", state="detached")
    page.get_by_role("tab", name="Chat").click()
    page.wait_for_selector("#head-0 .mt-note-warn:has-text('elsewhere'), #head-0 .mt-note-next")
