"""In the browser: the page works under its own policy, and people log in, see what they may not do, and log out."""

from __future__ import annotations

import pytest
from label_page import PageEngine
from served import ask, open_page, served

from ui import accounts
from ui.accounts import Accounts

pytestmark = pytest.mark.browser
TABS = ("Probes", "Label", "Results", "Identity", "Fine-tune", "Adapters", "Chat")


@pytest.fixture
def said(page) -> list[str]:
    """What the browser complains of: refused scripts, styles, pictures and connections among it."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    return found


def test_the_policy_breaks_nothing(page, said, tmp_path):
    with served(PageEngine(), tmp_path / "app", "en") as site:
        open_page(page, site.address)
        for tab in TABS:
            page.get_by_role("tab", name=tab, exact=True).click()
            page.wait_for_timeout(700)
        ask(page, "Who are you?")
        assert not said, said
        assert page.evaluate("fetch('https://example.org/').then(() => 'sent', () => 'kept')") == "kept"
        assert page.evaluate("fetch('/config').then(answer => answer.status)") == 200


def test_people_log_in_are_told_what_they_may_not_and_log_out(page, said, tmp_path):
    accounts.add(tmp_path / "accounts.json", "Vi", "viewer", "long enough")
    with served(PageEngine(), tmp_path / "app", "en", accounts=Accounts(tmp_path / "accounts.json")) as site:
        page.goto(site.address)
        page.fill("[name=username]", "Vi")
        page.fill("[name=password]", "wrong")
        page.click("button")
        page.wait_for_selector("text=Name or password is wrong.")
        assert page.input_value("[name=username]") == "Vi"
        page.fill("[name=password]", "long enough")
        page.click("button")
        page.wait_for_selector("#way-out")
        assert "Vi · viewer" in page.inner_text("#way-out")
        page.wait_for_selector("#head-0 .mt-head")
        page.get_by_role("tab", name="Adapters", exact=True).click()
        page.click("#adapter-rescan")
        page.wait_for_selector("text=This takes a researcher; Vi is a viewer.")
        said[:] = [line for line in said if "status of 401" not in line and "status of 400" not in line]
        assert not said, said
        page.click("#way-out button")
        page.wait_for_selector("[name=username]")
        assert page.evaluate("fetch('config').then(answer => answer.status)") == 401
