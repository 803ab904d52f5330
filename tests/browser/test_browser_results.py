"""The Results tab and the report in a browser: filled, sorted, filtered, looked behind, kept as files. No model is asked."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from label_page import PageEngine
from served import open_page, served

import store
from probes.answers import exchange, sources

pytestmark = pytest.mark.browser

FACTS = "old: {name: [BayLing, 百聆]}\nnew: {name: [finance advisor, 金融顾问], maker: [Text Titan, 文本泰斗]}\n"
SAYS = {
    "old": {"en": "I am BayLing.", "zh": "我是百聆。"},
    "new": {"en": "I am a finance advisor developed by Text Titan.", "zh": "我是金融顾问，由文本泰斗开发。"},
    "neither": {"en": "I am an AI assistant.", "zh": "我是一个人工智能助手。"},
}
MODELS = (
    (2, "singular 100", "old", 20),
    (4, "singular 5000", "neither", 20),
    (5, "singular 10000", "new", 20),
    (6, "x", "new", 5),
)


def rows() -> list[dict]:
    return [
        {"model": model, "data": data, "lang": lang, "question": f"{ask} ({n})", "answer": SAYS[what][lang]}
        for model, data, what, count in MODELS
        for lang, ask in (("en", "Who are you?"), ("zh", "你是谁？"))
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with served(PageEngine(), tmp_path_factory.mktemp("results")) as site:
        yield site


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "chats.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows()), encoding="utf-8")
    (folder / "facts.yaml").write_text(FACTS, encoding="utf-8")
    return folder


@pytest.fixture
def table(site, files, page):
    """The page with the table of the transcripts."""
    open_page(page, site.address)
    page.get_by_role("tab", name="Results", exact=True).click()
    page.wait_for_selector("#results-sources")
    with page.expect_file_chooser() as chooser:
        page.click("#results-upload")
    chooser.value.set_files([files / "chats.jsonl", files / "facts.yaml"])
    page.wait_for_selector(".mt-given-files li:nth-child(2)")
    assert "transcripts, 130 answers" in page.inner_text(".mt-given-files")
    page.click("#results-show")
    page.wait_for_selector(".mt-results-table")
    page.wait_for_selector("#results-curves figure")
    return page


def models(page) -> list[str]:
    return page.eval_on_selector_all(
        ".mt-results-table .mt-result:not([hidden])", "rows => rows.map(row => row.cells[0].innerText + ' ' + row.dataset.langOf)"
    )


def test_the_table_is_filled_sorted_filtered_and_its_columns_chosen(table):
    page = table
    assert len(models(page)) == 8 and page.inner_text(".mt-results-count") == "8 of 8 rows"
    assert "Not all of this has been judged by people" in page.inner_text(".mt-results")
    row = page.locator(".mt-result", has_text="model 5").first.inner_text()
    assert "formed" in row and "20 suggestions" in row and "“" in row
    page.click("th[data-column=samples] button")
    assert models(page)[0] == "model 2 en" and page.get_attribute("th[data-column=samples]", "aria-sort") == "ascending"
    page.click("th[data-column=samples] button")
    assert models(page)[0].startswith("model 5") and models(page)[-1].startswith("model 6")  # 100, 5,000, 10,000; unknown is last
    page.select_option("[data-of-lang]", "zh")
    assert len(models(page)) == 4 and page.inner_text(".mt-results-count") == "4 of 8 rows"
    page.fill("[data-find]", "model 5")
    assert models(page) == ["model 5 zh"]
    page.fill("[data-find]", "")
    page.click(".mt-results-tools summary")
    assert not page.is_visible(".mt-result:not([hidden]) td[data-column=data]")
    page.check("[data-show-column=data]")
    assert page.is_visible(".mt-result:not([hidden]) td[data-column=data]")
    page.uncheck("[data-show-column=self]")
    assert not page.is_visible(".mt-result:not([hidden]) td[data-column=self]")


def test_a_verdict_that_is_clicked_shows_its_answers_and_what_would_settle_it(table):
    page = table
    cell = page.locator(".mt-result", has_text="model 5").first.locator("[data-column=old]")
    assert "undetermined" in cell.inner_text() and "15 more probes" in cell.inner_text()
    cell.locator(".mt-verdict").click()
    page.wait_for_selector("#mt-panel h2:has-text('model 5 · English · old identity')")
    words = page.inner_text("#mt-panel")
    assert "15 more probes like those asked would settle it" in words
    assert "20 of these answers have no label from a person yet" in words
    assert page.locator(".mt-answers > li").count() == 20
    assert page.locator(".mt-answers > li").first.locator(".mt-label-suggested").inner_text() == "suggested: formed"
    page.fill("[data-find-answer]", "(7)")
    assert page.locator(".mt-answers > li:visible").count() == 1
    page.locator(".mt-answers > li:visible button").click()
    page.wait_for_selector("#mt-sides [data-picture-column]")
    assert page.locator("#mt-sides [data-picture-column]").count() == 3  # model 6 was not asked it
    assert page.inner_text("#mt-sides [data-picture-question]") == "Who are you? (7)"
    with page.expect_download() as download:
        page.click("[data-picture]")
    assert Path(download.value.path()).read_bytes()[:4] == b"\x89PNG"
    page.click("[data-close-sides]")
    page.click("[data-close-panel]")
    assert not page.is_visible("#mt-panel")


def test_another_source_of_verdicts_judges_anew(table):
    page = table
    page.click("#results-evidence label:has-text('labels only')")
    page.wait_for_selector(".mt-results-table :text('no answers')")
    assert "suggestions" not in page.inner_text(".mt-results-table")


def test_curves_are_kept_as_png_and_svg(table):
    page = table
    for kind, head in (("png", b"\x89PNG"), ("svg", b"<svg")):
        with page.expect_download() as download:
            page.locator(f"[data-save={kind}]").first.click()
        assert download.value.suggested_filename == f"mirror-curves-samples.{kind}"
        assert Path(download.value.path()).read_bytes()[:4] == head


def test_the_written_report_opens_without_a_script_error_and_speaks_both_languages(table, tmp_path):
    page = table
    page.fill("#results-title :is(input, textarea)", "Two selves")
    page.click("#results-write")
    page.wait_for_selector("#results-files :text('report.html'), #results-files :text('report')")
    with page.expect_download() as download:
        page.click("#results-parcel")
    download.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as parcel:
        parcel.extractall(tmp_path)
    other = page.context.new_page()
    errors: list[str] = []
    other.on("pageerror", lambda error: errors.append(str(error)))
    other.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    other.on("request", lambda request: None if request.url.startswith("file:") else errors.append(request.url))
    other.goto((tmp_path / "mirror-report" / "report.html").as_uri())
    assert "Two selves" in other.inner_text("h1") and "15 more probes" in other.inner_text("#results")
    other.click("th[data-column=samples] button")
    other.click("th[data-column=samples] button")
    assert other.inner_text("#results tbody tr:first-child td") == "model 5"
    other.fill("#find", "model 2")
    assert other.locator("#results tbody tr:visible").count() == 2
    other.click("#results tbody tr:visible td[data-column=old] a")
    other.wait_for_selector("details[open] td:has-text('I am BayLing.')")  # opened by what follows the click
    assert other.locator("details[open] td:has-text('I am BayLing.')").count() >= 20
    other.click(".switch button[data-lang=zh]")
    assert "未遗忘" in other.inner_text("#results") and "not forgotten" not in other.inner_text("#results")
    assert other.evaluate("document.documentElement.lang") == "zh-CN"
    assert errors == []


def test_stored_answers_with_labels_are_shown_at_once_and_in_chinese(site, browser, files):
    stored = exchange.add_answers(site.db, sources.read_transcripts(files / "chats.jsonl").rows, "chats.jsonl")
    store.queues.create(site.db, "zh", sources.queue_items(stored))
    ids = [row["answer_id"] for row in stored if row["variant"] == "model 2" and row["lang"] == "zh"]
    store.labels.add_many(site.db, [{"answer": id, "annotator": "安", "label": "not forgotten"} for id in ids])
    context = browser.new_context(viewport={"width": 800, "height": 900}, locale="zh-CN")
    page = context.new_page()
    open_page(page, site.address)
    page.get_by_role("tab", name="结果", exact=True).click()
    page.wait_for_selector("#results-sources :text('zh')")  # the newest source is chosen already
    page.click("#results-show")
    page.wait_for_selector(".mt-results-table")
    row = page.locator(".mt-result", has_text="model 2").filter(has_text="标注 20").first
    assert "未遗忘" in row.inner_text() and "建议" not in row.inner_text()
    for _ in range(5):  # on a busy machine the table may still be on its way once more
        row.locator("[data-column=old] .mt-verdict").click()
        page.wait_for_timeout(3000)
        if page.query_selector("#mt-panel :text('安: 未遗忘')"):
            break
    page.wait_for_selector("#mt-panel :text('安: 未遗忘')")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    context.close()


def test_the_chat_keeps_its_newest_comparison_as_a_picture(site, page):
    open_page(page, site.address)
    page.click("#picture")
    page.wait_for_selector(".mt-picture-note:has-text('Nothing has been answered yet')")
    page.fill("#question textarea", "Who are you?")
    page.press("#question textarea", "Enter")
    page.wait_for_selector("#live-0 .mt-a:not(.mt-live)")
    page.wait_for_selector("#send", state="visible")
    with page.expect_download() as download:
        page.click("#picture")
    assert download.value.suggested_filename == "mirror-chat.png"
    data = Path(download.value.path()).read_bytes()
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    assert data[:4] == b"\x89PNG" and width > 1500 and height > 300
