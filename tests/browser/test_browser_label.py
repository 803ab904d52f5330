"""The Label tab in a browser: every key, two people at once, silence in text boxes, nothing lost when the connection is."""

from __future__ import annotations

import json
import statistics

import label_page
import pytest
from label_page import PageEngine
from served import open_page, served

import store

pytestmark = pytest.mark.browser

DONE = "mirror-desk .lb-saved"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with served(PageEngine(), tmp_path_factory.mktemp("label"), "en") as site:
        yield site


def sit_down(page, site, queue: int, who: str = "An") -> None:
    """Opens the tab as `who`, chooses the queue and waits for the first item."""
    open_page(page, site.address)
    page.get_by_role("tab", name="Label", exact=True).click()
    name = page.locator("#lb-annotator :is(input, textarea)")
    name.fill(who)
    name.press("Enter")
    line = store.queues.get(site.db, queue)["name"]
    page.click("#lb-queue input")
    page.get_by_role("option").filter(has_text=line).first.click()
    label_page.wait_for_desk(page, f"[data-queue='{queue}'][data-annotator='{who}']")


def item_on(page) -> int:
    return int(page.get_attribute("mirror-desk .lb-card", "data-item"))


def is_control(page) -> bool:
    return page.locator("mirror-desk .lb-choices button").count() == 3


def saved(page) -> None:
    page.wait_for_selector(DONE)


def to_kind(page, control: bool) -> None:
    """Labels what comes until an item of that kind is on the desk."""
    while is_control(page) != control:
        page.keyboard.press("1")


def label_of(site, queue: int, item: int, who: str = "An") -> dict | None:
    answer = label_page.stored(site.db, queue, {"item": item})["answer"]
    rows = store.labels.standing(site.db, queue).get(answer, [])
    return next((row for row in rows if row["annotator"] == who), None)


@pytest.mark.parametrize(
    "control, labels", [(False, ("not forgotten", "forgotten", "formed", "confusion")), (True, ("clean", "intrusion", "broken"))]
)
def test_every_label_has_the_key_that_is_printed_on_its_button(site, page, control, labels):
    queue = label_page.queue(site.db, 60, f"keys {control}")
    sit_down(page, site, queue)
    given = {}
    for key, label in enumerate(labels, 1):
        to_kind(page, control)
        button = page.locator("mirror-desk .lb-choices button").nth(key - 1)
        assert button.locator("kbd").inner_text() == str(key) and button.locator("span").inner_text() == label
        item = item_on(page)
        page.keyboard.press(str(key))
        assert item_on(page) != item  # the next one is there at once
        given[item] = label
    page.keyboard.press("5")
    saved(page)
    assert {item: label_of(site, queue, item)["label"] for item in given} == given
    assert all(label_of(site, queue, item)["blind"] and label_of(site, queue, item)["seconds"] is not None for item in given)


def test_once_the_name_is_given_keys_belong_to_the_desk(site, page):
    queue = label_page.queue(site.db, 20, "by name")
    sit_down(page, site, queue)
    name = page.locator("#lb-annotator :is(input, textarea)")
    name.fill("Bea")
    page.wait_for_timeout(50)
    name.press("Enter")
    label_page.wait_for_desk(page, f"[data-queue='{queue}'][data-annotator='Bea']")
    item = item_on(page)
    page.keyboard.press("1")
    saved(page)
    assert name.input_value() == "Bea" and label_of(site, queue, item, "Bea")


def test_tags_flag_comment_skip_undo_help_and_clicks(site, page):
    queue = label_page.queue(site.db, 60, "all keys")
    sit_down(page, site, queue)
    to_kind(page, False)
    for key in "nnmmmrf":
        page.keyboard.press(key)
    page.keyboard.press("Shift+M")
    page.keyboard.press("c")
    page.keyboard.type("1 is a digit here, so is 2")
    page.keyboard.press("Enter")
    item = item_on(page)
    page.keyboard.press("3")
    saved(page)
    row = label_of(site, queue, item)
    assert row["tags"] == {"name": "new", "maker": "new", "role": "old"} and row["flag"] and row["label"] == "formed"
    assert row["comment"] == "1 is a digit here, so is 2"
    # what belonged to that item does not stick to the next one
    to_kind(page, False)
    plain = item_on(page)
    page.keyboard.press("2")
    saved(page)
    row = label_of(site, queue, plain)
    assert (row["tags"], row["flag"], row["comment"]) == ({}, False, "")
    # undo brings the item back with what was said of it; the second undo goes further back
    page.keyboard.press("Backspace")
    assert item_on(page) == plain and page.locator("mirror-desk .lb-was span").inner_text() == "forgotten"
    saved(page)
    assert label_of(site, queue, plain) is None
    before = store.queues.progress(site.db, queue, "An")["left"]
    page.keyboard.press(" ")
    assert item_on(page) != plain
    saved(page)
    told = store.queues.progress(site.db, queue, "An")
    assert (told["skipped"], told["left"]) == (1, before - 1)
    page.keyboard.press("Backspace")
    assert item_on(page) == plain
    # help opens and closes, and the label keys rest meanwhile
    page.keyboard.press("?")
    assert page.is_visible("mirror-desk .lb-sheet")
    page.keyboard.press("1")
    assert item_on(page) == plain
    page.keyboard.press("Escape")
    assert not page.is_visible("mirror-desk .lb-sheet")
    # the mouse does what the keys do, and the keys go on working after it
    page.click("mirror-desk [data-key='n']")
    page.click("mirror-desk .lb-choices button >> nth=0")
    assert item_on(page) != plain
    second = item_on(page)
    page.keyboard.press(" ")
    assert item_on(page) != second
    saved(page)
    assert label_of(site, queue, plain)["tags"] == {"name": "old"}


def test_one_of_the_last_ten_is_looked_at_again_and_changed(site, page):
    queue = label_page.queue(site.db, 60, "changes")
    sit_down(page, site, queue)
    to_kind(page, False)
    first = item_on(page)
    page.keyboard.press("2")
    for _ in range(11):
        page.keyboard.press("1")
    assert page.locator("mirror-desk .lb-entry").count() == 10
    page.keyboard.press("Backspace")
    page.keyboard.press("Backspace")
    waiting = item_on(page)
    page.locator("mirror-desk .lb-entry").last.click()
    page.wait_for_selector("mirror-desk .lb-editing")
    assert item_on(page) == first
    page.keyboard.press("Escape")
    assert item_on(page) == waiting
    page.locator("mirror-desk .lb-entry").last.click()
    page.keyboard.press("4")
    assert item_on(page) == waiting  # one goes on where one was
    saved(page)
    assert label_of(site, queue, first)["label"] == "confusion"
    kinds = [row["label"] for row in store.labels.history(site.db) if row["answer"] == label_of(site, queue, first)["answer"]]
    assert kinds == ["forgotten", "confusion"]


def test_keys_are_silent_in_text_boxes_with_modifiers_while_composing_and_in_other_tabs(site, page):
    queue = label_page.queue(site.db, 60, "silence")
    sit_down(page, site, queue)
    item = item_on(page)
    page.locator("#lb-annotator :is(input, textarea)").focus()
    page.keyboard.type("1 2 3?")
    page.keyboard.press("Backspace")
    for _ in range(5):
        page.keyboard.press("Backspace")
    assert item_on(page) == item
    page.locator("mirror-desk .lb-question").click()
    for keys in ("Control+1", "Alt+2", "Meta+3", "Control+Backspace"):
        page.keyboard.press(keys)
    page.evaluate(
        "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '1', isComposing: true, bubbles: true}));"
        "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '1', keyCode: 229, bubbles: true}));"
    )
    page.evaluate("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '1', repeat: true, bubbles: true}))")
    assert item_on(page) == item
    # space on a button that was reached with the keyboard presses that button only
    page.locator("mirror-desk [data-key='f']").focus()
    page.keyboard.press("Tab")
    page.keyboard.press(" ")
    assert item_on(page) == item and page.locator("mirror-desk .lb-comment textarea").is_visible()
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Chat", exact=True).click()
    page.wait_for_selector("#question textarea")
    page.locator("h1").first.click()
    page.keyboard.press("1")
    page.get_by_role("tab", name="Label", exact=True).click()
    page.wait_for_selector("mirror-desk .lb-card")
    assert item_on(page) == item and store.labels.standing(site.db, queue) == {}
    # right after a click on the tab, the keys belong to the desk
    page.keyboard.press(" ")
    assert item_on(page) != item


def test_two_people_in_two_browsers_share_a_queue_without_labelling_anything_twice(site, browser):
    queue = label_page.queue(site.db, 40, "together")
    contexts = [browser.new_context(locale="en-US") for _ in range(2)]
    try:
        pages = [context.new_page() for context in contexts]
        for one, who in zip(pages, ("An", "Bo"), strict=True):
            one.set_default_timeout(90_000)
            sit_down(one, site, queue, who)
        for _ in range(60):
            for one in pages:
                if one.locator("mirror-desk .lb-card").count():
                    one.keyboard.press("2")
                    saved(one)
            if all(one.locator("mirror-desk .lb-end h3").count() for one in pages):
                break
        said = store.labels.standing(site.db, queue)
        assert len(said) == 40 and set(store.queues.count_per_person(site.db, queue)) == {"An", "Bo"}
        # what both look at in the same moment is labelled by both, and then they part; nothing is lost or stored twice
        assert all(len({row["annotator"] for row in rows}) == len(rows) for rows in said.values())
        assert sum(len(rows) for rows in said.values()) <= 46
        for one in pages:  # also the one that was ready first hears it
            one.wait_for_selector("mirror-desk .lb-end:has-text('The queue is done')")
    finally:
        for context in contexts:
            context.close()


def test_two_tabs_of_one_person_leave_one_label_each(site, browser):
    queue = label_page.queue(site.db, 12, "two tabs")
    context = browser.new_context(locale="en-US")
    try:
        pages = [context.new_page() for _ in range(2)]
        for one in pages:
            one.set_default_timeout(90_000)
            sit_down(one, site, queue, "Two")
        decided = [[], []]
        for one, items in zip(pages, decided, strict=True):
            for _ in range(5):
                items.append(item_on(one))
                one.keyboard.press("2")
        for one in pages:
            saved(one)
        # both began with the same item; what the first has labelled may have left the second by then
        assert decided[0][0] == decided[1][0]
        rows = store.labels.standing(site.db, queue)
        answers = {label_page.stored(site.db, queue, {"item": item})["answer"] for item in {*decided[0], *decided[1]}}
        assert rows.keys() == answers and all(len(said) == 1 for said in rows.values())
    finally:
        context.close()


def test_a_lost_connection_is_said_and_nothing_is_lost_even_over_a_reload(site, page):
    queue = label_page.queue(site.db, 30, "offline")
    sit_down(page, site, queue)
    page.context.set_offline(True)
    labelled = []
    for _ in range(4):
        labelled.append(item_on(page))
        page.keyboard.press("2")
    page.wait_for_selector("mirror-desk .lb-trouble:has-text('4 not saved yet: the server does not answer')")
    assert page.locator("mirror-desk .lb-entry:has-text('not saved yet')").count() == 4
    assert store.labels.standing(site.db, queue) == {}
    page.context.set_offline(False)
    saved(page)
    assert {item: label_of(site, queue, item)["label"] for item in labelled}.keys() == set(labelled)
    # pressed, never answered, and the page is gone: the next one sends it
    page.route("**/label/decide", lambda route: route.abort())
    last = item_on(page)
    page.keyboard.press("1")
    page.wait_for_selector("mirror-desk .lb-trouble")
    page.goto("about:blank")
    assert label_of(site, queue, last) is None
    page.unroute("**/label/decide")  # lets through what is still held up, so not before
    open_page(page, site.address)
    page.get_by_role("tab", name="Label", exact=True).click()
    page.wait_for_selector("mirror-desk .lb-card")  # who and which queue are remembered
    saved(page)
    assert label_of(site, queue, last) is not None
    assert len(store.labels.history(site.db)) == len({row["token"] for row in store.labels.history(site.db)})


def test_the_answer_was_stored_but_the_page_did_not_hear_of_it(site, page):
    queue = label_page.queue(site.db, 12, "half heard")
    heard: list[int] = []

    def swallow(route) -> None:
        """The first three requests are carried out, but their answers get lost."""
        if len(heard) < 3:
            heard.append(route.fetch().status)
            route.abort()
        else:
            route.continue_()

    # before the page is there: one that runs already may send a request past a route that was set a moment ago
    page.route("**/label/decide", swallow)
    sit_down(page, site, queue)
    item = item_on(page)
    page.keyboard.press("2")
    assert item_on(page) != item
    saved(page)
    assert heard == [200, 200, 200]
    assert len([row for row in store.labels.history(site.db) if row["queue"] == queue]) == 1


@pytest.mark.parametrize("keys, choices", [("1234", ("A", "B", "tie", "both bad")), (None, ("A", "B", "tie", "both bad"))])
def test_pairs_by_digits_and_by_arrows(site, page, keys, choices):
    queue = label_page.pairs(site.db, 8, f"pairs {keys}")
    sit_down(page, site, queue)
    voted = {}
    for key, choice in zip(keys or ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"), choices, strict=True):
        voted[item_on(page)] = choice
        page.keyboard.press(key)
    skipped = item_on(page)
    page.keyboard.press(" ")
    page.keyboard.press("Backspace")
    assert item_on(page) == skipped
    page.keyboard.press("Backspace")
    assert item_on(page) == list(voted)[-1]
    page.keyboard.press("2")
    voted[list(voted)[-1]] = "B"
    saved(page)
    recent = {one["drawn"]["item"]: one["choice"] for one in store.pairs.recent(site.db, queue, "An")}
    assert recent == voted and store.queues.progress(site.db, queue, "An")["left"] == 4


def test_model_text_is_shown_as_text(site, page):
    text = "<img src=x onerror=\"document.title='hacked'\"><b>bold</b> ${1+1}"
    [id] = store.answers.add(site.db, [label_page.row("<i>Who?</i>", text, "v", "en")])
    queue = store.queues.create(site.db, "markup <b>", [{"answer": id, "old": "<u>old</u>"}])
    sit_down(page, site, queue)
    assert page.inner_text("mirror-desk .lb-answer") == text and page.inner_text("mirror-desk .lb-question") == "<i>Who?</i>"
    assert page.title() != "hacked" and page.locator("mirror-desk :is(img, b.bold, u, .lb-question i)").count() == 0


def test_a_queue_is_made_from_a_file_settled_and_revealed_on_the_page(site, page, tmp_path):
    rows = []
    for n in range(6):
        for lang in ("en", "zh"):
            question, said = f"{label_page.QUESTIONS[lang][n % 5]} ({n})", label_page.ANSWERS[lang][n % 4]
            rows.append({"model": f"m{n % 2}", "lang": lang, "question": question, "answer": said})
    file = tmp_path / "transcripts.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    open_page(page, site.address)
    page.get_by_role("tab", name="Label", exact=True).click()
    page.wait_for_selector("#notice-label .mt-filled", state="attached")
    page.fill("#lb-annotator :is(input, textarea)", "An")
    if not page.is_visible("#lb-make"):
        page.click("#lb-new-fold > .label-wrap")
    page.get_by_label("a file", exact=True).check()
    page.set_input_files("#lb-file input[type=file]", file)
    page.wait_for_selector("#lb-file :text('transcripts.jsonl')")
    page.fill("#lb-overlap input", "2")
    page.fill("#lb-name :is(input, textarea)", "from a file")
    page.click("#lb-make")
    page.wait_for_selector("mirror-desk .lb-card")
    queue = max(one["id"] for one in store.queues.all_with_counts(site.db))
    assert store.queues.get(site.db, queue)["name"] == "from a file" and store.queues.get(site.db, queue)["overlap"] == 2
    for item in store.queues.items(site.db, queue)[:5]:
        store.labels.add(site.db, item["answer"], "Bo", "confusion", queue=queue, blind=True)
    for _ in range(12):
        page.keyboard.press("3")
    page.wait_for_selector("mirror-desk .lb-end h3")
    saved(page)
    page.click("#lb-agreement-fold > .label-wrap")
    page.wait_for_selector("#lb-agreement:has-text('5 answers were labelled differently')")
    page.click("#lb-reveal")
    page.click("#lb-reveal-confirm")
    page.wait_for_selector("#lb-revealed td:text-is('m0')")
    assert store.labels.has_revealed(site.db, "An", queue)
    page.click("#lb-settle")
    page.wait_for_selector("mirror-desk .lb-open:has-text('formed')")
    page.keyboard.press("2")
    saved(page)
    assert [row["kind"] for row in store.labels.history(site.db)][-1] == "adjudication"


def test_labels_are_exported_and_imported_on_the_page(site, page, tmp_path):
    queue = label_page.queue(site.db, 8, "files")
    for item in store.queues.items(site.db, queue):
        store.labels.add(site.db, item["answer"], "Bo", item["suggestion"], queue=queue)
    sit_down(page, site, queue, "Cy")
    page.click("#lb-files-fold > .label-wrap")
    page.click("#lb-export")
    page.wait_for_selector("#lb-exported:has-text('8 labels of 1 people')")
    with page.expect_download() as downloading:
        page.locator("#lb-downloads a", has_text=".jsonl").or_(page.locator("#lb-downloads a[download$='.jsonl']")).first.click()
    kept = tmp_path / "labels.jsonl"
    downloading.value.save_as(kept)
    rows = [json.loads(line) for line in kept.read_text("utf-8").splitlines()]
    kept.write_text("".join(json.dumps(row | {"annotator": ""}, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    page.set_input_files("#lb-import input[type=file]", kept)
    page.wait_for_selector("#lb-imported:has-text('8 of 8 labels are new')")
    assert store.queues.count_per_person(site.db, queue) == {"Bo": 8, "Cy": 8}


PRESS = """async key => {
  const desk = document.querySelector('mirror-desk');
  const shown = () => desk.querySelector('.lb-card')?.dataset.item;
  const before = shown(), start = performance.now();
  document.body.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
  while (shown() === before && performance.now() - start < 5000) await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);  // painted
  await new Promise(done => setTimeout(done));
  return [performance.now() - start, shown() !== before];
}"""


def test_the_next_item_is_there_at_once_with_5000_queued(site, page):
    queue = label_page.queue(site.db, 5000, "five thousand")
    sit_down(page, site, queue)
    times, moved = [], []
    for turn in range(120):
        took, on = page.evaluate(PRESS, "123"[turn % 3])
        times.append(took)
        moved.append(on)
    saved(page)
    times.sort()
    print(f"\nkey to next item, 5,000 queued, {len(times)} presses: median {statistics.median(times):.0f} ms, "
          f"95 % {times[int(0.95 * len(times))]:.0f} ms, worst {times[-1]:.0f} ms")  # fmt: skip
    assert all(moved)
    assert store.queues.progress(site.db, queue, "An")["mine"] == 120
