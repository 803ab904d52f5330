"""The Probes tab in a browser: a run on the real small model from its start to its exports, and many answers at once."""

from __future__ import annotations

import csv
import json
import re

import pytest
from probe_runs import many, probe, write_run
from served import open_page, served, write_small_adapter

import store
from probes.second_opinion import judge_of

pytestmark = [pytest.mark.browser, pytest.mark.model]
TOKENS = "8"  # the machines that test have few cores
NASTY = "<img src=x onerror=\"document.title='broken in'\"><b>bold</b>"


@pytest.fixture(scope="module")
def site(engine, tmp_path_factory):
    root = tmp_path_factory.mktemp("probes")
    write_small_adapter(root / "adapters" / "stranger", engine)
    with served(engine, root, judge=judge_of("base", "", engine)) as site:
        site.app.engine.add_adapter(site.adapters / "stranger")
        yield site


def open_probes(page, address: str, run: int | None = None) -> None:
    open_page(page, address)
    page.get_by_role("tab", name="Probes").click()
    page.wait_for_selector("#pb-runs")
    if run is not None:
        page.wait_for_selector("#pb-grid")
        if page.input_value("#pb-runs") != str(run):
            page.select_option("#pb-runs", str(run))
        page.wait_for_selector(f"#pb-head h2:has-text('Run {run} ')")
        page.wait_for_selector("#pb-grid .pb-cell .pb-text")


def number(page, box: str, value: str) -> None:
    page.fill(f"{box} input", value)
    page.press(f"{box} input", "Tab")


def shown(page) -> list[str]:
    return page.eval_on_selector_all(".pb-canvas .pb-row[data-probe]", "rows => rows.map(row => row.dataset.probe)")


def test_quick_on_base_prompt_and_adapter_filtered_enlarged_and_exported(site, page):
    open_probes(page, site.address)
    page.wait_for_selector("#pb-form:not(.mt-hidden)")
    assert page.is_checked("#pb-sets input >> nth=2") and not page.is_checked("#pb-sets input >> nth=0")
    page.check("#pb-lang input >> nth=1")
    number(page, "#pb-tokens", TOKENS)
    page.check("#pb-margin input")
    page.wait_for_selector("#pb-told:has-text('8 probes × 3 variants: 24 in all')")
    page.click("#pb-start")
    page.wait_for_selector("#pb-head .mt-state:has-text('running')")
    # the page is closed and opened again: the run has gone on
    page.reload()
    page.get_by_role("tab", name="Probes").click()
    page.wait_for_selector("#pb-head .mt-state:has-text('done')", timeout=600_000)
    assert page.inner_text("#pb-head .pb-facts strong") == "24/24"
    heads = page.eval_on_selector_all(".pb-th[data-variant]", "heads => heads.map(head => head.dataset.variant)")
    assert heads == ["base", "finance-advisor", "stranger"]
    rows = page.locator(".pb-canvas .pb-row[data-probe='name-01-en'] .pb-cell")
    assert rows.count() == 3 and all("suggested:" in text for text in rows.all_inner_texts())
    assert page.locator(".pb-margin").count() > 0
    assert "From suggestions, not from labels" in page.inner_text("#pb-summary")

    page.fill("#pb-search", "who made you")
    assert shown(page) == ["maker-01-en"]
    page.fill("#pb-search", "")
    page.select_option("#pb-group", "retention")
    assert len(shown(page)) == 1 and page.inner_text("#pb-count").startswith("1 of 8 probes")
    page.select_option("#pb-group", "")

    answers = {row["variant_name"]: row for row in store.answers.recent(site.db, 100) if row["question"] == "Who are you?"}
    page.locator(".pb-row[data-probe='name-01-en'] .pb-cell").first.click()
    page.wait_for_selector("#pb-raw")
    assert page.inner_text("#pb-dialog-title") == "base"
    assert page.text_content("#pb-raw") == answers["base"]["raw"]
    page.click("#pb-dialog summary:has-text('Exact prompt')")
    assert page.text_content("#pb-prompt") == answers["base"]["prompt"]
    page.click("#pb-ask-judge")  # the base itself
    page.wait_for_selector("#pb-opinions ol .pb-line:has-text('judge:')")
    [said] = store.opinions.of_answer(site.db, answers["base"]["id"])
    assert [said["prompt"], said["reply"] or "(an empty answer)"] == page.locator("#pb-opinions pre").all_text_contents()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("raw => document.querySelector('#pb-raw')?.textContent === raw", arg=answers["finance-advisor"]["raw"])
    page.keyboard.press("Escape")
    assert page.locator("#pb-dialog[open]").count() == 0
    page.wait_for_function("document.activeElement.dataset.name === 'finance-advisor'")

    page.fill("#pb-search", "name-01-en")
    kept = {}
    for kind in ("csv", "jsonl", "md"):
        with page.expect_download() as coming:
            page.click(f"#pb-export-{kind}")
        assert coming.value.suggested_filename.endswith(f".{kind}")
        kept[kind] = coming.value.path().read_text("utf-8-sig")
    table = list(csv.DictReader(kept["csv"].splitlines(True)))
    assert {row["variant"] for row in table} == set(heads) and {row["probe_id"] for row in table} == {"name-01-en"}
    lines = [json.loads(line) for line in kept["jsonl"].splitlines()]
    assert {line["raw"] for line in lines} == {answers[name]["raw"] for name in heads}
    assert "| name-01-en | Who are you? |" in kept["md"]


def test_what_is_shown_is_sent_to_labelling(site, page):
    run = write_run(site.db, many(20), 2)
    open_probes(page, site.address, run)
    page.select_option("#pb-language", "zh")
    page.click(".pb-th[data-variant='variant 1'] button:has-text('hide')")
    page.click("#pb-send")
    page.fill("#pb-queue-name", "for Ann")
    page.click("#pb-queue-make")
    page.wait_for_selector(".pb-note:has-text('The queue “for Ann” with 10 answers')")
    queue = next(one for one in store.queues.all_with_counts(site.db) if one["name"] == "for Ann")
    items = store.queues.items(site.db, queue["id"])
    assert {(one["lang"], one["variant"]) for one in items} == {("zh", "variant 0")} and queue["blind"]


def test_stars_columns_and_a_change_against_an_earlier_run_stay_and_show(site, page):
    probes = [probe(f"p{at}") for at in range(4)]
    earlier = write_run(site.db, probes, 3, say=lambda at, one, _: f"I am BayLing {at}.")
    run = write_run(site.db, probes, 3, say=lambda at, one, _: f"I am {'Sun' if (at, one.id) == (1, 'p2') else 'BayLing'} {at}.")
    open_probes(page, site.address, run)
    page.locator(".pb-row[data-probe='p1'] .pb-cell[data-name='variant 0']").hover()
    page.locator(".pb-row[data-probe='p1'] .pb-cell[data-name='variant 0'] .pb-star").click()
    page.click(".pb-th[data-variant='variant 2'] button:has-text('‹')")
    page.click(".pb-th[data-variant='variant 1'] button:has-text('pin')")
    page.reload()
    open_probes(page, site.address, run)
    heads = page.eval_on_selector_all(".pb-th[data-variant]", "heads => heads.map(head => head.dataset.variant)")
    assert heads == ["variant 1", "variant 0", "variant 2"]
    page.click(".pb-chip[data-show='starred']")
    assert shown(page) == ["p1"]
    page.select_option("#pb-other", str(earlier))
    page.wait_for_selector(".pb-note:has-text('12 cells are in both, 1 of them changed')")
    assert shown(page) == ["p2"] and page.locator(".pb-changed").count() == 1
    page.locator(".pb-row[data-probe='p2'] .pb-cell[data-name='variant 1']").click()
    page.wait_for_selector("#pb-raw")
    assert "I am Sun 1." in page.inner_text("#pb-answer") and "I am BayLing 1." in page.inner_text(".pb-earlier")


def test_a_models_html_is_shown_and_never_run(site, page):
    run = write_run(site.db, [probe("p", turns=(NASTY,))], 1, say=lambda *_: NASTY, name=NASTY)
    open_probes(page, site.address, run)
    assert page.inner_text(".pb-cell .pb-text") == NASTY
    page.click(".pb-cell")
    page.wait_for_selector("#pb-raw")
    assert page.text_content("#pb-raw") == NASTY and page.locator(".pb-root img").count() == 0
    assert "broken in" not in page.title()


def test_an_interrupted_run_is_called_that_and_offers_to_go_on(site, page):
    run = write_run(site.db, [probe("p")], 1, status="running")
    open_probes(page, site.address, run)
    assert page.inner_text("#pb-head .mt-state") == "interrupted" and page.is_visible("#pb-continue")
    page.click("#pb-continue")  # the base it was made with is another one
    page.wait_for_selector(f".pb-note:has-text('Run {run} cannot be continued')")


def test_the_keyboard_walks_the_matrix(site, page):
    run = write_run(site.db, [probe(f"p{at}") for at in range(3)], 2)
    open_probes(page, site.address, run)
    page.focus(".pb-row[data-probe='p0'] .pb-cell[data-name='variant 0']")
    for key in ("ArrowDown", "ArrowRight", "s", "Enter"):
        page.keyboard.press(key)
    page.wait_for_selector("#pb-raw")
    assert page.inner_text("#pb-dialog-title") == "variant 1" and "p1" in page.inner_text("#pb-dialog header")
    page.keyboard.press("ArrowUp")
    page.wait_for_selector("#pb-dialog header:has-text('p0')")
    page.keyboard.press("Escape")
    assert page.get_attribute(".pb-row[data-probe='p1'] .pb-cell[data-name='variant 1'] .pb-star", "aria-pressed") == "true"


def test_two_hundred_probes_of_eight_variants_are_filtered_and_scrolled_at_once(site, page, capsys):
    run = write_run(site.db, many(200), 8)
    open_probes(page, site.address, run)
    took = {}
    page.fill("#pb-search", "asked as many-09")
    took["search"] = page.get_attribute("#pb-board .pb-root", "data-ms")
    assert page.inner_text("#pb-count").startswith("20 of 200") and all(re.match("many-09", one) for one in shown(page))
    page.fill("#pb-search", "")
    for show in ("w2", "different", "unsure", "all"):
        page.click(f".pb-chip[data-show='{show}']")
        took[show] = page.get_attribute("#pb-board .pb-root", "data-ms")
    took["scrolled through in"] = page.evaluate(
        """async () => {
            const grid = document.getElementById("pb-grid"), begun = performance.now();
            for (let y = 0; y < grid.scrollHeight; y += 500) {
                grid.scrollTop = y;
                await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
            }
            return (performance.now() - begun).toFixed(0);
        }"""
    )
    assert len(shown(page)) < 30, "rows out of view are in the document"
    # the last in the order of the categories is in view now
    assert "many-099-zh" in shown(page)
    with capsys.disabled():
        print("\n200 x 8, milliseconds: " + ", ".join(f"{what} {ms}" for what, ms in took.items()))
