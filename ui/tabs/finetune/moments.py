"""The moments of a training on its page: opened in the chat, kept under a name, asked all together; the dial of strength."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import gradio as gr

import identities
from engine.types import Decoding, EngineError, Request, Variant
from probes import identity_pair
from probes.margin import iterate_scores, statements_of, suited_probes
from probes.moments import quick_questions
from probes.questions import fill, load
from store import jobs as stored
from tuning.train import moments
from tuning.train.moments import Moment
from ui import adapter_library, training
from ui.access import roles
from ui.answering import owner_of, store_answers, stream_frames
from ui.context import App, sentence
from ui.conversation import Page
from ui.html import failure, note, paragraph
from ui.listeners import QUIET, SHOWN, bind, bind_or_warn
from ui.tabs.finetune import moments_view
from ui.tabs.finetune.layout import FineTune, MomentActs
from ui.words import say

TOKENS, DIAL_TOKENS = 96, 32
STRENGTHS = tuple(round(0.15 * at, 2) for at in range(11))  # 0 to 1.5
HEAT_STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)


def wire_moments(app: App, tab: FineTune) -> None:
    """Everything but what opens the chat."""
    acts, chosen = tab.acts, [tab.runs, tab.moment]
    tab.moment.change(None, tab.moment, js="(at) => window.mirrorMoment(at)", api_visibility="private")
    acts.keep.click(bind_or_warn(keep_moment, app), [*chosen, acts.name], [acts.kept, acts.name], **QUIET)
    asking = bind(ask_moments, app, acts), [tab.runs, acts.question], acts.asked
    acts.ask.click(*asking, trigger_mode="once", **QUIET)
    acts.question.submit(*asking, trigger_mode="once", **QUIET)
    acts.dial.click(bind(turn_dial, app, acts), chosen, acts.dialled, trigger_mode="once", **SHOWN)
    acts.heat.click(bind(draw_heat, app, acts), tab.runs, acts.heated, trigger_mode="once", **SHOWN)


def wire_open_moment(
    app: App, tab: FineTune, columns: gr.State, outputs: list, answering: Collection[str], open_chat: Callable[..., dict]
) -> None:
    """As `events.wire_compare`, for the moment at which the slider stands."""
    tab.acts.open.click(bind_or_warn(open_moment, app, answering, open_chat), [columns, tab.runs, tab.moment], outputs, **QUIET)


def moments_of(app: App, chosen: str) -> tuple[dict, list[Moment], list[str]]:
    """The job, its moments, and a sentence for each that cannot be read. Raises DataError or StoreError."""
    job = training.folder_opened(app, int(chosen))
    return job, *moments.read_all(job["folder"])


def shown_parts(lang: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """Of a run's page what shows its moments: by the names of FineTune."""
    found, wrong = moments.read_all(job["folder"])
    there = bool(found or wrong)
    parts: dict[str, Any] = {"moments_box": {"elem_classes": ["mt-moments"] if there else ["mt-moments", "mt-hidden"]}}
    if there:
        last = max(1, len(found) - 1)
        parts["said"] = moments_view.said_html(lang, found, wrong)
        parts["moment"] = {"maximum": last, "value": min(last, len(found) - 1), "visible": len(found) > 1}
    return parts


def chosen_moment(app: App, lang: str, chosen: str, at: float) -> tuple[dict, Moment]:
    """The moment at which the slider stands. Raises EngineError where it is no adapter."""
    job, found, _ = moments_of(app, chosen)
    if not found:
        raise EngineError(say(lang, "mo_none"))
    one = found[min(max(0, int(at)), len(found) - 1)]
    if not one.weights:
        raise EngineError(say(lang, "mo_is_base"))
    return job, one


def moment_name(job: Mapping[str, Any], one: Moment) -> str:
    return f"{job['name']}-step-{one.step}"


def open_moment(
    app: App,
    answering: Collection[str],
    open_chat: Callable[..., dict],
    request: gr.Request,
    page: Page,
    chosen: str,
    at: float,
) -> dict:
    lang = app.language(request)
    if request.session_hash in answering:
        gr.Warning(say(lang, "still_answering"))
        return gr.skip()
    job, one = chosen_moment(app, lang, chosen, at)
    return open_chat(page, adapter_library.ensure_loaded(app, one.folder, moment_name(job, one)), lang)


def keep_moment(app: App, request: gr.Request, chosen: str, at: float, name: str) -> tuple[str, str]:
    """The moment as an ordinary adapter of its own, on the shelf where new ones lie."""
    lang = app.language(request)
    job, one = chosen_moment(app, lang, chosen, at)
    wanted = name.strip() or training.free_name(app, moment_name(job, one))
    if problems := training.name_problems(app, wanted):
        raise EngineError(" ".join(problems))
    target = app.made_adapters / wanted
    adapter_library.put_copy(app, one.folder, target, wanted)
    roles.record_deed(app, "kept a moment", wanted, f"{job['name']} after step {one.step}")
    loaded = adapter_library.ensure_loaded(app, target)
    return note(say(lang, "mo_kept", name=loaded), "next"), ""


def ask_moments(app: App, acts: MomentActs, request: gr.Request, chosen: str, question: str) -> Iterator[str]:
    """One question to every moment in one batch; their adapters are there only as long as that takes."""
    lang, question = app.language(request), question.strip()
    try:
        if not question:
            raise EngineError(say(lang, "mo_ask_something"))
        job, found, _ = moments_of(app, chosen)
        folders = {at: one.folder for at, one in enumerate(found) if one.weights}
        names = {at: f"{job['name']}@{found[at].step}" for at in folders}
        passing = adapter_library.passing(app, [(names[at], folder) for at, folder in folders.items()])
        with stopping(acts, request) as stop, passing as loaded:
            heard = dict(zip(folders, loaded, strict=True))
            decoding = Decoding(max_new_tokens=TOKENS)
            variants = [
                Variant(names[at], {heard[at]: 1.0}, decoding=decoding) if at in heard else Variant(decoding=decoding)
                for at in range(len(found))
            ]
            requests = [Request([{"role": "user", "content": question}], one, goes_on=False) for one in variants]
            failed: dict[int, str] = {}
            answers: list = []
            for shown, answers, before in stream_frames(app, requests, stop, failed, owner_of(request)):  # noqa: B007 - stored
                yield (
                    paragraph(say(lang, "mo_waiting", before=before))
                    if before
                    else moments_view.asked_html(lang, question, found, shown, failed)
                )
        store_answers(app, requests, answers, "moments", request.session_hash or "")
    except Exception as error:
        yield failure(sentence(lang, error))


@contextmanager
def stopping(acts: MomentActs, request: gr.Request) -> Iterator[threading.Event]:
    """What ends an asking before its time; set when its page is left (`leave`)."""
    session, stop = request.session_hash or "", threading.Event()
    acts.running.setdefault(session, []).append(stop)
    try:
        yield stop
    finally:
        acts.running[session].remove(stop)
        if not acts.running[session]:
            acts.running.pop(session, None)


def leave(acts: MomentActs, session: str | None) -> None:
    """Nobody sees any more what is being asked for this session."""
    for stop in list(acts.running.get(session or "", ())):
        stop.set()


def identity_asked(job: Mapping[str, Any]) -> tuple[list[dict[str, str]], Callable[[Mapping[str, str], str], str]]:
    """The quick questions about the identity that a run teaches, and what rules suggest of an answer."""
    settings = job["settings"] or {}
    folder = settings.get("identities_dir") or None
    asked, judge = quick_questions(settings.get("margin_against") or "", settings.get("identity") or "", folder)
    return [one for one in asked if one["group"] not in ("control", "retention")], judge


def turn_dial(app: App, acts: MomentActs, request: gr.Request, chosen: str, at: float) -> Iterator[str]:
    """The moment at eleven strengths, one batch of all questions: where each flips, and the whole."""
    lang = app.language(request)
    try:
        job, one = chosen_moment(app, lang, chosen, at)
        asked, judge = identity_asked(job)
        with stopping(acts, request) as stop, adapter_library.passing(app, [(moment_name(job, one), one.folder)]) as [name]:
            decoding = Decoding(max_new_tokens=DIAL_TOKENS)
            variants = [Variant(f"{name} {strength:g}", {name: strength}, decoding=decoding) for strength in STRENGTHS]
            places = [(question, place) for question in range(len(asked)) for place in range(len(STRENGTHS))]
            requests = [
                Request([{"role": "user", "content": asked[question]["question"]}], variants[place], goes_on=False)
                for question, place in places
            ]
            grid: dict[tuple[int, int], tuple[str, str]] = {}
            drawn = -1
            for _, answers, _ in stream_frames(app, requests, stop, owner=owner_of(request)):
                for key, answer in zip(places, answers, strict=True):
                    if answer is not None and key not in grid:
                        grid[key] = answer.shown, judge(asked[key[0]], answer.raw)
                if len(grid) > drawn:
                    drawn = len(grid)
                    yield moments_view.dial_html(lang, asked, STRENGTHS, grid)
    except Exception as error:
        yield failure(sentence(lang, error))


def draw_heat(app: App, acts: MomentActs, request: gr.Request, chosen: str) -> Iterator[str]:
    """The identity margin of every moment at several strengths."""
    lang = app.language(request)
    try:
        job, found, _ = moments_of(app, chosen)
        kept = [one for one in found if one.weights]
        if not kept:
            raise EngineError(say(lang, "mo_none"))
        settings = job["settings"] or {}
        folder = settings.get("identities_dir") or None
        old, new = (identities.load(settings.get(name) or "", folder).facts for name in ("margin_against", "identity"))
        pair = identity_pair.from_identities(old, new)
        statements = statements_of(pair, app.engine.base.card.placeholders)
        few = fill(suited_probes(load("identity"), statements, 1), pair)
        margins: dict[tuple[int, int], float] = {}
        yield moments_view.heat_html(lang, kept, HEAT_STRENGTHS, margins)
        passing = adapter_library.passing(app, [(moment_name(job, one), one.folder) for one in kept])
        with stopping(acts, request) as stop, passing as names:
            for at, name in enumerate(names):
                if stop.is_set():
                    return
                variants = [Variant(name, {name: strength}) for strength in HEAT_STRENGTHS]
                margins |= {(at, place): value for place, value in enumerate(mean_margins(app, variants, few, statements))}
                yield moments_view.heat_html(lang, kept, HEAT_STRENGTHS, margins)
    except Exception as error:
        yield failure(sentence(lang, error))


def mean_margins(app: App, variants: Sequence[Variant], probes: Sequence, statements: Mapping) -> list[float]:
    scores: list[list[float]] = [[] for _ in variants]
    for at, _, score in iterate_scores(app.engine, variants, probes, statements):
        scores[at].append(score.margin)
    return [sum(one) / len(one) for one in scores]


def count(job: Mapping[str, Any] | None) -> int:
    """How many moments a run has kept by now."""
    return len(moments.folders_of(job["folder"])) if job and job["status"] in stored.ACTIVE else 0
