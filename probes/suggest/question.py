"""What a question asks, as far as judging its answer needs it.

A bare "Yes." or "Text Titan." says something only together with its question: whether it was put to the model itself,
after which aspect it asked, and - for yes/no questions - what it proposed ("Are you BayLing?" proposes "I am BayLing").
The phrases are data, under `asked` in `language/*.yaml`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from probes.suggest import lexicon
from probes.suggest.text import read_text

_SLOTS = (
    ("who", "be"),
    ("kind", "be"),
    ("maker", "maker"),
    ("name", "name"),
    ("role", "role"),
)  # the first that is asked for counts


@dataclass(frozen=True)
class ParsedQuestion:
    """`about_self`: the question is put to the model about itself; `slot`: what a bare answer would name.

    `proposal` is the first-person statement a "yes" would agree with, empty where the question is not of that kind;
    `negative`: it asks "aren't you ...", so that a bare yes or no is uncertain; `writing`: it asks for a text.
    """

    about_self: bool
    slot: str
    proposal: str
    negative: bool
    translation: bool
    writing: bool
    plain: str


@lru_cache(maxsize=4096)
def parse_question(question: str) -> ParsedQuestion:
    reading = read_text(question)
    plain, phrases = reading.plain, lexicon.question_phrases()

    def asks(key: str) -> bool:
        return bool(phrases[key].search(plain))

    translation = asks("translation")
    proposal = ""
    if asks("yes_no") and not (translation or asks("wh") or asks("choice")):
        proposal = reading.cased
        for pattern, new in lexicon.first_person():
            proposal = pattern.sub(new, proposal)
    return ParsedQuestion(
        about_self=asks("you") and not translation,
        slot=next((slot for key, slot in _SLOTS if asks(key)), "any"),
        proposal=proposal,
        negative=asks("negative"),
        translation=translation,
        writing=asks("writing"),
        plain=plain,
    )
