"""What a page remembers, and what a blind comparison must not give away."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from stand_in import answer

from ui import conversation
from ui.conversation import ChatTurn, Page, messages


def page_with(*questions: str) -> Page:
    page = Page()
    for question in questions:
        for column in page.shown:
            page.turns[column].append(ChatTurn(question, answer(f"raw {question} {column}", shown=f"shown {question}")))
    return page


def test_the_model_reads_its_own_raw_words_and_never_a_failed_turn():
    turns = [ChatTurn("one", answer("[NAME]", shown="BayLing")), ChatTurn("two", None, "it failed")]
    assert messages(turns, "three") == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "[NAME]"},
        {"role": "user", "content": "three"},
    ]


def test_two_to_six_columns():
    page = page_with("one")
    assert [conversation.add_column(page) for _ in range(4)] == [3, 4, 5, None]
    assert conversation.remove_column(page, 1) and page.shown == [0, 2, 3, 4, 5]
    assert conversation.add_column(page) == 1 and page.turns[1] == []
    for column in (1, 2, 3, 4):
        assert conversation.remove_column(page, column)
    assert not conversation.remove_column(page, 0) and page.shown == [0, 5]


def test_taking_back_the_last_question_spares_a_column_that_was_not_asked():
    page = page_with("one", "two")
    conversation.add_column(page)
    page.turns[3].append(ChatTurn("older", answer("x")))
    conversation.drop_last(page)
    assert [len(page.turns[column]) for column in page.shown] == [1, 1, 1, 1]
    assert conversation.last_question(page) == "one"


def test_a_blind_comparison_begins_empty_with_both_sides_equally_likely():
    page, orders = page_with("one"), []
    for seed in range(200):
        conversation.start_blind(page, random.Random(seed))
        orders.append(page.blind.order)
        assert page.hidden() and not any(page.blind.turns.values())
        # where it is shown does not depend on who it is
        assert [place for place, _ in page.places()] == [0, 1]
    assert 70 < orders.count((0, 1)) < 130 and set(orders) == {(0, 1), (1, 0)}
    assert len(page.turns[0]) == 1, "the open conversation is kept"


def test_a_vote_needs_two_answers_and_is_given_once():
    page = page_with()
    conversation.start_blind(page)
    assert not conversation.ready_to_vote(page)
    for column in page.blind.order:
        page.blind.turns[column].append(ChatTurn("q", answer("a")))
    assert conversation.ready_to_vote(page)
    page.blind.turns[0][-1] = replace(page.blind.turns[0][-1], answer=None)
    assert not conversation.ready_to_vote(page)
    page.blind.turns[0][-1] = ChatTurn("q", answer("a"))
    page.blind.choice = "A"
    assert not conversation.ready_to_vote(page) and not page.hidden()


@pytest.mark.parametrize("blind", [False, True])
def test_clear_leaves_nothing_to_continue(blind):
    page = page_with("one")
    if blind:
        conversation.start_blind(page)
        page.blind.turns[0].append(ChatTurn("q", answer("a")))
    conversation.clear(page)
    assert conversation.last_question(page) == "" and (page.blind is not None) == blind
