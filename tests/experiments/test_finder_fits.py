"""Whether count or share decides."""

from __future__ import annotations

import math

import numpy as np
import pytest

from experiments import fits
from experiments.fits import Mix


def mixes(
    power: float, backgrounds=(1000, 4000, 16000), counts=(25, 100, 400, 1600), seeds: int = 3, slope: float = 1.5
) -> list[Mix]:
    rng = np.random.default_rng(0)
    found = []
    for count in counts:
        for background in backgrounds:
            rows = count + background
            for seed in range(seeds):
                odds = slope * (math.log(count / 200) - power * math.log(rows / 4000)) + rng.normal(0, 0.3)
                said = rng.random(40) < 1 / (1 + np.exp(-odds - np.linspace(-1, 1, 40)))
                found.append(Mix(count, background, seed, {f"p{n}": float(one) for n, one in enumerate(said)}))
    return found


WORDS = {0.0: fits.COUNT, 1.0: fits.SHARE, 0.5: fits.BETWEEN, 1.6: fits.BEYOND_SHARE, -0.6: fits.BEYOND_COUNT}


@pytest.mark.parametrize(("power", "word"), WORDS.items())
def test_what_decides_is_found(power, word):
    told = fits.count_or_share(mixes(power), draws=150)
    assert told.word == word and told.low < power < told.high
    assert (told.gain > 0) == (power < 0.5) or power == 0.5
    assert told.mixes == 12 and told.runs == 36 and not told.single


def test_mixes_that_are_not_crossed_cannot_tell():
    assert fits.count_or_share(mixes(0.0, backgrounds=(4000,), counts=(25, 50, 100, 200))).word == fits.NOT_CROSSED
    assert fits.count_or_share(mixes(0.0)[:3]).word == fits.NOT_CROSSED


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_mixes_that_all_answer_alike_tell_nothing(share):
    made = [
        Mix(count, background, 0, {f"p{n}": share for n in range(99)}) for count in (4, 16, 64, 256) for background in (256, 1024)
    ]
    told = fits.count_or_share(made, draws=50)
    assert told.word == fits.ALIKE and math.isnan(told.power) and told.low == -math.inf and told.high == math.inf
    one = {**made[0].shares, "p7": 1 - share}  # and one stray answer hardly more
    assert fits.count_or_share([Mix(4, 256, 0, one), *made[1:]], draws=50).word == fits.ALIKE


def test_too_little_data_is_told_as_such():
    told = fits.count_or_share(mixes(0.5, backgrounds=(3000, 4500), counts=(100, 200), seeds=2, slope=0.5), draws=100)
    assert told.word == fits.ALIKE and told.low <= 0 and told.high >= 1
