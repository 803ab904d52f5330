"""Ask a probe set of several variants: python -m probes.run --variants FILE --set identity,controls --out answers.jsonl

The variants file is YAML, a list of {name, adapters: {NAME or folder: strength}, identity, mode: system|first_turn, format,
decoding}; everything but the name is optional. Answers go to the database as they come, so a run that was stopped or
killed goes on with --resume, and the same command given again takes what was answered before from there.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import identities
from common import ending, files
from common.errors import UserError
from engine import Decoding, Engine, EngineError, load
from engine.bases import DEFAULT_BASE
from identities import LANGS
from probes import identity_pair, margin, questions
from probes.identity_pair import FactPair
from probes.run import launch, margins, plan, rows as answer_rows, runner, variants as variants_file
from probes.run.launch import ReadyRun
from probes.run.settings import RunProgress, RunSettings, Switches
from store import StoreError, runs

CHECKOUT = Path(__file__).parents[2]
MAX_NEW_TOKENS = 128  # who one is takes a sentence or two; a ramble need not be followed to its end
TOLD_S = 10.0  # between two lines of progress where there is no terminal


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m probes.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    say = options.add_argument
    say("--base", help=f"{DEFAULT_BASE}, smollm2, a folder, a .gguf file or a Hub id (default: {DEFAULT_BASE})")
    say("--variants", type=Path, metavar="FILE", help="YAML; without it the base alone is asked")
    say("--set", default="quick", metavar="NAMES|FILE", help=f"{', '.join(questions.set_names())}, joined by comma, or a file")
    say("--lang", choices=questions.LANGS, help="only this language")
    say("--limit", type=int, metavar="N", help="only the first N probes (per language)")
    say("--mode", choices=plan.MODES, default="fresh", help="fresh: one conversation per probe; running: one per language")
    say("--script", metavar="NAME|FILE", help=f"what is said around a probe (--mode scripted): {', '.join(plan.script_names())}")
    say("--samples", type=int, default=1, help="answers per probe and variant: the first greedy, the others sampled")
    say("--temperature", type=float, default=0.7, help="of the samples after the first (default: %(default)s)")
    say("--seed", type=int, default=0, help="the samples' seeds are made from it")
    say("--max-new-tokens", type=int, default=MAX_NEW_TOKENS, help="where a variant does not say (default: %(default)s)")
    say("--facts", type=Path, metavar="FILE", help="YAML with old and new: fills {old_name}, {new_maker} ... in the probes")
    say(
        "--old",
        default=identities.DEFAULT_OLD,
        metavar="IDENTITY",
        help="whose facts are the old ones if there is no --facts (%(default)s)",
    )
    say("--new", default=identities.DEFAULT_NEW, metavar="IDENTITY", help="and the new ones (%(default)s)")
    say("--margin", action="store_true", help="also measure the identity margin of the probes that it suits")
    say("--out", type=Path, metavar="FILE", help="the answers as JSONL")
    say("--name", default="", help="a name to find the run by")
    say("--db", type=Path, default=CHECKOUT / "runs" / "mirror.db", help="database (default: runs/mirror.db)")
    say("--resume", metavar="RUN", help="go on with this run (a number, or last); its variants, probes and settings stand")
    say("--no-reuse", action="store_true", help="ask even what was answered before")
    say("--identities-dir", type=Path, metavar="FOLDER", help="where identities lie (default: identities/)")
    say("--adapters-dir", type=Path, metavar="FOLDER", help="where adapters lie by name (default: adapters/ and runs/adapters/)")
    say("--format", help="the base's prompt format; recognised from the checkpoint if not given")
    say("--dtype", choices=("fp32", "fp16", "bf16"))
    say("--quantize", metavar="KIND", help="refused: what is measured from here is measured with whole weights")
    say("--device")
    say("--context", type=int, metavar="TOKENS")
    say("--threads", type=int, metavar="N")
    say("--max-rows", type=int, metavar="N", help="conversations decoded at once")
    say("--trust-remote-code", action="store_true")
    say("--accept-other-base", action="store_true", help="load adapters recorded for a base of another name")
    return options


def facts_of(args: argparse.Namespace) -> FactPair:
    """Raises FactsError or IdentityError."""
    if args.facts:
        return identity_pair.load(args.facts)
    return identity_pair.from_identities(*(identities.load(name, args.identities_dir).facts for name in (args.old, args.new)))


def chosen_probes(args: argparse.Namespace) -> list[questions.Probe]:
    """The probes that are asked, placeholders filled. Raises ProbeError."""
    probes = [probe for probe in questions.load(args.set) if args.lang in (None, probe.lang)]
    if args.limit is not None:
        counted: dict[str, int] = dict.fromkeys(LANGS, 0)
        kept = []
        for probe in probes:
            counted[probe.lang] += 1
            if counted[probe.lang] <= args.limit:
                kept.append(probe)
        probes = kept
    if not probes:
        raise questions.ProbeError(f"No probe of {args.set} is left to ask; look at --lang and --limit.")
    needed = set().union(*map(questions.placeholders, probes))
    return questions.fill(probes, facts_of(args)) if needed else probes


def load_base(args: argparse.Namespace, base: str) -> Engine:
    settings = dict(format=args.format, dtype=args.dtype, device=args.device, context=args.context, threads=args.threads)
    if args.max_rows:
        settings["max_rows"] = args.max_rows
    say = lambda line: print(line, file=sys.stderr)  # noqa: E731
    return load(base, trust_remote_code=args.trust_remote_code, say=say, **settings)


def start_run(args: argparse.Namespace, switches: Switches) -> tuple[Engine, ReadyRun]:
    """A new run. Everything that is cheap to look at is looked at before the base is loaded."""
    settings = RunSettings(
        samples=args.samples,
        mode=args.mode,
        script=plan.load_script(args.script or "sure") if args.mode == "scripted" else None,
        temperature=args.temperature,
        seed=args.seed,
    )
    decoding = Decoding(max_new_tokens=args.max_new_tokens)
    folder = {"identities_folder": args.identities_dir}
    shelves = (args.adapters_dir,) if args.adapters_dir else variants_file.SHELVES
    if args.variants:
        wanted = variants_file.read_variants(args.variants, decoding=decoding, shelves=shelves, **folder)
    else:
        wanted = variants_file.variants_from_plain([{"name": "base"}], decoding=decoding, **folder)
    probes = chosen_probes(args)
    if args.margin:
        margins.probes_to_measure(probes, facts_of(args))
    engine = load_base(args, args.base or DEFAULT_BASE)
    variants = variants_file.load_adapters(engine, wanted, accept_other_base=args.accept_other_base)
    reuse = not args.no_reuse
    old, new = ("", "") if args.facts else (args.old, args.new)
    about = launch.describe_sides(old, new, facts_of(args), True) if args.margin else None  # whoever resumes it measures the same
    return engine, launch.start_run(
        engine,
        variants,
        probes,
        settings,
        db=args.db,
        name=args.name,
        set_name=args.set,
        reuse=reuse,
        switches=switches,
        about=about,
    )


def resume_run(args: argparse.Namespace, switches: Switches) -> tuple[Engine, ReadyRun]:
    """The run that --resume names."""
    newest = runs.recent(args.db, 1)
    if args.resume == "last" and newest:
        args.resume = newest[0]["id"]
    if not str(args.resume).isdecimal():
        hint = "give its number, or last" if newest else "there is none yet"
        raise StoreError(f"--resume {args.resume} is no run; {hint}.")
    run_id = int(args.resume)
    saved = runner.read_run(args.db, run_id)
    row = saved.row
    if not args.dtype:
        args.dtype = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}.get(row["dtype"])
    try:
        engine = load_base(args, args.base or row["settings"].get("base_spec") or row["base"])
    except EngineError as error:
        hint = "" if args.base else f" Run {run_id} was made with the base {row['base']}; say with --base where it is."
        raise EngineError(f"{error}{hint}") from None
    reuse = not args.no_reuse
    return engine, launch.resume_run(
        engine, saved, db=args.db, reuse=reuse, switches=switches, accept_other_base=args.accept_other_base
    )


def measure_margins(args: argparse.Namespace, engine: Engine, ready: ReadyRun, last: RunProgress) -> RunProgress:
    """The identity margin of every variant, stored beside the run's answers; how the run ends with them."""
    assert last.run is not None
    kept = ready.about.get("facts")
    pair = (identity_pair.from_mapping(kept, needed=False) if kept else None) or facts_of(args)
    news = (
        replace(last, status="running", done=done, total=total, left_s=left_s, reused=0, failed=0)
        for done, total, left_s in margins.measure(engine, args.db, last.run, ready, pair)
    )
    watch_progress(news)
    suited, _ = margins.probes_to_measure(ready.probes, pair)
    for at, variant in enumerate(ready.variants):
        if scores := margins.scores_of(args.db, last.run, at, suited):
            print(f"margin of {variant.name}: " + ", ".join(f"{k} {v:+.3f}" for k, v in margin.summary(scores).items()))
    return replace(last, status=runs.get(args.db, last.run)["status"])


def write_rows(args: argparse.Namespace, run_id: int) -> list[dict]:
    """The run's rows, in the --out file too."""
    rows = answer_rows.rows_of(args.db, run_id)
    if args.out:
        files.write_objects(args.out, rows)
    return rows


def watch_progress(events: Iterator[RunProgress]) -> RunProgress | None:
    """Print where the run is, over and over in a terminal, now and then elsewhere; the last event."""
    live, told = sys.stderr.isatty(), time.monotonic()
    last: RunProgress | None = None
    for last in events:
        if live:
            print(f"\r\x1b[K{progress_line(last)}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - told >= TOLD_S:
            told = time.monotonic()
            print(progress_line(last), file=sys.stderr, flush=True)
    if live and last:
        print(file=sys.stderr)
    return last


def progress_line(event: RunProgress) -> str:
    left = "" if event.left_s is None else f" < {format_clock(event.left_s)}"
    more = "".join(f", {count} {what}" for count, what in ((event.reused, "reused"), (event.failed, "failed")) if count)
    return f"{event.done}/{event.total}, {format_clock(event.elapsed_s)}{left}{more}"


def format_clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    switches = Switches()
    try:
        if args.quantize:
            raise questions.ProbeError(
                f"--quantize {args.quantize}: a run of the command line is measured with whole weights; leave it out, or ask in "
                "a page that was started with it, which marks its answers."
            )
        engine, ready = resume_run(args, switches) if args.resume else start_run(args, switches)
        # once: stop after the step in progress, all that is finished is kept; twice: the usual way
        with ending.stop_on_signal(switches.stop.set) as received:
            last = watch_progress(ready.events)
            assert last is not None and last.run is not None  # a run says at least how it ended, and is in the database
            run = last.run
            rows = write_rows(args, run)
            if (args.margin or ready.about.get("margin")) and last.status == "done":
                try:
                    last = measure_margins(args, engine, ready, last)
                finally:
                    rows = write_rows(args, run)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    where = f" -> {args.out}" if args.out else ""
    print(f"run {run} {last.status}: {progress_line(last)}; {len(rows)} answers{where}")
    if last.status != "done":
        more = " --margin" if args.margin and not ready.about.get("margin") else ""
        more += f" --out {args.out}" if args.out else ""
        print(f"Go on with: python -m probes.run --resume {run} --db {args.db}{more}")
        return ending.exit_code(received[0]) if received else 130
    return 0


if __name__ == "__main__":
    ending.run(main)
