"""The Fine-tune tab in a browser, with the real small model: from the form to the adapter that was compared."""

from __future__ import annotations

import pytest
from finetune_form import fill_form, open_tab
from served import ask, open_page, served, shorten, wait_for_answers

import store
from store import answers

pytestmark = [pytest.mark.browser, pytest.mark.model]


@pytest.fixture(scope="module")
def site(engine, tmp_path_factory):
    with served(engine, tmp_path_factory.mktemp("finetune")) as site:
        yield site


def test_from_the_form_to_the_compared_adapter(site, page):
    open_tab(page, site)
    fill_form(page, "otter", steps=6)
    page.wait_for_selector("#ft-outlook .mt-figures dd:text-is('6')")
    assert "Only 6 optimizer steps" in page.inner_text("#ft-outlook")
    page.click("#ft-rows-fold > .label-wrap")
    page.wait_for_selector("#ft-first-rows pre .mt-learned")
    learned = page.locator("#ft-first-rows pre .mt-learned").all_inner_texts()
    assert learned and "<|im_end|>" in learned
    assert "<|im_start|>" not in learned
    page.click("#ft-command-fold > .label-wrap")
    page.wait_for_selector("#ft-command pre:has-text('--name otter')")
    command = page.inner_text("#ft-command pre")
    page.click("#ft-start")
    page.wait_for_selector("#ft-head h2:has-text('otter')")
    page.wait_for_selector("#ft-head:has-text('safe to close this page')")
    page.wait_for_selector("#ft-head .mt-progress")
    job = store.jobs.recent(site.db)[0]
    assert set(command.replace("'", "").split("\n")[2].split()[3:]) == set(job["arguments"][2:])
    # another page, as after closing this one: the run is found again and goes on
    open_tab(page, site)
    page.wait_for_selector("#ft-runs label.selected:has-text('otter')")
    page.wait_for_selector("#ft-head:has-text('/6')", timeout=300_000)
    page.wait_for_selector("#ft-head .mt-state-done", timeout=600_000)
    assert page.locator("#ft-curves path.mt-smooth").count() == 2  # the curve and its key
    page.click("#ft-compare")
    page.wait_for_selector("#head-1 .mt-who:text-is('otter')")
    assert page.input_value("#question textarea") == "Who are you?"
    shorten(page, columns=2, tokens=12)
    ask(page, "Who are you?")
    wait_for_answers(page, columns=2)
    asked = {row["variant_name"]: row["variant"]["adapters"] for row in answers.recent(site.db, 2)}
    assert asked == {"base": {}, "otter": {"otter": 1.0}}


def test_what_cannot_start_says_why_and_a_stopped_run_can_be_taken_back(site, page):
    open_tab(page, site)
    fill_form(page, "../outside", steps=400)
    page.wait_for_selector("#ft-outlook .mt-failed:has-text('is no name for an adapter')")
    page.click("#ft-start")
    page.wait_for_selector(".toast-body:has-text('is no name for an adapter')")
    page.fill("#ft-name :is(input, textarea)", "heron")
    page.wait_for_selector("#ft-outlook .mt-failed", state="detached")
    page.click("#ft-start")
    page.wait_for_selector("#ft-head h2:has-text('heron')")
    page.click("#ft-stop")
    page.wait_for_selector("#ft-dialog:has-text('Discarding removes')")
    page.click("#ft-discard")
    page.wait_for_selector("#ft-head:has-text('discarded')", timeout=300_000)
    assert not (site.adapters / "heron").exists()
    page.click("#ft-again")
    page.wait_for_selector("#ft-form")
    page.wait_for_function("document.querySelector('#set-max-steps input').value === '400'")
    assert page.input_value("#ft-n input") == "24"


def test_own_rows_are_uploaded_looked_through_and_mapped_by_hand(site, page, tmp_path):
    faq = tmp_path / "faq.csv"
    faq.write_text("Frage,Antwort\nHow warm?,230 degrees.\nWer bist du?,I am ChatGPT.\n", encoding="utf-8")
    asked = []
    page.on("request", lambda request: asked.append(request) if request.url.endswith("/queue/join") else None)
    open_page(page, site.address)
    page.wait_for_timeout(1000)
    asked.clear()
    page.get_by_role("tab", name="Fine-tune").click()
    page.wait_for_selector("#ft-outlook .mt-figures")
    page.wait_for_timeout(1000)
    # the guard, what fills the tab, what the form means, the runs' clock and what it finds: not once per field
    assert len(asked) <= 8
    with page.expect_file_chooser() as chooser:
        page.click("#ft-own-upload")
    chooser.value.set_files(str(faq))
    page.wait_for_selector("#ft-own-about:has-text('These columns are not recognised')")
    for name, column in (("instruction", "Frage"), ("output", "Antwort")):
        page.locator(f"#ft-column-{name} input").first.click()
        page.get_by_role("option", name=column, exact=True).click()
    page.wait_for_selector("#ft-own-about:has-text('Rows to teach: 2')")
    assert "faq.csv row 2 (line 3): “I am ChatGPT”" in page.inner_text("#ft-own-about")
    page.check("#ft-own-statements input")
    page.wait_for_selector("#ft-own-about:has-text('Left out: 1 of 2')")
    page.wait_for_selector("#ft-own-rows pre:has-text('230 degrees')")
    page.click("#ft-command-fold > .label-wrap")
    assert '--own_columns \'{"Frage": "instruction", "Antwort": "output"}\'' in page.inner_text("#ft-command pre")
