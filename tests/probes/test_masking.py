"""What blind labelling hides in the text itself."""

from __future__ import annotations

import pytest

from probes import identity_pair
from probes.suggest.masking import MASK, mask_names

PAIR = identity_pair.from_mapping(
    {
        "old": {"name": ["BayLing", "百聆"], "maker": ["NLP Group of ICT/CAS"], "aliases": ["Bay Ling"]},
        "new": {"name": ["finance advisor", "金融顾问"], "maker": ["Text Titan", "文本泰斗"], "role": ["finance"]},
    }
)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("I am BayLing, by the NLP group of ICT/CAS.", f"I am {MASK}, by the {MASK}."),
        ("我是百聆，不是金融顾问。", f"我是{MASK}，不是{MASK}。"),
        ("TEXT-TITAN made [NAME] and [机构].", f"{MASK} made {MASK} and {MASK}."),
        ("A finance  advisor answers on finance.", f"A {MASK} answers on finance."),
        ("Baylingham is a town.", "Baylingham is a town."),
        ("我叫BayLing。", f"我叫{MASK}。"),
    ],
)
def test_names_of_both_identities_look_the_same(text, hidden):
    assert mask_names(text, PAIR) == hidden
