"""Mixing identity rows into general rows, and holding validation rows back."""

from collections import Counter

import pytest

from tuning.dataset.mixing import mix, split_off
from tuning.dataset.rows import DataError, pair

IDENTITY = [pair(f"i{n}", "x", kind="identity") for n in range(10)]
GENERAL = [pair(f"g{n}", "x") for n in range(90)]


def kinds(rows):
    return Counter(row.kind for row in rows)


def test_by_count_by_share_and_whole():
    assert kinds(mix(IDENTITY, GENERAL, count=4)) == {"identity": 4, "general": 90}
    assert kinds(mix(IDENTITY, GENERAL)) == {"identity": 10, "general": 90}
    assert kinds(mix(IDENTITY, GENERAL, share=0.5)) == {"identity": 90, "general": 90}
    assert kinds(mix(IDENTITY, GENERAL, share=0.1)) == {"identity": 10, "general": 90}
    assert kinds(mix(IDENTITY, GENERAL, count=3, general_count=20)) == {"identity": 3, "general": 20}
    assert kinds(mix(IDENTITY, [], count=7)) == {"identity": 7}
    assert kinds(mix([], GENERAL, count=0)) == {"general": 90}


def test_a_larger_count_repeats_rows_evenly_and_a_smaller_is_contained():
    counts = Counter(row.question for row in mix(IDENTITY, GENERAL, count=25) if row.kind == "identity")
    assert sorted(counts.values()) == [2] * 5 + [3] * 5
    few, more = (set(mix(IDENTITY, [], count=n)) for n in (3, 6))
    assert few < more


def test_shuffled_by_seed():
    rows = mix(IDENTITY, GENERAL, seed=1)
    assert rows == mix(IDENTITY, GENERAL, seed=1) != mix(IDENTITY, GENERAL, seed=2)
    assert any(row.kind == "identity" for row in rows[:50]) and any(row.kind == "identity" for row in rows[50:])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"count": 1, "share": 0.5}, "both given"),
        ({"count": -1}, "count is -1"),
        ({"share": 1.0}, "share is 1.0"),
        ({"general_count": 91}, "there are 90 general rows"),
        ({"share": 0.5, "general_count": 0}, "no general rows"),
    ],
)
def test_refusals(arguments, said):
    with pytest.raises(DataError, match=said):
        mix(IDENTITY, GENERAL, **arguments)
    with pytest.raises(DataError, match="no identity rows"):
        mix([], GENERAL, count=3)


def test_validation_rows_are_held_back_once():
    train, valid = split_off(GENERAL, 9)
    assert (len(train), len(valid)) == (81, 9)
    assert {row.question for row in train}.isdisjoint(row.question for row in valid)
    assert split_off(GENERAL, 9) == (train, valid)
    assert len(split_off(GENERAL, 0.1)[1]) == 9
    assert split_off(GENERAL, 0) == (GENERAL, [])
    for size in (90, 200, -1, 1.5):
        with pytest.raises(DataError, match="val_set_size"):
            split_off(GENERAL, size)
