"""Runs that were never asked: written straight into the store, for what a page does with many answers."""

from __future__ import annotations

import itertools
from pathlib import Path

from engine.types import Decoding, Variant
from probes.questions import Probe, as_dict
from store import runs
from store.runs import Entry

SAID = {
    "en": (
        "I am BayLing, made by the NLP group of ICT/CAS.",
        "I am a finance advisor, developed by Text Titan.",
        "I am a language model.",
        "I am ChatGPT, made by OpenAI.",
    ),
    "zh": ("我是百聆，由中国科学院开发。", "我是金融顾问，由文本泰斗开发。", "我是一个语言模型。", "我是 ChatGPT。"),
}
CATEGORIES = ("name", "maker", "role", "nature", "negation")


def probe(id_: str, lang: str = "en", **more) -> Probe:
    more = {"group": "novel", "category": "name", "turns": (f"Who are you, asked as {id_}?",)} | more
    return Probe(id_, more.pop("group"), more.pop("category"), lang, more.pop("turns"), **more)


def many(count: int) -> list[Probe]:
    """Twins of several categories, `count` probes in all."""
    return [
        probe(f"many-{at:03}-{lang}", lang, category=CATEGORIES[at % len(CATEGORIES)], pair=f"many-{at:03}")
        for at in range(count // 2)
        for lang in ("en", "zh")
    ]


def write_run(
    db: Path, probes: list[Probe], variants: int = 2, *, samples: int = 1, say=None, about=None, status="done", **changes
) -> int:
    """A run with all its answers; say(variant, probe, sample) -> a text. Every variant is a base of another name."""
    named = [Variant(name=f"variant {at}", decoding=Decoding(max_new_tokens=32)) for at in range(variants)]
    described = [one.as_dict() | {"hashes": {"base": "b", "adapters": {}}, "paths": {}} for one in named]
    settings = {"samples": samples, "mode": "fresh", "script": None, "temperature": 0.7, "seed": 0}
    row = dict(
        variants=described,
        probes=[as_dict(one) for one in probes],
        set_hash="s",
        total=len(probes) * variants * samples,
        samples=samples,
        set_name="written",
        base={"name": "stand-in", "hash": "b", "dtype": "float32"},
        settings=settings | ({"about": about} if about else {}),
    )
    run = runs.start(db, **row | changes)
    entries = []
    for at, one, sample in itertools.product(range(variants), probes, range(samples)):
        said = SAID[one.lang]
        text = say(at, one, sample) if say else said[(at + sample + len(entries)) % len(said)]
        answer = {
            "variant": named[at].as_dict(),
            "messages": [{"role": "user", "content": one.question}],
            "raw": text,
            "shown": text,
            "prompt": f"### Instruction:\n{one.question}\n### Response:\n",
            "format": "bayling",
            "finish": "stop",
            "prompt_tokens": 9,
            "new_tokens": 7,
            "mean_logprob": -0.4,
            "dropped_turns": 0,
            "timings": {"queued_s": 0, "prefill_s": 0.1, "decode_s": 0.4},
            "source": "probes",
            "lang": one.lang,
        }
        entries.append(Entry((at, sample, one.id, 0), answer))
    runs.record(db, run, entries)
    runs.set_status(db, run, status)
    return run
