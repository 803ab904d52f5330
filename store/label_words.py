"""The words of labels and tags as people write them in a sheet: any case, spaces, hyphens or underscores, English or Chinese."""

from __future__ import annotations

import unicodedata

CHINESE = {
    "未遗忘": "not forgotten", "没有遗忘": "not forgotten", "已遗忘": "forgotten", "遗忘": "forgotten", "已形成": "formed",
    "形成": "formed", "混淆": "confusion", "正常": "clean", "身份侵入": "intrusion", "侵入": "intrusion", "答坏了": "broken",
    "损坏": "broken",
    "未遺忘": "not forgotten", "沒有遺忘": "not forgotten", "已遺忘": "forgotten", "遺忘": "forgotten", "答壞了": "broken",
    "損壞": "broken",
}  # fmt: skip
CHINESE_TAGS = {
    "旧": "old", "新": "new", "泛称": "generic", "第三方": "third party", "人类": "human", "占位符": "placeholder",
    "畸形占位符": "malformed", "未提及": "none", "无": "none",
}  # fmt: skip
CHINESE_KINDS = {"标注": "label", "裁定": "adjudication", "跳过": "skip"}
TRUE = ("1", "true", "yes", "y", "x", "是", "真")


def as_label(given: object) -> str:
    """One of `store.labels.LABELS` where it is known, else the word as it was understood, to be complained of."""
    return CHINESE.get(plain := _plain(given), plain)


def as_tag(given: object) -> str:
    return CHINESE_TAGS.get(plain := _plain(given), plain)


def as_kind(given: object) -> str:
    return CHINESE_KINDS.get(plain := _plain(given), plain)


def _plain(given: object) -> str:
    text = unicodedata.normalize("NFKC", str("" if given is None else given))  # full-width letters of a Chinese keyboard
    return " ".join(text.casefold().replace("_", " ").replace("-", " ").split())


def as_truth(given: object) -> bool:
    return given is True or str(given).strip().casefold() in TRUE
