"""The Chat tab in a browser, with the real small model."""

from __future__ import annotations

import pytest
from served import ask, choose, open_page, served, shorten, wait_for_answers, write_small_adapter

from store import answers

pytestmark = [pytest.mark.browser, pytest.mark.model]
COLUMNS = "[0, 1, 2].map(at => (document.querySelector(`#live-${at} .mt-a`)?.innerText ?? '').length)"


@pytest.fixture(scope="module")
def site(engine, tmp_path_factory):
    root = tmp_path_factory.mktemp("chat")
    write_small_adapter(root / "adapters" / "stranger", engine)
    with served(engine, root, tokens=8) as site:
        site.app.engine.add_adapter(site.adapters / "stranger")
        yield site


def test_three_columns_stream_together_in_two_languages_and_are_stored(site, page):
    open_page(page, site.address)
    shorten(page, tokens=40)
    ask(page, "Who are you?")
    # text grows in all three before any of them is finished
    grown = page.evaluate_handle(
        f"""() => new Promise(done => {{
            const seen = [], look = setInterval(() => {{
                seen.push({COLUMNS});
                if (document.querySelector('#send')) {{ clearInterval(look); done(seen); }}
            }}, 20);
        }})"""
    ).json_value()
    for column in range(3):
        lengths = {lengths[column] for lengths in grown if all(lengths)}
        assert len(lengths) >= 2, f"column {column} was seen at lengths {sorted(lengths)} only"
    english = wait_for_answers(page)
    shorten(page, tokens=16)
    ask(page, "你是谁？")
    chinese = wait_for_answers(page)
    assert all("Who are you?" in text for text in english)
    assert all("你是谁？" in text and ("cut at 16 tokens" in text or "complete" in text) for text in chinese)
    stored = answers.recent(site.db, 6)
    assert [row["question"] for row in stored] == ["你是谁？"] * 3 + ["Who are you?"] * 3
    assert {row["variant_name"] for row in stored[:3]} == {"base", "finance-advisor", "stranger"}
    # the conversation so far went with the second question, in the model's own words
    assert [message["role"] for message in stored[0]["messages"]] == ["user", "assistant", "user"]
    assert stored[0]["messages"][1]["content"] == stored[3]["raw"]


def test_stop_ends_all_columns_and_the_next_question_works(site, page):
    open_page(page, site.address)
    shorten(page, tokens=200)
    ask(page, "Tell me a long story about the sea.")
    page.wait_for_function(f"{COLUMNS}.every(length => length > 8)")
    page.click("#stop")
    texts = wait_for_answers(page)
    assert all("stopped by you" in text for text in texts)
    shorten(page, tokens=8)
    ask(page, "Hello?")
    assert all("Hello?" in text and "stopped by you" not in text for text in wait_for_answers(page))


def test_the_headline_names_who_answered_until_the_next_answer(site, page):
    open_page(page, site.address)
    ask(page, "Hello?")
    wait_for_answers(page)
    assert page.inner_text("#head-2 .mt-who") == "stranger"
    choose(page, "#pick-2", "Adapter", "None: the base")
    choose(page, "#pick-2", "Identity", "museum-guide")
    page.wait_for_selector("#head-2 .mt-note-next:has-text('museum-guide')")
    assert page.inner_text("#head-2 .mt-who") == "stranger"
    ask(page, "Hello again?")
    wait_for_answers(page)
    assert page.inner_text("#head-2 .mt-who") == "museum-guide"
    assert not page.query_selector("#head-2 .mt-note-next")


def test_raw_text_exact_prompt_and_speed_are_there_on_demand(site, page):
    open_page(page, site.address)
    ask(page, "Hello <b>you</b>?")
    wait_for_answers(page)
    assert not page.is_visible("#live-1 .mt-fold-prompt pre")
    page.click("#live-1 .mt-fold-prompt summary")
    prompt = page.inner_text("#live-1 .mt-fold-prompt pre")
    assert "Text Titan" in prompt and "Hello <b>you</b>?" in prompt and "<|im_start|>" in prompt
    assert page.inner_text("#live-1 .mt-q") == "Hello <b>you</b>?"
    assert "tokens/s" in page.inner_text("#live-1 .mt-facts")


def test_regenerate_edit_and_clear(site, page):
    open_page(page, site.address)
    ask(page, "First question?")
    wait_for_answers(page)
    page.click("#regenerate")
    page.wait_for_selector("#stop", state="visible")
    wait_for_answers(page)
    assert page.locator("#transcript-0 .mt-turn").count() == 1
    page.click("#edit-last")
    page.wait_for_function("document.querySelector('#question textarea').value === 'First question?'")
    ask(page, "Second question?")
    page.wait_for_selector("#stop", state="visible")
    assert "Second question?" in wait_for_answers(page)[0]
    assert page.locator("#transcript-0 .mt-turn").count() == 1
    page.click("#clear")
    page.wait_for_selector("#live-0 .mt-nothing")


def test_columns_come_and_go_without_disturbing_the_others(site, page):
    open_page(page, site.address)
    ask(page, "Hello?")
    before = wait_for_answers(page)
    assert page.locator("#later-columns *").count() == 0  # comes when it is shown
    page.click("#add-column")
    page.wait_for_selector("#column-3", state="visible")
    choose(page, "#pick-3", "Identity", "BayLing")
    page.wait_for_selector("#head-3 .mt-who:text-is('BayLing')")
    page.click("#remove-1")
    page.wait_for_selector("#column-1", state="detached")
    assert [page.inner_text(f"#live-{at} .mt-turn") for at in (0, 2)] == [before[0], before[2]]
    ask(page, "And now?")
    page.wait_for_selector("#live-3 .mt-facts")
    assert page.locator("#transcript-0 .mt-turn").count() == 2
    assert page.locator("#transcript-3 .mt-turn").count() == 1
    page.wait_for_selector("#send", state="visible")
    said = page.inner_text("#live-3 .mt-a")
    page.reload()  # with it in the page's first answer
    page.wait_for_selector("#live-3 .mt-a")
    assert page.inner_text("#live-3 .mt-a") == said and page.inner_text("#head-3 .mt-who") == "BayLing"
    assert not page.is_visible("#column-1") and not page.is_visible("#column-4")


def test_a_mistake_is_a_sentence_in_the_column_and_the_next_question_works(site, page):
    open_page(page, site.address)
    ask(page, ("why " * 9000).strip())
    failed = wait_for_answers(page)
    assert all("too long" in text and "Traceback" not in text for text in failed)
    ask(page, "Hello?")
    assert not any("too long" in text for text in wait_for_answers(page))


def test_a_reload_and_the_language_switch_keep_the_conversation(site, page):
    open_page(page, site.address)
    ask(page, "Hello?")
    before = page.locator("#live-0 .mt-a")
    wait_for_answers(page)
    said = before.inner_text()
    page.click("[data-lang='zh-CN']")
    page.wait_for_selector("#send:has-text('一起提问')")
    page.wait_for_selector("#live-0 .mt-a")
    assert before.inner_text() == said
    assert page.inner_text("#head-0 .mt-who") == "基座模型"
    page.click("#send")
    page.wait_for_selector("text=问题是空的")


def test_three_columns_fit_into_800_pixels(site, page):
    page.set_viewport_size({"width": 800, "height": 900})
    open_page(page, site.address)
    right = [page.locator(f"#column-{at}").bounding_box() for at in range(3)]
    assert all(box["width"] > 200 and box["x"] >= 0 and box["x"] + box["width"] <= 801 for box in right)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    send = page.locator("#send").bounding_box()
    assert send["x"] + send["width"] <= 800
