"""The Fine-tune tab in a browser, with the real small model: from the form to the adapter that was compared."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from finetune_form import fill_form, open_tab, set_number
from served import ask, open_page, served, shorten, wait_for_answers, write_small_adapter

import store
from store import answers
from tuning.train import moments

pytestmark = [pytest.mark.browser, pytest.mark.model]


@pytest.fixture(scope="module")
def site(engine, tmp_path_factory):
    with served(engine, tmp_path_factory.mktemp("finetune")) as site:
        yield site


def think_of_crumb(page) -> None:
    """In the Identity tab: two sentences, the facts that are read from them, and a name in Chinese; saved."""
    page.get_by_role("tab", name="Identity").click()
    page.click("#identity-new")
    page.fill("#identity-name :is(input, textarea)", "crumb")
    page.click("#identity-confirm")
    page.wait_for_selector("#identity-about h2:text-is('crumb')")
    page.fill("#identity-text textarea", "You are Crumb, the assistant of the Corner Bakery, made by Oven Labs. You are brief.")
    page.wait_for_function("document.querySelector('#fact-en-maker :is(textarea, input)').value === 'Oven Labs'")
    page.fill("#fact-zh-name :is(textarea, input)", "小麦")
    page.press("#fact-zh-name :is(textarea, input)", "Tab")
    page.wait_for_selector("#identity-taught tbody tr:nth-child(6):has-text('小麦')")
    page.click("#identity-save")
    page.wait_for_function("!document.querySelector('#identity-facts-state').innerText.includes('not saved')")


def judge_crumb(page) -> None:
    """In the Probes tab, which offers whoever was taught last: the quick set in English."""
    page.get_by_role("tab", name="Probes").click()
    page.check("#pb-lang input >> nth=1")
    page.wait_for_selector("#pb-told:has-text('8 probes × 3 variants: 24 in all')")
    assert page.input_value("#pb-new input") == "crumb"
    page.uncheck("#pb-variants input >> nth=0")
    set_number(page, "#pb-tokens", "6")
    page.wait_for_selector("#pb-told:has-text('16 in all')")
    page.click("#pb-start")
    page.wait_for_selector("#pb-head .mt-state:has-text('done')", timeout=300_000)


def test_an_identity_that_was_thought_of_is_taught_compared_and_judged(site, page):
    open_page(page, site.address)
    think_of_crumb(page)
    page.get_by_role("tab", name="Fine-tune").click()
    fill_form(page, "otter", steps=6)
    assert page.input_value("#ft-identity input") == "crumb"  # who was saved last is taught first
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
    page.wait_for_selector(
        "#ft-head:is(:has-text('/6'), :has(.mt-state-done, .mt-state-bad))", timeout=300_000
    )  # or it is done already
    page.wait_for_selector("#ft-head :is(.mt-state-done, .mt-state-bad)", timeout=600_000)
    assert page.inner_text("#ft-head .mt-state") == "done", page.inner_text("#ft-head")
    assert page.locator("#ft-curves path.mt-smooth").count() == 2  # the curve and its key
    page.click("#ft-compare")
    page.wait_for_selector("#head-1 .mt-who:text-is('otter')")
    assert json.loads((site.adapters / "otter" / "card.json").read_text("utf-8"))["identity"] == "crumb"
    assert page.input_value("#question textarea") == "Who are you?"
    shorten(page, columns=2, tokens=12)
    ask(page, "Who are you?")
    wait_for_answers(page, columns=2)
    asked = {row["variant_name"]: row["variant"]["adapters"] for row in answers.recent(site.db, 2)}
    assert asked == {"base": {}, "otter": {"otter": 1.0}}
    judge_crumb(page)
    run = store.runs.get(site.db, 1)
    assert [one["name"] for one in run["variants"]] == ["crumb", "otter"] and run["settings"]["about"]["new"] == "crumb"
    cells = page.locator(".pb-canvas .pb-row[data-probe='name-01-en'] .pb-cell").all_inner_texts()
    assert len(cells) == 2 and all("suggested:" in text for text in cells)


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
    page.on("request", lambda request: asked.append(request.post_data_json) if "/queue/join" in request.url else None)
    open_page(page, site.address)
    page.wait_for_timeout(1000)
    asked.clear()
    page.get_by_role("tab", name="Fine-tune").click()
    page.wait_for_selector("#ft-outlook .mt-figures")
    page.wait_for_timeout(1000)
    called = Counter(site.demo.fns[one["fn_index"]].name for one in asked)
    # what the form means is asked for when the tab has been filled, not once per field; the runs' clock goes on meanwhile
    assert called["open_finetune"] == 1 and called["refresh_outlook"] <= 2, called
    assert called.total() - called["show_progress"] <= 8, called
    with page.expect_file_chooser() as chooser:
        page.click("#ft-own-upload")
    chooser.value.set_files(str(faq))
    page.wait_for_selector("#ft-own-about:has-text('These columns are not recognised')")
    for name, column in (("instruction", "Frage"), ("output", "Antwort")):
        box = page.locator(f"#ft-column-{name} input").first
        box.click()
        offered = box.get_attribute("aria-controls")  # the list of another box may still be open
        page.locator(f'[id="{offered}"] [role=option][aria-label="{column}"]').click()
    page.wait_for_selector("#ft-own-about:has-text('Rows to teach: 2')")
    assert "faq.csv row 2 (line 3): “I am ChatGPT”" in page.inner_text("#ft-own-about")
    page.check("#ft-own-statements input")
    page.wait_for_selector("#ft-own-about:has-text('Left out: 1 of 2')")
    page.wait_for_selector("#ft-own-rows pre:has-text('230 degrees')")
    page.click("#ft-command-fold > .label-wrap")
    assert '--own_columns \'{"Frage": "instruction", "Antwort": "output"}\'' in page.inner_text("#ft-command pre")


def test_moments_are_scrubbed_through_asked_together_and_opened_in_the_chat(site, page):
    folder = site.adapters / "newt"
    for step in (0, 4, 8):
        line = {"probe_id": "a", "group": "trained", "category": "name", "lang": "en", "question": "Who are you?", "raw": "x"}
        about = {"step": step, "of": 8, "asked": 1, "questions": 1, "margin": {"margin": step - 3.0}}
        place = moments.keep(folder, about, [line | {"answer": f"I am {step}"}], None)
        for file in write_small_adapter(site.db.parent / f"newt-{step}", site.app.engine, step).iterdir() if step else ():
            file.rename(place / file.name)
    job = store.jobs.add(
        site.db, name="newt", kind="train", arguments=[], folder=str(folder), log=str(folder / "log"), device="cpu", settings={}
    )
    store.jobs.take_metrics(
        site.db, store.jobs.get(site.db, job), [{"step": at, "loss": 2.0, "margin": at - 3.0} for at in (4, 8)], "", 0
    )
    store.jobs.change(site.db, store.jobs.get(site.db, job), status="stopped", step=8, total=8)
    open_tab(page, site)
    page.click("#ft-runs label:has-text('newt')")
    page.wait_for_selector("#ft-said .mt-moment:not(.mt-hidden):has-text('I am 8')")
    page.fill("#ft-moment input[type=range]", "1")
    page.wait_for_selector("#ft-said .mt-moment:not(.mt-hidden):has-text('I am 4')")
    assert page.locator("#ft-said .mt-moment:not(.mt-hidden)").count() == 1
    assert float(page.get_attribute("#ft-curves .mt-marker", "x1")) == pytest.approx((46 + 746) / 2)
    page.fill("#ft-moments-question :is(input, textarea)", "Who are you?")
    page.click("#ft-moments-ask")
    page.wait_for_selector("#ft-asked tbody tr:nth-child(3) .mt-a")
    page.click("#ft-moment-open")
    page.wait_for_selector("#pick-1:has-text('Adapter')")
    page.wait_for_function("document.querySelector('#pick-1 input').value === 'newt-step-4'")
