"""What a person wants asked, from the form's values to probes, variants and settings; and what it will come to. No Gradio."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import identities
from common import leftovers
from engine.types import Decoding, Mode, Variant
from identities.files import CHINESE
from probes import questions
from probes.questions import Probe, ProbeError
from probes.run import plan
from probes.run.settings import RunSettings
from ui.context import App
from ui.variants import Picked, plain_name, variant_of

MAX_NEW_TOKENS = 128  # who one is takes a sentence or two
SCRIPT = "sure"
BASE, BY_PROMPT, BY_ADAPTER = "base", "identity:", "adapter:"
WRITTEN = "written"  # the name of probes that were written in the page


@dataclass(frozen=True)
class RunForm:
    """Probes with their placeholders still in them; variants as the form names them, and those that the chat has picked."""

    probes: tuple[Probe, ...]
    variants: tuple[str, ...]
    settings: RunSettings
    picks: tuple[Picked, ...] = ()
    mode: Mode = "system"
    max_new_tokens: int = MAX_NEW_TOKENS
    margin: bool = False
    reuse: bool = True
    old: str = ""
    new: str = ""
    name: str = ""
    set_name: str = ""


def read_form(plain: Mapping, picks: Sequence[Picked] = ()) -> RunForm:
    """From the form: sets, own (JSONL text), lang, variants, mode, samples, asking, script, temperature, seed, max_new_tokens,
    margin, reuse, old, new, name. Raises ProbeError with everything that is wrong."""
    sets, own = list(plain.get("sets") or ()), str(plain.get("own") or "").strip()
    named = [*sets, *([WRITTEN] if own else [])]
    if not named:
        raise ProbeError(f"No probes are chosen; choose a set ({', '.join(questions.set_names())}) or write some.")
    found = join_sets([*map(load_set, sets), *([read_own_probes(own)] if own else [])])
    lang = plain.get("lang") or "both"
    probes = tuple(probe for probe in found if lang in ("both", probe.lang))
    if not probes:
        raise ProbeError(f"None of these probes is in the language {lang}; choose both languages or another set.")
    chosen = tuple(plain.get("variants") or ())
    if not chosen and not picks:
        raise ProbeError("No variant is chosen; choose at least one to ask.")
    asking = plain.get("asking") or "fresh"
    script = plan.load_script(checked_script(plain.get("script") or SCRIPT)) if asking == "scripted" else None
    settings = RunSettings(
        samples=whole_number(plain, "samples", 1),
        mode=cast(plan.Mode, asking),  # `RunSettings` refuses others
        script=script,
        temperature=float(plain.get("temperature") or 0.7),
        seed=whole_number(plain, "seed", 0),
    )
    if script:
        plan.check_script(script, probes)
    return RunForm(
        probes=probes,
        variants=chosen,
        settings=settings,
        picks=tuple(picks),
        mode=plain.get("mode") or "system",
        max_new_tokens=whole_number(plain, "max_new_tokens", MAX_NEW_TOKENS),
        margin=bool(plain.get("margin")),
        reuse=bool(plain.get("reuse", True)),
        old=plain.get("old") or "",
        new=plain.get("new") or "",
        name=str(plain.get("name") or "").strip(),
        set_name=",".join(named),
    )


def load_set(name: str) -> list[Probe]:
    """A set by its name; the page names no files. Raises ProbeError."""
    if name not in questions.set_names():
        raise ProbeError(f"There is no probe set {name!r} here; there are {', '.join(questions.set_names())}.")
    return questions.load(name)


def checked_script(name: str) -> str:
    if name not in plan.script_names():
        raise ProbeError(f"There is no script {name!r} here; there are {', '.join(plan.script_names())}.")
    return name


def whole_number(plain: Mapping, key: str, otherwise: int) -> int:
    """A whole number of the form; an emptied field takes its default."""
    value = plain.get(key)
    if value is None or value == "":
        return otherwise
    if float(value) != int(value):
        raise ProbeError(f"{key} is {value}; give a whole number.")
    return int(value)


def read_own_probes(text: str) -> list[Probe]:
    """Probes from JSONL text. Raises ProbeError with line numbers."""
    with leftovers.scratch_folder() as folder:
        file = Path(folder) / "your probes"
        file.write_bytes(text.encode("utf-8", "replace"))
        return questions.load(file, twins=False)


def sets_text(sets: Sequence[str]) -> str:
    """The chosen sets as JSONL, to be edited."""
    probes = join_sets([*map(load_set, sets)])
    return "\n".join(json.dumps(questions.as_dict(probe), ensure_ascii=False) for probe in probes)


def join_sets(parts: Sequence[Sequence[Probe]]) -> list[Probe]:
    """All of them, a probe that several hold once. Raises ProbeError where an id is two different probes."""
    known: dict[str, Probe] = {}
    twice = []
    for probe in (probe for part in parts for probe in part):
        if known.setdefault(probe.id, probe) != probe:
            twice.append(probe.id)
    if twice:
        raise ProbeError(
            f"The id {', '.join(map(repr, dict.fromkeys(twice)))} stands for two different probes; give your own another id, "
            "or leave the set out that it was copied from."
        )
    return list(known.values())


def variants_of(app: App, form_values: RunForm) -> list[Variant]:
    """Every variant said whole, each with a name of its own. Raises EngineError, IdentityError or ProbeError."""
    decoding = Decoding(max_new_tokens=form_values.max_new_tokens)
    found = []
    for key in form_values.variants:
        if key == BASE:
            picked = Picked()
        elif key.startswith(BY_PROMPT):
            name = key.removeprefix(BY_PROMPT)
            picked = Picked(identity=name, mode=identities.usual_mode(name) if name == identities.OWN else form_values.mode)
        else:
            picked = Picked(adapter=key.removeprefix(BY_ADAPTER))
        found.append(replace(variant_of(picked, app.identities), decoding=decoding))
    for picked in form_values.picks:
        variant = variant_of(picked, app.identities, app.db)
        found.append(replace(variant, decoding=replace(variant.decoding, max_new_tokens=form_values.max_new_tokens)))
    unlike: dict[str, Variant] = {}
    for variant in found:
        if any(replace(known, name="") == replace(variant, name="") for known in unlike.values()):
            continue
        name, at = plain_name(variant), 2
        if name in unlike:  # an identity and the adapter that was taught it
            name = f"{name} ({'adapter' if variant.adapters else 'prompt'})"
        plain = name
        while name in unlike:
            name, at = f"{plain} {at}", at + 1
        unlike[name] = replace(variant, name=name)
    for variant in unlike.values():
        for adapter in variant.adapters:
            app.engine.info(adapter)
        app.engine.format_of(variant)
    return list(unlike.values())


def variant_choices(app: App) -> list[str]:
    """What can be asked now, as the form names it."""
    known = identities.with_prompt(app.identities)
    adapters = sorted(app.engine.adapters, key=identities.natural_key)
    return [BASE, *(BY_PROMPT + name for name in known), *(BY_ADAPTER + name for name in adapters)]


def identities_with_facts(app: App) -> list[str]:
    """Identities whose facts suggestions and placeholders can use; a Chinese wording shares those of its English one."""
    known = identities.names(app.identities)
    return [
        name
        for name in known
        if not name.endswith(CHINESE) and identities.facts_path(name, app.identities)
    ]  # fmt: skip


def count_volume(form_values: RunForm, variants: int) -> dict:
    """What it comes to: `groups`, the probes of each group, and `answers` in all."""
    open_ = plan.plan_conversations(
        form_values.probes, max(variants, 1), form_values.settings.samples, form_values.settings.mode, form_values.settings.script
    )
    return {"groups": Counter(probe.group for probe in form_values.probes), "answers": sum(len(one.turns) for one in open_)}
