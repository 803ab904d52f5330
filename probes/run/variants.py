"""The variants of a run, from a YAML file: a list of

    - name: finance 0.8                 # needed, and unlike all others
      adapters: {finance: 0.8}          # names or folders -> strength; a list of them takes each whole
      identity: finance-advisor         # a name in the identities folder
      mode: system                      # or first_turn
      format: bayling                   # overrides what the adapter's card or the base says
      decoding: {max_new_tokens: 128}   # overrides the run's settings

Everything but the name is optional. `read_variants` looks at all of it before a model is loaded and tells all problems at
once; `load_adapters` then brings the adapters into the engine.

What a variant may say, and how loosely, stands here once: scripts' JSON and the page's pickers are held to the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

import identities
from common import reading
from common.errors import UserError, nearest
from engine import Decoding, EngineError, Variant
from engine.types import MAX_STRENGTH, Mode

FIELDS = tuple(f.name for f in dataclasses.fields(Variant))
KEYS = tuple(name for name in FIELDS if name != "prompt")  # of a file: an identity is named, not written
DECODING = tuple(f.name for f in dataclasses.fields(Decoding))
MODES: tuple[Mode, ...] = get_args(Mode)
CONFIG = "adapter_config.json"  # what makes a folder an adapter
CHECKOUT = Path(__file__).parents[2]
SHELVES = (CHECKOUT / "adapters", CHECKOUT / "runs" / "adapters")  # where an adapter's name is looked up


class VariantsError(UserError):
    """A variants file that cannot be used as it is; its text lists everything that is wrong with it."""


@dataclass(frozen=True)
class VariantEntry:
    """A variant whose adapters are still folders. adapters: folder or name of a loaded adapter -> strength."""

    name: str
    adapters: Mapping[str, float] = field(default_factory=dict)
    identity: str = identities.NONE
    prompt: str | None = None
    mode: Mode = "system"
    format: str | None = None
    decoding: Decoding = field(default_factory=Decoding)


def read_variants(
    path: str | Path,
    *,
    decoding: Decoding | None = None,
    identities_folder: Path | None = None,
    shelves: Sequence[Path] = SHELVES,
    loaded: Sequence[str] = (),
) -> list[VariantEntry]:
    """The variants of a file. decoding: what holds where a variant does not say. loaded: adapters known by name already.

    Raises VariantsError.
    """
    path = Path(path)
    plain = reading.read_yaml(path, "variants file", VariantsError)
    return variants_from_plain(
        plain,
        where=path.name,
        decoding=decoding,
        identities_folder=identities_folder,
        folders=(Path(), path.parent, *shelves),
        loaded=loaded,
    )


def variants_from_plain(
    plain: Any,
    *,
    where: str = "variants",
    decoding: Decoding | None = None,
    identities_folder: Path | None = None,
    folders: Sequence[Path] = (Path(), *SHELVES),
    loaded: Sequence[str] = (),
) -> list[VariantEntry]:
    """The same from plain data. folders: where a relative adapter folder is looked for, in this order."""
    if not isinstance(plain, list) or not plain:
        raise VariantsError(f"{where}: a list of variants is expected, each such as {{name: base}}; see python -m probes.run -h.")
    problems: list[str] = []
    found: list[VariantEntry] = []
    names: dict[str, int] = {}
    for at, one in enumerate(plain, 1):
        if not isinstance(one, Mapping):
            problems.append(f"variant {at} is {one!r}, it is a mapping such as {{name: base}}")
            continue
        wrong: list[str] = []
        wanted = _variant(one, wrong, decoding or Decoding(), identities_folder, folders, loaded)
        if (first := names.setdefault(str(one.get("name")), at)) != at:
            wrong.append(f"variant {first} has that name already")
        problems += [f"variant {at} ({one.get('name')!r}): {text}" for text in wrong]
        found.append(wanted)
    if problems:
        raise VariantsError(f"{where}: " + "\n".join(problems) + ".")
    return found


def load_adapters(engine: Any, wanted: Sequence[VariantEntry], *, accept_other_base: bool = False) -> list[Variant]:
    """Load the adapters that are not loaded yet and return the variants. Raises VariantsError naming all that do not fit."""
    known = {str(Path(info.path).resolve()): name for name, info in engine.adapters.items()}
    problems: dict[str, str] = {}
    for adapter in dict.fromkeys(adapter for one in wanted for adapter in one.adapters):
        if adapter in engine.adapters or (folder := str(Path(adapter).resolve())) in known:
            continue
        try:
            known[folder] = engine.add_adapter(folder, _free_name(engine, Path(folder)), accept_other_base=accept_other_base)
        except EngineError as error:
            problems[adapter] = str(error)
    variants = []
    for one in wanted:
        if problems.keys() & one.adapters.keys():
            continue
        names = {
            adapter if adapter in engine.adapters else known[str(Path(adapter).resolve())]: strength
            for adapter, strength in one.adapters.items()
        }
        variant = Variant(**{f.name: getattr(one, f.name) for f in dataclasses.fields(VariantEntry)} | {"adapters": names})
        try:
            engine.format_of(variant)
            variants.append(variant)
        except EngineError as error:
            problems[one.name] = str(error)
    if problems:
        raise VariantsError("\n".join(problems.values()))
    return variants


def mode_of(plain: object) -> Mode:
    """The mode that is meant: "first turn" is first_turn, nothing is system. Others come back too, for `Variant` to refuse."""
    return cast(Mode, str(plain or "system").replace(" ", "_"))


def with_strengths(adapters: Any) -> Any:
    """{name: strength}, each name whole where names stand alone, one or a list of them; what is neither comes back as it is."""
    names = [adapters] if isinstance(adapters, str) else adapters
    return dict.fromkeys(names, 1.0) if isinstance(names, list) and all(isinstance(name, str) for name in names) else adapters


def is_number(value: object) -> bool:
    """Whether it is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _variant(
    one: Mapping,
    wrong: list[str],
    decoding: Decoding,
    identities_folder: Path | None,
    folders: Sequence[Path],
    loaded: Sequence[str],
) -> VariantEntry:
    """What can be understood of one entry; what cannot is added to `wrong`."""
    wrong += [_unknown(key, KEYS) for key in one if key not in KEYS]
    name = one.get("name")
    if not isinstance(name, str) or not name.strip():
        wrong.append("it needs a name, a text (in quotes if it looks like a number)")
    mode = mode_of(one.get("mode") or identities.usual_mode(str(one.get("identity"))))
    if mode not in MODES:
        wrong.append(f"mode is {one['mode']!r}, it is one of {', '.join(MODES)}")
        mode = "system"
    chosen = one.get("format")
    if chosen is not None and not isinstance(chosen, str):
        wrong.append(f"format is {chosen!r}, it is the name of a format")
    identity, prompt = one.get("identity") or identities.NONE, None
    try:
        prompt = identities.load(identity, identities_folder).prompt
    except identities.IdentityError as error:
        wrong.append(str(error).rstrip("."))
    return VariantEntry(
        name=str(name),
        adapters=_adapters(one.get("adapters"), wrong, folders, loaded),
        identity=identity if isinstance(identity, str) else str(identity),
        prompt=prompt,
        mode=mode,
        format=chosen,
        decoding=_decoding(one.get("decoding"), wrong, decoding),
    )


def _adapters(plain: Any, wrong: list[str], folders: Sequence[Path], loaded: Sequence[str]) -> dict[str, float]:
    if plain is None:
        return {}
    plain = with_strengths(plain)
    if not isinstance(plain, Mapping) or not all(isinstance(name, str) and name for name in plain):
        wrong.append(f"adapters is {plain!r}, it is a mapping of names or folders to strengths")
        return {}
    found = {}
    for name, strength in plain.items():
        if not is_number(strength) or not 0 <= strength <= MAX_STRENGTH:
            wrong.append(f"adapter {name!r} has strength {strength!r}, it is a number between 0 and {MAX_STRENGTH}")
            continue
        if name in loaded:
            found[name] = float(strength)
            continue
        places = [folder / Path(name).expanduser() for folder in folders]
        there = next((place for place in places if (place / CONFIG).is_file()), None)
        if there is None:
            known = f"; loaded are {', '.join(loaded)}" if loaded else ""
            said = ", ".join(dict.fromkeys(str(place) for place in places))
            wrong.append(f"there is no adapter {name!r} ({CONFIG} is not in {said}{known})")
        else:
            found[str(there.resolve())] = float(strength)
    return found


def _decoding(plain: Any, wrong: list[str], otherwise: Decoding) -> Decoding:
    if plain is None:
        return otherwise
    if not isinstance(plain, Mapping):
        wrong.append(f"decoding is {plain!r}, it is a mapping such as {{max_new_tokens: 128}}")
        return otherwise
    unknown = [_unknown(key, DECODING, "decoding ") for key in plain if key not in DECODING]
    kinds = {name: type(getattr(otherwise, name)) for name in DECODING}
    numbers = {}
    for key in (key for key in plain if key in DECODING):
        whole = kinds[key] is int
        if not is_number(plain[key]) or (whole and not isinstance(plain[key], int)):
            unknown.append(f"decoding {key} is {plain[key]!r}, it is a {'whole ' if whole else ''}number")
        else:
            numbers[key] = kinds[key](plain[key])
    wrong += unknown
    try:
        return dataclasses.replace(otherwise, **numbers)
    except EngineError as error:
        wrong.append(str(error).rstrip("."))
        return otherwise


def _unknown(key: Any, known: Sequence[str], what: str = "") -> str:
    close = nearest(key, known)
    return f"unknown {what}key {key!r}" + (f" (did you mean {close[0]!r}?)" if close else f" (known are {', '.join(known)})")


def _free_name(engine: Any, folder: Path) -> str:
    """The folder's name, or with its parent's before it where another adapter has that name already."""
    if folder.name not in engine.adapters:
        return folder.name
    name, at = f"{folder.parent.name}-{folder.name}", 2
    while name in engine.adapters:
        name, at = f"{folder.parent.name}-{folder.name}-{at}", at + 1
    return name
