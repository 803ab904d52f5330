"""Figures of an experiment as a person reads them, in the page's language."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from probes.report import wording
from ui.words import say

CLASS = {"waiting": "wait", "done": "done", "failed": "bad", "died": "bad", "stopped": "over"}


def size(amount: int | None) -> str:
    """Bytes as MiB or GiB; "" for none."""
    if not amount:
        return ""
    return f"{amount / 2**30:.1f} GiB" if amount >= 2**30 else f"{max(1, round(amount / 2**20))} MiB"


def chip(lang: str, status: str) -> str:
    """A state as a small box: of an experiment, or of a cell."""
    kind = CLASS.get(status, "busy")
    return f'<span class="mt-state mt-state-{kind}">{escape(say(lang, f"xp_status_{status}"))}</span>'


def share(lang: str, of: Mapping[str, Any]) -> str:
    """A share with its 95 % interval as HTML; a dash where nothing was asked."""
    if of["share"] is None:
        return '<span class="xp-none">–</span>'
    low, high = round(100 * of["low"]), round(100 * of["high"])
    title = escape(say(lang, "pb_interval", share=round(100 * of["share"]), low=low, high=high, probes=of["probes"]))
    return f'<span class="xp-share" title="{title}"><b>{round(100 * of["share"])} %</b> <span>{low}–{high}</span></span>'


def arm(lang: str, label: str) -> str:
    """An arm that has no name of its own is called by its length."""
    number, _, unit = label.partition(" ")
    return say(lang, f"xp_arm_{unit}", number=number) if unit in ("steps", "epochs") else label


def language(lang: str, of: str) -> str:
    return wording.language(lang[:2], of)


def verdict(lang: str, word: str) -> str:
    return wording.term(lang[:2], word)
