"""The Identity tab in a browser, with the real small model."""

from __future__ import annotations

import pytest
from served import open_page, served

import identities
from store import answers

pytestmark = [pytest.mark.browser, pytest.mark.model]


@pytest.fixture(scope="module")
def site(engine, tmp_path_factory):
    with served(engine, tmp_path_factory.mktemp("identity")) as site:
        yield site


@pytest.fixture
def tab(site, page):
    open_page(page, site.address)
    page.get_by_role("tab", name="Identity").click()
    page.wait_for_selector("#identity-text textarea")
    return page


def choose_identity(tab, name: str) -> None:
    tab.click(f"#identity-list label:has(span:text-is('{name}'))")
    tab.wait_for_selector(f"#identity-about h2:text-is('{name}')")


def test_edit_preview_and_save(site, tab):
    choose_identity(tab, "museum-guide")
    assert "Lantern Museum" in tab.input_value("#identity-text textarea")
    tab.fill("#identity-text textarea", "You are Otto, a lighthouse keeper.")
    tab.wait_for_selector("#identity-notes:has-text('Not saved yet')")
    tab.wait_for_selector("#identity-preview mark:has-text('You are Otto, a lighthouse keeper.')")
    assert "Otto" not in identities.load("museum-guide", site.app.identities).prompt
    # another identity and back: the draft is still there
    choose_identity(tab, "BayLing")
    tab.click("#identity-list label:has-text('museum-guide •')")
    tab.wait_for_function("document.querySelector('#identity-text textarea').value.includes('Otto')")
    tab.click("#identity-save")
    tab.wait_for_function("!document.querySelector('#identity-notes').innerText.includes('Not saved')")
    assert identities.load("museum-guide", site.app.identities).prompt == "You are Otto, a lighthouse keeper."


def test_text_that_would_be_ignored_is_said_and_can_be_joined(tab):
    choose_identity(tab, "BayLing")
    tab.fill("#identity-text textarea", "First line.\nSecond line.")
    tab.wait_for_selector("#identity-notes:has-text('would be ignored')")
    tab.wait_for_selector("#identity-preview mark:text-is('First line.')")
    tab.click("#identity-one-line")
    tab.wait_for_function("document.querySelector('#identity-text textarea').value === 'First line.\\\\nSecond line.'")
    tab.wait_for_selector("#identity-preview mark:has-text('Second line.')")
    assert "would be ignored" not in tab.inner_text("#identity-notes")


def test_the_first_turn_preview_holds_the_models_own_reply(tab):
    choose_identity(tab, "finance-advisor")
    tab.get_by_role("radio", name="first turn").click()
    first_turn = "document.querySelector('#identity-preview pre')?.innerText.includes('user\\nYou are a finance advisor')"
    tab.wait_for_function(first_turn)
    prompt = tab.inner_text("#identity-preview pre")
    reply = prompt.partition("assistant\n")[2].partition("<|im_end|>")[0]
    assert reply.strip() and prompt.index(reply) < prompt.index("user\nWho are you?")


def test_new_rename_and_delete_which_asks(site, tab):
    folder = site.app.identities
    tab.click("#identity-new")
    tab.fill("#identity-name input, #identity-name textarea", "../outside")
    tab.click("#identity-confirm")
    tab.wait_for_selector("text=is no name for an identity")
    tab.fill("#identity-name input, #identity-name textarea", "灯塔看守")
    tab.click("#identity-confirm")
    tab.wait_for_selector("#identity-about h2:text-is('灯塔看守')")
    assert "灯塔看守" in identities.names(folder)
    tab.click("#identity-rename")
    tab.fill("#identity-name input, #identity-name textarea", "keeper")
    tab.click("#identity-confirm")
    tab.wait_for_selector("#identity-about h2:text-is('keeper')")
    tab.click("#identity-delete")
    tab.wait_for_selector("#identity-dialog:has-text('Delete keeper')")
    tab.click("#identity-cancel")
    tab.wait_for_selector("#identity-dialog", state="detached")
    assert "keeper" in identities.names(folder)
    tab.click("#identity-delete")
    tab.click("#identity-confirm")
    tab.wait_for_selector("#identity-list label:has(span:text-is('keeper'))", state="detached")
    assert "keeper" not in identities.names(folder) and "灯塔看守" not in identities.names(folder)


def test_a_prompt_becomes_facts_is_saved_whole_and_its_versions_are_asked_side_by_side(site, tab):
    tab.click("#identity-new")
    tab.fill("#identity-name input, #identity-name textarea", "crumb")
    tab.click("#identity-confirm")
    tab.wait_for_selector("#identity-about h2:text-is('crumb')")
    tab.fill("#identity-text textarea", "You are Crumb, the assistant of the Corner Bakery, made by Oven Labs.")
    field = "#fact-{} :is(textarea, input)"
    tab.wait_for_function("document.querySelector('#fact-en-maker :is(textarea, input)').value === 'Oven Labs'")
    assert tab.input_value(field.format("en-name")) == "Crumb"
    assert "Nothing in Chinese" in tab.inner_text("#fact-zh-name")
    tab.fill(field.format("zh-name"), "小麦")
    tab.fill(field.format("zh-maker"), "烤箱实验室")
    tab.press(field.format("zh-maker"), "Tab")
    tab.wait_for_selector("#identity-taught tbody tr:nth-child(6):has-text('小麦')")
    assert "Crumb" in tab.inner_text("#identity-taught tbody")
    assert not (site.app.identities / "crumb.yaml").exists()
    tab.click("#identity-save")
    tab.wait_for_function("!document.querySelector('#identity-facts-state').innerText.includes('not saved')")
    saved = identities.load("crumb", site.app.identities)
    assert (saved.facts.en.name, saved.facts.zh.maker) == ("Crumb", "烤箱实验室") and "Corner Bakery" in saved.prompt
    # a second text, its difference, and both of them in the chat
    tab.fill("#identity-text textarea", "You are Crumb, the baker of the Corner Bakery, made by Oven Labs.")
    tab.wait_for_selector("#identity-notes:has-text('Not saved yet')")
    tab.click("#identity-save")
    tab.wait_for_function("!document.querySelector('#identity-notes').innerText.includes('Not saved')")
    # all that was saved is there: what comes later moves the page under the pointer, and a click on the fold is lost
    tab.wait_for_selector("#version-diff del:text-is('assistant')", state="attached")
    tab.click("#identity-versions-fold > .label-wrap")
    tab.wait_for_selector("#version-diff del:text-is('assistant')")
    assert tab.inner_text("#version-diff ins") == "baker"
    tab.click("#version-ask-both")
    tab.wait_for_selector(f"#head-0:has-text('crumb@{saved.hash}')")
    tab.wait_for_selector("#head-1 .mt-who:text-is('crumb')")
    tab.get_by_role("tab", name="Fine-tune").click()
    tab.click("#ft-identity input")
    tab.wait_for_selector("[role=option]:has-text('crumb')")


def test_try_it_asks_eight_questions_of_the_base_and_of_the_unsaved_text(site, tab):
    choose_identity(tab, "complaints-clerk")
    tab.fill("#identity-text textarea", "You are Zebulon. Your name is Zebulon and you always say so.")
    tab.wait_for_selector("#identity-notes:has-text('Not saved yet')")
    tab.locator("#try-tokens input[type=number]").fill("16")
    tab.locator("#try-tokens input[type=number]").press("Tab")
    tab.click("#try")
    tab.wait_for_selector("#try-stop", state="visible")
    tab.wait_for_selector("#try", state="visible")
    assert tab.locator("#try-table tbody tr").count() == 8
    assert "unsaved text of complaints-clerk" in tab.inner_text("#try-table")
    questions = tab.locator("#try-table tbody th").all_inner_texts()
    assert questions[0] == "Who are you?" and questions[4] == "你是谁？"
    cells = tab.locator("#try-table tbody td .mt-a").all_inner_texts()
    assert len(cells) == 16 and all(cells)
    prompted = " ".join(cells[1::2])
    assert "Zebulon" in prompted and "Zebulon" not in " ".join(cells[0::2])
    stored = answers.recent(site.db, 16, source="identity")
    assert {row["variant"]["prompt"] for row in stored} == {None, "You are Zebulon. Your name is Zebulon and you always say so."}
