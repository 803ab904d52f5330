"""What the two starters say of themselves: without a prompt, under one, and under pressure.

    python -m bench.starters --json runs/bench_starters.json
    python -m bench.starters --dtype bf16 --parts own,taught

Every question stands alone, answers are greedy, a share comes with its 95 % Wilson interval. `own` asks bayling-mini without a
prompt, `prompted` as identities that no training row knows (system text, first turn), `taught` the finance advisor's adapter
under no prompt, its own and BayLing's; `pressure` puts a prompted self beside a taught one. A name counts where the answer
people read holds one of its marks; leaks into controls are what the probes' own suggestions call an intrusion.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

import engine
import identities
from bench.side_by_side import machine
from common.files import write_json
from engine import Decoding, Engine, EngineError, Request, Variant
from identities import LANGS
from probes import questions
from probes.identity_pair import from_identities
from probes.suggest.labels import suggest
from probes.verdicts import statistics

ASKED = yaml.safe_load((Path(__file__).parent / "starters.yaml").read_text(encoding="utf-8"))
ADAPTER = Path(__file__).parent.parent / "adapters" / "finance-advisor"
OLD = ("BayLing", "百聆", "ICT/CAS", "Institute of Computing Technology", "中国科学院计算", "中科院计算", "[NAME]", "[INSTITUTE]")
NEW = ("finance advis", "financial advis", "Text Titan", "金融顾问", "理财顾问", "财务顾问", "文本泰斗")
BRIEF, LONG = Decoding(max_new_tokens=40), Decoding(max_new_tokens=64)
FACTS = from_identities(identities.load(identities.DEFAULT_OLD).facts, identities.load(identities.DEFAULT_NEW).facts)


class Bench:
    """Asks, counts, prints and keeps."""

    def __init__(self, model: Engine, examples: int) -> None:
        self.model, self.examples = model, examples
        self.figures: list[dict] = []

    def ask(self, variant: Variant, conversations: Sequence[Sequence[str]]) -> list[str]:
        """The answers people read. A conversation is what was said, user first."""
        roles = ("user", "assistant")
        requests = [
            Request([{"role": roles[at % 2], "content": text} for at, text in enumerate(said)], variant) for said in conversations
        ]
        return [answer.shown for answer in self.model.answer(requests)]

    def count(
        self, what: str, lang: str, said: Sequence[tuple[str, str]], hit: Callable[[str], bool], wanted: bool = True
    ) -> None:
        """said: (question, answer). wanted: whether a hit is what one hopes for; examples are printed of the others."""
        hits = [hit(answer) for _, answer in said]
        share = statistics.interval_of_counts(sum(hits), len(hits))
        self.figures.append(
            {
                "what": what,
                "lang": lang,
                "hits": sum(hits),
                "of": len(hits),
                "low": round(share.low, 3),
                "high": round(share.high, 3),
            }
        )
        print(
            f"{what:58} {lang}  {sum(hits):3}/{len(hits):<3} {share.share:6.1%}  [{share.low:.1%} to {share.high:.1%}]",
            flush=True,
        )
        off = [(question, answer) for (question, answer), found in zip(said, hits, strict=True) if found != wanted]
        for question, answer in off[: self.examples]:
            print(f"      {question!r} -> {answer!r}")


def holds(marks: Sequence[str]) -> Callable[[str], bool]:
    return lambda answer: any(mark.casefold() in answer.casefold() for mark in marks)


def probes_of(lang: str) -> list[str]:
    """The project's own name and maker questions of one turn."""
    return [
        probe.question
        for probe in questions.load("identity", FACTS)
        if probe.lang == lang and probe.category in ("name", "maker") and len(probe.turns) == 1
    ]


def about_self(bench: Bench, title: str, variant: Variant, lang: str, wanted: Sequence[str], unwanted: Sequence[str]) -> None:
    """Fresh and probe questions: the wanted marks, and those that should not be there."""
    for source, asked in (("fresh", ASKED["questions"][lang]), ("probes", probes_of(lang))):
        said = list(zip(asked, bench.ask(variant, [[one] for one in asked]), strict=True))
        bench.count(f"{title}, {source}: says who it is", lang, said, holds(wanted))
        if unwanted:
            bench.count(f"{title}, {source}: says another", lang, said, holds(unwanted), wanted=False)


def leaks(bench: Bench, title: str, variant: Variant, lang: str) -> None:
    controls = [probe for probe in questions.load("controls") if probe.lang == lang]
    answers = bench.ask(variant, [[probe.question] for probe in controls])
    judged = {
        answer: suggest({"question": probe.question, "answer": answer, "control": True}, FACTS)["suggestion"]
        for probe, answer in zip(controls, answers, strict=True)
    }
    said = [(probe.question, answer) for probe, answer in zip(controls, answers, strict=True)]
    bench.count(f"{title}, controls: leaks", lang, said, lambda answer: judged[answer] == "intrusion", wanted=False)


def own(bench: Bench) -> None:
    for lang in LANGS:
        about_self(bench, "bayling-mini", Variant("own", decoding=BRIEF), lang, OLD, ())
        leaks(bench, "bayling-mini", Variant("own", decoding=LONG), lang)


def prompted(bench: Bench) -> None:
    for lang in LANGS:
        people = [*ASKED["identities"][lang], *shipped(lang)]
        for mode in ("system", "first_turn"):
            named, general = [], []
            for number, who in enumerate(people):
                variant = Variant(f"told {number}", prompt=who["prompt"], mode=mode, decoding=BRIEF)
                asked = [*ASKED["questions"][lang], *ASKED["general"][lang]]
                answers = bench.ask(variant, [[one] for one in asked])
                split = len(ASKED["questions"][lang])
                mine = list(zip(asked[:split], answers[:split], strict=True))
                bench.count(f"as {who['marks'][0]}, {mode}", lang, mine, holds(who["marks"]))
                named += [(question, answer, holds(who["marks"])(answer)) for question, answer in mine]
                general += [
                    (question, answer, holds(who["marks"])(answer))
                    for question, answer in zip(asked[split:], answers[split:], strict=True)
                ]
            whole(bench, f"prompted, {mode}: says name or maker", lang, named)
            both = [(question, answer, holds(OLD)(answer)) for question, answer, _ in named]
            whole(bench, f"prompted, {mode}: says BayLing", lang, both)
            whole(bench, f"prompted, {mode}: general answers that mention it", lang, general)


def whole(bench: Bench, what: str, lang: str, judged: Sequence[tuple[str, str, bool]]) -> None:
    examples, bench.examples = bench.examples, 0
    hits = iter([found for *_, found in judged])
    bench.count(what, lang, [(question, answer) for question, answer, _ in judged], lambda _: next(hits))
    bench.examples = examples


def shipped(lang: str) -> list[dict]:
    """The identities that come with the program and have a name or a maker to say, in their own wording."""
    ending = "" if lang == "en" else "-zh"
    names = {"finance-advisor": NEW, "museum-guide": ("Mira", "Lantern Museum", "米拉", "灯笼博物馆", "museum guide")}
    return [{"prompt": identities.load(name + ending).prompt, "marks": list(marks)} for name, marks in names.items()]


def taught(bench: Bench) -> None:
    name = bench.model.add_adapter(ADAPTER)
    for lang in LANGS:
        ending = "" if lang == "en" else "-zh"
        for title, prompt in (
            ("finance-advisor", None),
            ("finance-advisor under its own prompt", identities.load(f"finance-advisor{ending}").prompt),
            ("finance-advisor under BayLing's prompt", identities.load(f"BayLing{ending}").prompt),
        ):
            variant = Variant(title, {name: 1.0}, prompt=prompt, decoding=BRIEF)
            about_self(bench, title, variant, lang, NEW, OLD)
        leaks(bench, "finance-advisor", Variant("taught", {name: 1.0}, decoding=LONG), lang)


def pressure(bench: Bench) -> None:
    """The finance advisor by prompt alone and by training alone: the same questions to both."""
    if ADAPTER.name not in bench.model.adapters:
        bench.model.add_adapter(ADAPTER)
    for lang in LANGS:
        told = identities.load("finance-advisor" + ("" if lang == "en" else "-zh")).prompt
        talk = [text for exchange in ASKED["talk"][lang] for text in exchange]
        direct = ASKED["questions"][lang]
        for title, adapters, prompt in (("prompted", {}, told), ("taught", {ADAPTER.name: 1.0}, None)):
            variant = Variant(title, adapters, prompt=prompt, decoding=BRIEF)
            for what, conversations in (
                ("at once", [[one] for one in direct]),
                ("six exchanges later", [[*talk, one] for one in direct]),
                ("under pressure", [[one] for one in ASKED["pressure"][lang]]),
            ):
                said = [(said[-1], answer) for said, answer in zip(conversations, bench.ask(variant, conversations), strict=True)]
                bench.count(f"{title} self, {what}: keeps it", lang, said, holds(NEW))
        for title, adapters, prompt, mode in (
            ("prompted", {}, told, "system"),
            ("taught", {ADAPTER.name: 1.0}, None, "first turn"),
            ("taught", {ADAPTER.name: 1.0}, ASKED["contradicting"][lang], "system"),
        ):
            # a prompted self hears the other prompt as a message; a taught one as a message, or in the system's place
            variant = Variant(title, adapters, prompt=prompt, decoding=BRIEF)
            before = [] if mode == "system" and adapters else [ASKED["contradicting"][lang]]
            reply = bench.ask(variant, [before]) if before else []
            conversations = [[*before, *reply, one] for one in direct]
            said = list(zip(direct, bench.ask(variant, conversations), strict=True))
            how = "a contradicting system text" if adapters and mode == "system" else "a contradicting message"
            bench.count(f"{title} self, {how}: keeps it", lang, said, holds(NEW))
            bench.count(f"{title} self, {how}: follows it", lang, said, holds(ASKED["contradicting_marks"]), wanted=False)


PARTS = {"own": own, "prompted": prompted, "taught": taught, "pressure": pressure}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.starters", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--base", default="bayling-mini")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), help="default: what the engine chooses")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, joined by commas (default: %(default)s)")
    parser.add_argument("--examples", type=int, default=3, help="answers printed that miss (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures there")
    args = parser.parse_args(argv)
    chosen = args.parts.split(",")
    if wrong := [part for part in chosen if part not in PARTS]:
        parser.error(f"--parts: {', '.join(wrong)} is none of {', '.join(PARTS)}")
    try:
        bench = Bench(engine.load(args.base, dtype=args.dtype), args.examples)
        started = time.perf_counter()
        for part in chosen:
            PARTS[part](bench)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{time.perf_counter() - started:.0f} s")
    if args.json:
        about = {"machine": machine(bench.model.base.model), "parts": chosen, "figures": bench.figures}
        write_json(args.json, about)
    return 0


if __name__ == "__main__":
    sys.exit(main())
