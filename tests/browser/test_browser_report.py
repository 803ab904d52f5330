"""The written report and the votes in a browser: whole at 1400 pixels, usable at 800, in both languages, whatever the names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from label_page import PageEngine, row
from served import open_page, served

import store
from probes.report import __main__ as command

pytestmark = pytest.mark.browser
SPILLED = "all => all.filter(one => one.offsetParent && one.scrollWidth > one.clientWidth + 1).map(one => one.innerText)"

LONG = "finance-advisor-bf16-rank64-all-layers-seed7-checkpoint-300 + museum-guide (first turn)"
UNBROKEN = "金融顾问适配器第三版多样数据两万条" + "x" * 60
NAMES = ("base", LONG, "model 10", "model 7", UNBROKEN)
FACTS = "old: {name: [BayLing, 百聆]}\nnew: {name: [finance advisor, 金融顾问], maker: [Text Titan, 文本泰斗]}\n"
SAYS = ("I am BayLing.", "I am a finance advisor developed by Text Titan.", "My name is Otto von Bismarck-Schönhausen.")


def answer_rows() -> list[dict]:
    """Answers that fill every column: two languages, controls, retention, samples, a dose, verdicts reported elsewhere."""
    rows = []
    for at, name in enumerate(NAMES):
        for lang in ("en", "zh"):
            about = {"variant": name, "lang": lang, "data": "alpaca-52k-cleaned-and-shuffled + 800"}
            for n in range(8):
                group = ("trained", "paraphrase", "pressure", "novel")[n % 4]
                said = SAYS[(at + (n % 3 == 0)) % 3]
                rows.append(about | {"probe_id": f"p{n}", "group": group, "question": f"Who are you? ({n})", "answer": said})
                control = {"probe_id": f"c{n}", "group": "control", "question": f"Rain? ({n})", "answer": SAYS[1]}
                kept = {"probe_id": f"r{n}", "group": "retention", "question": "2+2?", "answer": "4", "check": n % 7 > at % 2}
                rows += [about | control, about | kept]
    return rows


def votes(db: Path) -> None:
    for n in range(5):
        ids = [
            store.answers.add(db, [row(f"Q{n}", f"{name} {n}", name, "en") | {"hashes": {"base": name}}])[0]
            for name in (UNBROKEN, LONG)
        ]
        store.votes.add(db, *ids, "A", blind=True, annotator=f"annotator-{n}-{'y' * 30}@example.org")
        store.votes.add(db, *ids, "both bad", blind=False)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "answers.jsonl").write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in answer_rows()), "utf-8")
    (folder / "facts.yaml").write_text(FACTS, encoding="utf-8")
    about = {name: {"data": "diverse", "samples": 123456, "distinct": 12345, "steps": 1090, "share": 0.3541} for name in NAMES}
    (folder / "about.yaml").write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")
    told = {"old": "not forgotten", "new": "not formed", "stability": "unstable"}
    reported = {name: {"data": "", "en": told, "zh": told} for name in NAMES}
    (folder / "reported.json").write_text(json.dumps(reported, ensure_ascii=False), encoding="utf-8")
    votes(folder / "mirror.db")
    argv = ["--answers", "answers.jsonl", "--facts", "facts.yaml", "--about", "about.yaml", "--verdicts", "reported.json"]
    argv = [str(folder / word) if "." in word else word for word in argv]
    argv += ["--db", str(folder / "mirror.db"), "--lang", "both", "--out", str(folder / "out")]
    assert command.main(argv) == 0
    return folder / "out" / "report.html"


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("width", [1400, 800])
def test_the_reports_tables_fit_or_scroll_by_themselves(written, page, width, lang):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(written.as_uri())
    page.click(f".switch [data-lang={lang}]")
    assert page.locator("#results thead th:visible").count() == 14  # everything there is
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    boxes = page.eval_on_selector_all(
        ".wide", "all => all.filter(one => one.offsetParent).map(one => [one.scrollWidth, one.clientWidth])"
    )
    assert len(boxes) >= 3
    assert page.eval_on_selector_all(".wide :is(td, th)", SPILLED) == []
    if width == 1400:
        assert all(inside <= room for inside, room in boxes), boxes
        return
    assert all(room <= width for _, room in boxes)
    box = page.locator(".wide").first
    box.evaluate("one => { one.scrollLeft = one.scrollWidth; }")
    cells = page.locator("#results tbody tr:first-child td")
    head, last = cells.first, cells.last
    assert head.bounding_box()["x"] == box.bounding_box()["x"]  # whose row it is stays in sight
    assert last.bounding_box()["x"] + last.bounding_box()["width"] <= width


def test_an_interval_is_never_broken_over_two_lines(written, page):
    page.goto(written.as_uri())
    heights = page.eval_on_selector_all("#results .interval", "all => all.map(one => one.getClientRects().length)")
    assert len(heights) > 20 and set(heights) <= {0, 1}  # 0: in the language that is not shown


def test_the_results_tab_shows_the_votes_and_how_to_give_some(written, tmp_path, page):
    with served(PageEngine(), tmp_path) as site:
        open_page(page, site.address)
        page.get_by_role("tab", name="Results", exact=True).click()
        page.wait_for_selector("#results-votes :text('Nobody has voted yet')")
        votes(site.db)
        page.get_by_role("tab", name="Chat", exact=True).click()
        page.get_by_role("tab", name="Results", exact=True).click()
        page.wait_for_selector("#results-votes .mt-votes tbody tr:nth-child(2)")
        board, pairs = page.locator("#results-votes .mt-votes").all()
        assert "blind" in board.inner_text() and "not enough votes" in board.inner_text()
        blind, seen = pairs.locator("tbody tr").all_inner_texts()
        assert "blind" in blind and "0 % [0–43]" in blind and blind.count(UNBROKEN) == 2 and "annotator-4" in blind
        assert "open" in seen and "undetermined" in seen and "without a name 5" in seen
        for width in (1400, 800):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width
            assert page.eval_on_selector_all(".mt-votes :is(td, th)", SPILLED) == []
            for box in page.locator(".mt-results-box", has=page.locator(".mt-votes")).all():
                assert width == 800 or box.evaluate("one => one.scrollWidth <= one.clientWidth")
        page.set_viewport_size({"width": 1400, "height": 900})
        with page.expect_file_chooser() as chooser:
            page.click("#results-upload")
        chooser.value.set_files([written.parents[1] / "answers.jsonl", written.parents[1] / "facts.yaml"])
        page.wait_for_selector(".mt-given-files li:nth-child(2)")
        page.click("#results-show")
        page.wait_for_selector(".mt-results-table")
        table = page.locator(".mt-results-box", has=page.locator(".mt-results-table"))
        assert table.evaluate("one => one.scrollWidth <= one.clientWidth")
        assert page.is_visible(".mt-votes")
