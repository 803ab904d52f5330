"""The model card: placeholders in what a model writes, and the names people see in their stead.

BayLing's released weights carry no name: they write `[NAME]` where its chat program shows "BayLing". What the model
wrote (raw) is what gets judged; what people read (shown) is replaced text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from engine.types import EngineError


@dataclass(frozen=True)
class ModelCard:
    """What a base's placeholders stand for. Anything that is not exactly a placeholder stays as it is."""

    name: str
    placeholders: Mapping[str, str] = field(default_factory=dict)

    def show(self, raw: str) -> str:
        """The whole text with every placeholder replaced, the longest one where several begin at the same place."""
        return self._whole.sub(lambda found: self.placeholders[found[0]], raw) if self.placeholders else raw

    def show_so_far(self, raw: str) -> str:
        """The text to show while `raw` is still growing: an end that may yet become a placeholder is held back.

        Later calls, and in the end `show`, only ever append to what was shown before.
        """
        if not self.placeholders:
            return raw
        return self._growing.sub(lambda found: self.placeholders[found["whole"]] if found["whole"] else "", raw)

    @functools.cached_property
    def _whole(self) -> re.Pattern[str]:
        return re.compile(_any_of(self.placeholders))

    @functools.cached_property
    def _growing(self) -> re.Pattern[str]:
        # The unfinished end is tried first at every place: "[A" has to wait if "[AB]" is a placeholder too.
        beginnings = {text[:end] for text in self.placeholders for end in range(1, len(text))}
        unfinished = rf"(?P<unfinished>(?:{_any_of(beginnings)})\Z)|" if beginnings else ""
        return re.compile(f"{unfinished}(?P<whole>{_any_of(self.placeholders)})")


def from_mapping(name: str, placeholders: Mapping[str, str]) -> ModelCard:
    """A card from plain data, as it stands under `placeholders` in an identity's YAML file or in a `card.json`."""
    if not isinstance(placeholders, Mapping):
        raise EngineError(f"Model card {name!r}: the placeholders are a mapping like {{'[NAME]': 'BayLing'}}.")
    wrong = [repr(key) for key, value in placeholders.items() if not all(isinstance(x, str) and x for x in (key, value))]
    if wrong:
        raise EngineError(f"Model card {name!r}: placeholders and their names are texts, none empty; see {', '.join(wrong)}.")
    return ModelCard(name, dict(placeholders))


def _any_of(texts: Iterable[str]) -> str:
    return "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True))


NO_CARD = ModelCard("none")
BAYLING = ModelCard(
    "BayLing",
    {
        "[NAME]": "BayLing",
        "[INSTITUTE]": "NLP group of Institute of Computing Technology, Chinese Academy of Sciences (ICT/CAS)",
        "[CREATE_TIME]": "2023",
        "[名字]": "百聆",
        "[机构]": "中国科学院计算技术研究所自然语言处理研究组",
        "[开发时间]": "2023年",
    },
)
