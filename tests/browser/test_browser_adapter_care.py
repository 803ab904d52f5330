"""The Adapters tab in a browser: an adapter is carried away, brought back, renamed, merged into a model and deleted."""

from __future__ import annotations

import pytest
from served import open_page, served, write_small_adapter

pytestmark = [pytest.mark.browser, pytest.mark.model]


@pytest.fixture(scope="module")
def site(engine, tmp_path_factory):
    with served(engine, tmp_path_factory.mktemp("care")) as site:
        yield site


def choose(page, name: str) -> None:
    page.locator("#adapter-chosen input").click()
    page.get_by_role("option", name=name).click()
    page.wait_for_selector(f"#adapter-card h2:text-is('{name}')")


def test_out_in_renamed_merged_and_deleted(site, page, tmp_path):
    write_small_adapter(site.adapters / "mira", site.app.engine)
    open_page(page, site.address)
    page.get_by_role("tab", name="Adapters").click()
    page.click("#adapter-rescan")
    page.wait_for_selector("#adapter-table tbody th:text-is('mira')")
    choose(page, "mira")
    page.wait_for_selector("#adapter-card:has-text('how this adapter was made is not recorded')")
    with page.expect_download() as downloading:
        page.click("#adapter-download")
    parcel = tmp_path / "mira.zip"
    downloading.value.save_as(parcel)
    page.set_input_files("#adapter-upload, input[type=file][accept*='zip']", parcel)
    page.wait_for_selector("#adapter-table tbody th:text-is('mira-2')")
    assert (site.adapters / "mira-2" / "adapter_model.safetensors").is_file() and "mira-2" in site.app.engine.adapters
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    page.set_input_files("input[type=file][accept*='zip']", tmp_path / "bad.zip")
    page.wait_for_selector(".toast-body:has-text('cannot be unpacked')")
    choose(page, "mira-2")
    page.click("#adapter-rename")
    page.fill("#adapter-text :is(input, textarea)", "otter")
    page.click("#adapter-confirm")
    page.wait_for_selector("#adapter-card h2:text-is('otter')")
    assert (site.adapters / "otter").is_dir() and not (site.adapters / "mira-2").exists()
    page.click("#adapter-export")
    model = tmp_path / "model"
    page.fill("#adapter-text :is(input, textarea)", str(model))
    page.uncheck("#adapter-asks input")
    page.click("#adapter-confirm")
    page.wait_for_selector("#adapter-exports li:has-text('model')")
    page.wait_for_selector("#adapter-exports .mt-state-done", timeout=600_000)
    assert (model / "config.json").is_file() and (model / "card.json").is_file()
    page.click("#adapter-delete")
    page.wait_for_selector("#adapter-dialog:has-text('Delete otter')")
    page.click("#adapter-cancel")
    page.wait_for_selector("#adapter-dialog", state="hidden")
    assert (site.adapters / "otter").is_dir()
    page.click("#adapter-delete")
    page.click("#adapter-confirm")
    page.wait_for_selector("#adapter-table tbody th:text-is('otter')", state="detached")
    assert not (site.adapters / "otter").exists() and "otter" not in site.app.engine.adapters
