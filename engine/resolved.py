"""A variant as it stands when it is asked, worked out once per request: the adapters that it hears, and its format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine import formats
from engine.adapters import AdapterInfo
from engine.bases import Base
from engine.formats import Format
from engine.types import EngineError, Variant, short_hash

ReplyKey = tuple[tuple[tuple[str, float], ...], str | None, str]  # adapters and strengths, identity, the format's hash


@dataclass(frozen=True)
class Resolved:
    """hashes: what it takes to know that an answer was made by the very same thing."""

    variant: Variant
    format: Format
    heard: Mapping[str, AdapterInfo]
    hashes: dict[str, Any]

    @property
    def reply_key(self) -> ReplyKey:
        """What its first reply, in first-turn mode, depends on."""
        return tuple(sorted(self.variant.adapters.items())), self.variant.prompt, self.hashes["format"]


def resolve(variant: Variant, adapters: Mapping[str, AdapterInfo], base: Base) -> Resolved:
    """adapters: those that are loaded. Raises EngineError if one is missing, or their formats differ."""
    heard = {name: info_of(name, adapters) for name in variant.adapters}
    format = format_of(variant, heard, base)
    hashes = {
        "base": base.hash,
        "dtype": base.number_format,
        "adapters": {name: info.hash for name, info in heard.items()},
        "format": format.hash,
        "identity": short_hash(variant.prompt) if variant.prompt is not None else None,
    }
    return Resolved(replace(variant, name=base.named(variant.name)), format, heard, hashes)


def heard_by(asked: Iterable[Resolved]) -> dict[str, AdapterInfo]:
    """The adapters that any of them hears."""
    return {name: info for one in asked for name, info in one.heard.items()}


def info_of(name: str, adapters: Mapping[str, AdapterInfo]) -> AdapterInfo:
    if name not in adapters:
        raise EngineError(f"Adapter {name!r} is not loaded; there is {', '.join(adapters) or 'none'}.")
    return adapters[name]


def format_of(variant: Variant, adapters: Mapping[str, AdapterInfo], base: Base) -> Format:
    """Its own override, else its adapters' recorded one, else the base's."""
    found = {base.format.name: base.format}
    wanted = set()
    for name, strength in variant.adapters.items():
        info = info_of(name, adapters)
        if strength and info.format:
            wanted.add(info.format)
            if info.own_format:
                found[info.format] = info.own_format
    if variant.format:
        wanted = {variant.format}
    if len(wanted) > 1:
        raise EngineError(
            f"Variant {variant.name!r} blends adapters trained in different formats "
            f"({', '.join(sorted(wanted))}); choose one format for it."
        )
    name = wanted.pop() if wanted else base.format.name
    if name in found:
        return found[name]
    # the checkpoint's own is looked at only where it is asked for: --format is there for one that is no good
    own = formats.from_tokenizer(base.tokenizer) if name == "checkpoint" else None
    return own or formats.get(name)
