"""The blind comparison in a browser: nothing tells who is who before the vote, and the vote is kept."""

from __future__ import annotations

import json

import pytest
from served import ask, open_page, served, wait_for_answers

import store

pytestmark = [pytest.mark.browser, pytest.mark.model]


@pytest.fixture(scope="module")
def site(engine, tmp_path_factory):
    with served(engine, tmp_path_factory.mktemp("blind"), tokens=16) as site:
        yield site


def columns_visible(page) -> list[int]:
    return [at for at in range(6) if page.locator(f"#column-{at}").is_visible()]


def test_names_stay_hidden_until_the_vote_and_the_vote_is_stored(site, page):
    open_page(page, site.address)
    page.click("#blind input")
    page.wait_for_selector("#column-2", state="detached")
    assert columns_visible(page) == [0, 1]
    assert not page.is_visible("#ballot")
    ask(page, "What is a bank?")
    page.wait_for_selector("#vote-a")
    wait_for_answers(page, columns=2)
    for at in range(2):
        shown = page.inner_html(f"#column-{at}")
        for given_away in ("finance-advisor", "Base", "Text Titan", "<details", "tokens/s", "mt-facts"):
            assert given_away not in shown, f"column {at} shows {given_away}"
    page.click("#vote-b")
    page.wait_for_selector("#head-1 .mt-mark")
    names = [page.inner_text(f"#head-{at} .mt-who").split("\n")[0] for at in range(2)]
    assert sorted(name.removesuffix("preferred").strip() for name in names) == ["Base", "finance-advisor"]
    with store.open(site.db) as db:
        vote = next(db["votes"].rows_where(order_by="id desc", limit=1))
        sides = [db["answers"].get(vote[side])["variant_name"] for side in ("answer_a", "answer_b")]
    assert vote["choice"] == "B" and vote["blind"]
    assert json.loads(vote["shown_order"]) == [vote["answer_a"], vote["answer_b"]]
    assert sides == ["base" if name.startswith("Base") else "finance-advisor" for name in names]
    # the next question is a comparison of its own
    ask(page, "What is a museum?")
    page.wait_for_selector("#head-0:has-text('Answer A')")
    wait_for_answers(page, columns=2)
    page.click("#vote-tie")
    page.wait_for_selector("#ballot", state="detached")
    page.click("#blind input")
    page.wait_for_selector("#column-2")
    assert columns_visible(page) == [0, 1, 2]
    # and both are counted where results are
    page.get_by_role("tab", name="Results", exact=True).click()
    page.wait_for_selector("#results-votes .mt-votes tbody tr")
    counted = page.locator(".mt-votes").nth(1).locator("tbody tr").locator("th, td").all_inner_texts()  # the first is the board
    wins = ["1", "0"] if sides[1] == "base" else ["0", "1"]
    assert counted[:8] == ["base", "finance-advisor", "blind", "English", *wins, "1", "0"]


# keeps a copy of every event stream: the browser itself keeps none of a stream's body
LISTEN = """
window.heard = "";
const plain = window.fetch;
window.fetch = async (...asked) => {
  const response = await plain(...asked);
  if (!response.url.includes("queue/data")) return response;
  const [one, other] = response.body.tee();
  (async () => {
    const text = other.pipeThrough(new TextDecoderStream()).getReader();
    for (let part; !(part = await text.read()).done; ) window.heard += part.value;
  })().catch(() => {});  // the page ends its streams by aborting them
  return new Response(one, response);
};
"""


def test_the_stream_of_a_blind_answer_says_nothing_about_its_variant(site, page):
    """What the server sends, not only what is drawn."""
    page.add_init_script(LISTEN)
    open_page(page, site.address)
    page.click("#blind input")
    page.wait_for_selector("#column-2", state="detached")
    page.evaluate("window.heard = ''")
    ask(page, "What is the sea?")
    page.wait_for_selector("#vote-a")
    wait_for_answers(page, columns=2)
    heard = page.evaluate("window.heard")
    assert "What is the sea?" in heard, "the test did not hear the stream"
    for given_away in ("finance-advisor", "Text Titan", "hashes", "tokens/s"):
        assert given_away not in heard
