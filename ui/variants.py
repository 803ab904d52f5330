"""From what a column's pickers say to a `Variant`, and from a variant to words. No Gradio, no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import identities
from engine.types import Decoding, EngineError, Mode, Variant
from probes.run.variants import DECODING, FIELDS, with_strengths
from store import identity_versions
from ui.words import say

NO_IDENTITY = identities.NONE
NO_ADAPTER = ""
AS_RECORDED = ""
VERSION = "@"


@dataclass(frozen=True)
class Picked:
    """What one column's pickers say, in the order in which they stand on the page."""

    adapter: str = NO_ADAPTER
    strength: float = 1.0
    identity: str = NO_IDENTITY
    mode: Mode = "system"
    second: str = NO_ADAPTER
    second_strength: float = 0.5
    format: str = AS_RECORDED
    max_new_tokens: int = 160
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int = 0

    @classmethod
    def read(cls, values: list | tuple) -> Picked:
        """From the pickers' values; a field that was emptied takes its default."""
        read: dict[str, Any] = {}
        for known, value in zip(fields(cls), values, strict=True):
            usual: Any = known.default
            read[known.name] = usual if value is None else type(usual)(value)
        return cls(**read)


def read_mode(text: str) -> Mode:
    """`first turn` or `first_turn`; what is none is refused by the Variant."""
    return cast(Mode, text.replace(" ", "_"))


def decoding_of(picked: Picked) -> Decoding:
    return Decoding(**{name: getattr(picked, name) for name in DECODING})


def version_name(name: str, hash: str) -> str:
    """What an earlier text of an identity is picked by; no identity is called so."""
    return f"{name}{VERSION}{hash}"


def prompt_of(identity: str, identities_folder: Path | None = None, db: Path | None = None) -> str | None:
    """The prompt of an identity as it stands now, or of one of its versions. Raises IdentityError or StoreError."""
    name, at, hash = identity.partition(VERSION)
    if not at or db is None:
        return identities.load(identity, identities_folder).prompt
    version = identity_versions.find(db, name, hash)
    if version is None:
        raise identities.IdentityError(f"There is no version {hash} of {name!r} any more; choose another one.")
    return identities.from_line(version.text.partition("\n")[0]) or None


def variant_of(picked: Picked, identities_folder: Path | None = None, db: Path | None = None) -> Variant:
    """db: where versions of identities are kept. Raises EngineError, IdentityError or StoreError, one sentence each."""
    adapters = {picked.adapter: picked.strength} if picked.adapter else {}
    if picked.second and picked.second == picked.adapter:
        raise EngineError(f"The blend names {picked.second!r} twice; choose another second adapter or none.")
    if picked.second:
        adapters[picked.second] = picked.second_strength
    prompt = None if picked.identity == NO_IDENTITY else prompt_of(picked.identity, identities_folder, db)
    variant = Variant(
        adapters=adapters,
        identity=picked.identity,
        prompt=prompt,
        mode=picked.mode,
        format=picked.format or None,
        decoding=decoding_of(picked),
    )
    return replace(variant, name=plain_name(variant))


def plain_name(variant: Variant) -> str:
    """The name that is stored beside an answer, the same in both languages: `finance 0.8 + guide (first turn)`."""
    who = " + ".join(adapter if strength == 1 else f"{adapter} {strength:g}" for adapter, strength in variant.adapters.items())
    if variant.prompt is None:
        return who or "base"
    identity = variant.identity + (" (first turn)" if variant.mode == "first_turn" else "")
    return f"{who} + {identity}" if who else identity


def headline(lang: str, variant: Variant) -> tuple[str, str]:
    """Who answers, in words: (main line, second line; "" if there is nothing more to say)."""
    who = " + ".join(
        adapter if strength == 1 else say(lang, "at_strength", adapter=adapter, strength=f"{strength:g}")
        for adapter, strength in variant.adapters.items()
    )
    main = who or say(lang, "base")
    if variant.prompt is None:
        return main, say(lang, "as_adapter") if who else say(lang, "as_base")
    asked = say(lang, "as_first_turn" if variant.mode == "first_turn" else "as_system")
    if not who:
        return variant.identity, asked
    return f"{main} · {variant.identity}", asked


def odd_decoding(lang: str, decoding: Decoding) -> str:
    """Every way in which decoding differs from plain greedy, "" for none."""
    said = []
    if decoding.temperature:
        said.append(say(lang, "sampled", temperature=f"{decoding.temperature:g}", seed=decoding.seed))
        if decoding.top_p < 1:
            said.append(f"top-p {decoding.top_p:g}")
        if decoding.top_k:
            said.append(f"top-k {decoding.top_k}")
    if decoding.repetition_penalty != 1:
        said.append(say(lang, "penalised", penalty=f"{decoding.repetition_penalty:g}"))
    return ", ".join(said)


def differs(one: Variant, other: Variant) -> bool:
    """Whether two variants may answer differently; an identity's text counts, its name does not.

    What greedy decoding ignores (seed, top-p, top-k) and the mode of no identity are left out.
    """

    def essence(variant: Variant) -> tuple:
        decoding = variant.decoding
        if not decoding.temperature:
            decoding = replace(decoding, seed=0, top_p=1.0, top_k=0)
        mode = variant.mode if variant.prompt is not None else None
        heard = {adapter: strength for adapter, strength in variant.adapters.items() if strength}
        return heard, variant.prompt, mode, variant.format, decoding

    return essence(one) != essence(other)


def from_plain(plain: Mapping, identities_folder: Path | None = None, db: Path | None = None) -> Variant:
    """A variant from the JSON of a script: like `Variant.as_dict`, everything optional, `identity` a name to be read, or one of
    its versions (`version_name`).

    `adapters` may be a list of names (strength 1) and `mode` may say "first turn".
    """
    if unknown := sorted(set(plain) - set(FIELDS)):
        raise EngineError(f"A variant has no {', '.join(map(repr, unknown))}; it has {', '.join(sorted(FIELDS))}.")
    adapters = with_strengths(plain.get("adapters") or {})
    decoding = plain.get("decoding") or {}
    if unknown := sorted(set(decoding) - set(DECODING)):
        raise EngineError(f"Decoding has no {', '.join(map(repr, unknown))}; it has {', '.join(DECODING)}.")
    identity, prompt = plain.get("identity") or NO_IDENTITY, plain.get("prompt")
    if prompt is None and identity != NO_IDENTITY:
        prompt = prompt_of(identity, identities_folder, db)
    variant = Variant(
        adapters={name: float(strength) for name, strength in adapters.items()},
        identity=identity if identity != NO_IDENTITY or prompt is None else "unnamed",
        prompt=prompt,
        mode=read_mode(plain.get("mode") or identities.usual_mode(identity)),
        format=plain.get("format") or None,
        decoding=Decoding(**decoding),
    )
    return replace(variant, name=plain.get("name") or plain_name(variant))
