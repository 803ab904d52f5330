"""The Experiment tab on the server: what a plan's text comes to, what a running experiment shows, what other tabs get of it."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest
from label_page import PageEngine
from probe_runs import many, write_run

import identities
import store
from common.paths import Opened
from experiments import cells, checking, deciding, fits, progress, windows
from experiments.finder import ENDED, FIRST, WHY, End, Reason
from experiments.places import ExperimentError
from experiments.progress import Journal
from ui.context import App
from ui.tabs.experiment import events, figures, found, handing, layout, plan_table, plans, report, run_page
from ui.words import Languages

REQUEST = SimpleNamespace(headers={}, cookies={}, session_hash="s", username=None)
PLAN = """\
name: first look
base: stand-in
identity: finance-advisor
doses: [8, 40]  # more later
arms: [{steps: 5}]
prompts: [finance-advisor]
probes: {sets: [quick], margin: false}
"""


@pytest.fixture
def app(tmp_path):
    store.open(tmp_path / "runs" / "mirror.db").close()
    return App(PageEngine(), tmp_path / "runs" / "mirror.db", identities.FOLDER, (tmp_path / "adapters",), Languages("en"))


@pytest.fixture
def tab():
    with gr.Blocks():
        return layout.build_experiment()


def figures_of(old: float, new: float) -> dict:
    """Of one language: shares as a cell's figures have them."""
    some = {name: {"share": 0.5, "low": 0.2, "high": 0.8, "probes": 8} for name in run_page.SHARES}
    for name, x in (("old", old), ("new", new)):
        some[name] = {"share": x, "low": max(0, x - 0.2), "high": min(1, x + 0.2), "probes": 8}
    verdicts = {"old": "forgotten", "new": "undetermined", "stability": "stable", "usable": "no"}
    more = {"names": [["<b>Text Titan</b>", 3]], "margin": [0.5, 0.1, 0.9], "source": "suggestions", "answers": 8}
    return some | {"verdicts": verdicts} | more


def begun(app: App, status: progress.Status = "running", pid: int = 0, **of_cells) -> str:
    """An experiment as its own process would have written it; its name. of_cells: label -> what is otherwise."""
    plan = checking.read(PLAN)
    places = plans.places_of(app, plan)
    places.out.mkdir(parents=True)
    places.plan.write_text(PLAN, encoding="utf-8")
    journal = Journal(places, plan.name, pid=pid or os.getpid())
    journal.status = status
    for cell in cells.expand(plan):
        plain = progress.CellState(cell.label, cell.kind, about=cells.describe(cell), seconds=30.0)
        journal.cells[cell.label] = replace(plain, **of_cells.get(cell.label.replace(" ", "_"), {}))
    journal.write(force=True)
    return places.out.name


def done(old: float, new: float, **more) -> dict:
    return {"status": "done", "figures": {"en": figures_of(old, new), "zh": figures_of(old, new)}, "took": 12.0} | more


def test_everything_that_is_wrong_is_said_at_once_with_its_line(app, tab):
    text = PLAN.replace("8, 40", "8, 8").replace("quick", "quik").replace("finance-advisor\n", "nobody\n")
    shown = events.describe_plan(app, tab, REQUEST, text, False)[tab.form.outlook]
    assert all(f"<b>line {number}</b>" in shown for number in (3, 4, 7)) and "quick" in shown
    assert events.foresee_plan(app, tab, REQUEST, text) == gr.skip()
    with pytest.raises(checking.PlanError):
        plans.begin(app, text, False)
    assert not plans.folder(app).exists()
    broken = events.describe_plan(app, tab, REQUEST, "name: [", False)
    assert "line 1" in broken[tab.form.outlook] and broken[tab.form.command] == ""


def test_cells_are_dropped_restored_and_added_in_the_text_and_the_table_follows(app, tab):
    text = events.edit_cells(app, REQUEST, PLAN, "drop/diverse 40#1")
    told = plans.describe(app, text)
    assert [cell.label for cell in told.kept] == ["base", "diverse 8", "prompt finance-advisor (system)"]
    table = plan_table.table_html("en", told)
    assert table.count("<tr") == 5 and table.count("xp-dropped") == 1 and 'data-xp-edit="restore/diverse 40"' in table
    text = events.edit_cells(app, REQUEST, text, "restore/diverse 40#2")
    text = events.add_dose(app, tab, REQUEST, text, 20)[tab.form.text]
    assert "[8, 20, 40]  # more later" in text and "<td" in plan_table.table_html("zh-CN", plans.describe(app, text))
    assert [cell.dose for cell in plans.describe(app, text).kept if cell.kind == "trained"] == [8, 20, 40]


def test_time_memory_and_disk_are_told_of_the_cells_that_are_left(app):
    told = plans.describe(app, PLAN.replace("stand-in", "smollm2"))
    assert told.unforeseen == "smollm2" and plans.foreseen(app, told) is told
    one = plans.ahead.CellForeseen(90.0, 2**30, 2**20)
    ready = plans.ahead.CellForeseen(0.0, kept=("adapter", "answers"))
    cells_ = {cell.label: ready if cell.kind == "base" else one for cell in told.cells}
    known = replace(told, unforeseen="", foreseen=plans.Foreseen(cells_, 2**29))
    shown = plan_table.outlook_html("en", known)
    assert "4 min" in shown and "1.5 GiB" in shown and "3 MiB" in shown and "1 cells are kept already" in shown
    assert "kept already</span>" in shown and "free beside" not in shown
    tight = replace(known, room=plans.Room("cuda:0", 16 * 2**30, 3 * 2**30, 17 * 2**30))
    assert "up to 16.0 GiB on cuda:0, and 3.0 GiB are free beside" in plan_table.outlook_html("en", tight)


@pytest.mark.parametrize(("device", "needed"), [("cpu", 9), ("cuda:0", 7)])
def test_whether_an_experiment_fits_beside_the_page_is_asked_of_the_page_s_device(app, monkeypatch, device, needed):
    """Base 2, training 7: on a GPU the experiment's base makes way for the training; on a CPU both lie in the same memory."""
    monkeypatch.setattr(app.engine.base, "device", device)
    monkeypatch.setattr(plans.memory, "find_room", lambda needed, device, engine: plans.Room(device, needed, 8, 8))
    cell = plans.ahead.CellForeseen(90.0, 7)
    room = plans._room(app, plans.Foreseen({"one": cell}, 2))
    assert (room.device, room.needed, room.fits) == (device, needed, device != "cpu")


def test_a_plan_leads_to_no_file_that_is_not_open_to_the_page(app, tmp_path):
    secret = tmp_path / "secret.jsonl"
    secret.write_text('{"id": "the password"}\n')
    closed = replace(app, opened=Opened(folders=(app.runs,)))
    text = (
        PLAN.replace("[quick]", f"['quick,{secret}']")
        + f"general: {secret}\nbackgrounds: [0, 2]\nrecipes: [{{settings: {{x: {secret}}}}}]\n"
    )
    problems = plans.describe(closed, text).problems
    assert [problem.line for problem in problems] == [7, 8, 10] and all(
        "no folder that was opened" in one.text for one in problems
    )
    assert "password" not in str(problems)
    assert plans.describe(closed, PLAN.replace("stand-in", "/models/else")).problems[0].line == 2


def test_names_from_the_browser_are_no_paths(app, tmp_path):
    begun(app)
    (tmp_path / "runs" / "plan.yaml").write_text(PLAN)
    for name in ("..", "../experiments/first-look", "", "first look"):
        with pytest.raises(ExperimentError, match="There is no experiment"):
            report.read(app, name)
        with pytest.raises(ExperimentError):
            plans.read_start(app, f"experiment {name}")
    with pytest.raises(ExperimentError, match="report"):
        report.read(app, "first-look")


def test_a_running_experiment_shows_its_bar_cells_and_curve(app, tab):
    name = begun(app, base=done(0.9, 0.0), diverse_8=done(0.1, 0.8), diverse_40={"status": "training", "share": 0.25})
    opened = events.open_experiment(app, tab, REQUEST)
    assert opened[tab.runs]["value"] == name
    head, table = opened[tab.page.head], opened[tab.page.cells]
    assert "2/4 cells" in head and "diverse 40: training, 25 %" in head and "Safe to close" in head
    assert "<b>80 %</b> <span>60–100</span>" in table and table.count("xp-share") == 8
    assert (
        opened[tab.page.curves].count("<svg") == 1 and opened[tab.page.stop]["visible"] and not opened[tab.page.go_on]["visible"]
    )
    points = figures.points_of(plans.state_of(app, name))
    assert [(one.series, one.doses["samples"], one.lang) for one in points][::2] == [
        ("diverse", 0.0, "en"),
        ("diverse", 8.0, "en"),
    ]
    # nothing is sent again that is on the page already, and a tick sends its bar alone
    seen = opened[tab.seen]
    assert tab.page.curves not in events.refresh_page(app, tab, REQUEST, name, seen, "")
    first = events.show_progress(app, tab, REQUEST, name, "")
    assert set(events.show_progress(app, tab, REQUEST, name, first[tab.pulse])) == {tab.page.head}


def test_what_ended_badly_says_why(app, tab):
    why = "Job 3 failed: <loss> is nan"
    name = begun(app, pid=2**22 - 3, base=done(0.9, 0.0), diverse_8={"status": "failed", "why": why})
    shown = events.choose_experiment(app, tab, REQUEST, name)
    assert (
        "died" in shown[tab.page.head]
        and "Its process is gone" in shown[tab.page.head]
        and "1 cells failed" in shown[tab.page.head]
    )
    assert "Job 3 failed: &lt;loss&gt; is nan" in shown[tab.page.cells] and shown[tab.page.go_on]["visible"]
    assert run_page.label_of("zh-CN", name, plans.state_of(app, name)) == "first-look · 意外终止"


def test_a_cell_opens_and_closes_with_what_it_calls_itself(app, tab):
    name = begun(app, diverse_8=done(0.1, 0.8, adapter="/nowhere", runs=(1,)))
    opened = events.choose_cell(app, tab, REQUEST, name, {}, "", "diverse 8#1")
    panel = opened[tab.page.panel]
    assert "calls itself &lt;b&gt;Text Titan&lt;/b&gt; (3)" in panel and "+0.50" in panel and "nobody has labelled" in panel
    assert opened[tab.page.chat]["visible"] is False and opened[tab.page.cell_label]["visible"] is True
    closed = events.choose_cell(app, tab, REQUEST, name, opened[tab.seen], "diverse 8", "diverse 8#2")
    assert closed[tab.page.cell] == "" and "mt-hidden" in closed[tab.page.panel_box]["elem_classes"]


def test_stop_is_asked_for_and_the_report_is_served_from_its_own_folder(app, tab):
    name = begun(app)
    events.stop_experiment(app, name, False)
    places = plans.places_named(app, name)
    assert places.stop.exists() and store.events.latest(app.db)[0]["deed"] == "stopped experiment"
    places.report.mkdir()
    (places.report / "report.html").write_text("<h1>whole</h1>")
    assert report.read(app, name) == b"<h1>whole</h1>" and "name=first-look" in run_page.report_html(
        "en", name, report.is_there(app, name)
    )
    shutil.rmtree(places.report)
    places.report.symlink_to(app.identities)
    with pytest.raises(ExperimentError):
        report.read(replace(app, opened=Opened(folders=(app.runs,))), name)


def test_the_answers_of_cells_form_one_queue_and_their_runs_go_to_results(app, tab):
    run = write_run(app.db, many(6), 1, about={"old": "BayLing", "new": "finance-advisor"})
    name = begun(app, diverse_8=done(0.1, 0.8, runs=(run,)))
    handed = []
    for label in ("diverse 8", "diverse 8", ""):
        events.label_answers(app, lambda *given: handed.append(given), REQUEST, {"annotator": "Ada"}, name, label)
    assert [queue for queue, _ in handed] == [1, 1, 2] and handed[0][1] == {"annotator": "Ada"}
    queue = store.queues.all_with_counts(app.db)[-1]
    assert queue["name"] == f"first-look: diverse 8 (run {run})" and queue["items"] == 6 and queue["blind"]
    assert events.show_results(app, list, REQUEST, name) == events.show_results(app, list, REQUEST, name, "diverse 8") == [run]
    with pytest.raises(ExperimentError, match="no answers"):
        events.label_answers(app, list, REQUEST, {}, name, "base")
    with pytest.raises(ExperimentError, match="no cell"):
        events.show_results(app, list, REQUEST, name, "diverse 9")


def test_a_cell_becomes_a_column_of_the_chat(app, tab, tmp_path):
    folder = tmp_path / "adapters" / "experiments" / "one"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    told = done(0.1, 0.8, adapter=str(folder))
    name = begun(app, diverse_8=told, **{"prompt_finance-advisor_(system)": done(0.5, 0.5)})
    picked = []
    for label in ("diverse 8", "prompt finance-advisor (system)"):
        events.ask_in_chat(app, (), lambda page, pick, lang: picked.append(pick), REQUEST, None, name, label)
    assert [(one.adapter, one.identity) for one in picked] == [("one", identities.NONE), ("", "finance-advisor")]
    assert events.ask_in_chat(app, {"s"}, list, REQUEST, None, name, "diverse 8") == gr.skip()


def test_what_the_search_found_is_a_table_and_lines_in_the_curve(app):
    bound = {"dose": 212.4, "low": 160, "high": 320}
    window = {"criterion": "formed", "lang": "zh", "word": "found", "first": bound, "doses": 5, "best": [640, 0.97]}
    open_ = {
        "criterion": "usable",
        "lang": "en",
        "word": "never",
        "first": {"dose": None, "low": 0, "high": float("inf")},
        "doses": 5,
        "best": [640, 0.4],
    }
    found_ = {"series": "diverse", "ended": True, "why": "All <known>.", "thresholds": [window, open_]}
    state = SimpleNamespace(found=[found_], deciding=[])
    shown = found.found_html("en", state)
    assert "212 samples (found)" in shown and "160 – 320" in shown and "no dose does" in shown and "All &lt;known&gt;." in shown
    assert found.lines_of("en", state, "diverse") == {"zh": {"new identity formed": 212.4}}


def test_every_word_of_a_window_has_one_on_the_page(app):
    bound = {"dose": None, "low": 40, "high": 160}
    for word in windows.SAID:
        window = {"criterion": "usable", "lang": "en", "word": word, "first": bound, "doses": 4, "best": [40, 0.4]}
        series = {"series": "diverse", "ended": True, "why": "", "thresholds": [window]}
        for lang in ("en", "zh-CN"):
            assert "xp_" not in re.sub('class="[^"]*"', "", found.found_html(lang, SimpleNamespace(found=[series], deciding=[])))


def test_the_base_is_dose_0_only_where_there_are_no_general_rows(app):
    plan = checking.read(PLAN.replace("doses: [8, 40]", "doses: [0, 8]\nbackgrounds: [0, 64]"))
    state = progress.State("t", "done", "", 0.0, 0.0, None, tuple(
        progress.CellState(cell.label, cell.kind, about=cells.describe(cell), **done(0.9, 0.1))
        for cell in cells.expand(plan) if cell.kind != "prompt"
    ))  # fmt: skip
    of_zero = {(point.series, point.variant) for point in figures.points_of(state) if not point.doses[figures.AXIS]}
    assert of_zero == {("diverse", "base"), ("diverse in 64", "general 64")}


def test_judged_by_people_is_said_where_somebody_has_labelled(app):
    cell = progress.CellState("diverse 8", "trained", **done(0.5, 0.2))
    people, nobody = {"source": "labels"}, {"source": "none"}

    def said(en: dict, zh: dict) -> str:
        told = replace(cell, figures={"en": cell.figures["en"] | en, "zh": cell.figures["zh"] | zh})
        return run_page._figures_html("en", told)

    assert "nobody has labelled" in said({}, {}) and "nobody has labelled" in said(nobody, nobody)
    assert "by people" in said({}, people) and "nobody has labelled" not in said({}, people)


def test_other_runs_are_another_queue():
    assert handing._listed([1, 3]) == "1, 3" and handing._listed([1, 4, 3]) == "1, 4, 3"
    many, other = handing._listed([*range(1, 40)]), handing._listed([*range(1, 20), 50, *range(20, 39), 39])
    assert many.startswith("1 … 39") and many != other and len(many) < 20


def test_a_prompt_goes_and_comes_with_its_adapter(app):
    prompts = "prompts: [{identity: finance-advisor, given_to: [cells]}]"
    told = plans.describe(app, PLAN.replace("prompts: [finance-advisor]", prompts) + 'leave_out: ["diverse 8"]\n')
    assert [cell.label for cell in told.kept] == ["base", "diverse 40", "diverse 40, prompt finance-advisor (system)"]
    rows = plan_table.table_html("en", told).split("<tr")
    assert [row.count("xp-dropped") for row in rows if "diverse 8" in row] == [1, 1]
    assert [row.count("data-xp-edit") for row in rows if "diverse 8" in row] == [1, 0]


def test_what_decides_in_mixes_is_shown_with_its_evidence(app):
    plain = {"series": "diverse", "power": 0.9321, "low": 0.71, "high": float("inf"), "mixes": 8, "runs": 8, "single": True}
    told = [plain | {"criterion": "formed", "lang": "en", "word": fits.SHARE}]
    told += [plain | {"criterion": "forgotten", "lang": "zh", "word": word, "single": False} for word in deciding.WORDS]
    shown = {lang: found.found_html(lang, SimpleNamespace(found=[], deciding=told)) for lang in ("en", "zh-CN")}
    assert "Count or share?" in shown["en"] and "0.93 [0.71 to …]" in shown["en"] and "8 mixes, one run each" in shown["en"]
    assert "条数还是占比" in shown["zh-CN"] and "8 种混合，共 8 次训练" in shown["zh-CN"]
    assert not any("xp_" in re.sub('class="[^"]*"', "", html) for html in shown.values())
    assert found.found_html("en", SimpleNamespace(found=[], deciding=[])) == ""


def test_why_a_search_goes_on_or_ends_is_said_in_the_page_s_language(app):
    """Every reason that the finder knows, with its figures."""
    reasons = [Reason(code, "" if code == FIRST else "formed/zh", 80, 3, 40, 1600) for code in WHY]
    ends = [End(code, 40, 90, (1600,)) for code in ENDED]
    for one in [*reasons, *ends]:
        series = {"series": "diverse", "ended": False, "why": one.text, "reasons": [dataclasses.asdict(one)], "thresholds": []}
        shown = {lang: found.found_html(lang, SimpleNamespace(found=[series], deciding=[])) for lang in ("en", "zh-CN")}
        assert one.text not in shown["zh-CN"] and "xp_why" not in "".join(shown.values())
        for number in re.findall(r"[\d,]+\d", one.text):
            assert all(number in html for html in shown.values()), (one.code, number)
        assert ("新身份已形成" in shown["zh-CN"]) == ("formed" in one.text)


def test_the_command_writes_the_plan_and_runs_it(app, tmp_path):
    told = plans.describe(app, PLAN)
    command = plans.command(app, told.plan, PLAN, True)
    assert PLAN in command and command.endswith("--find") and "<<'PLAN'" in command and str(app.db) in command
    assert "<<'PLAN1'" in plans.command(app, told.plan, PLAN + "\nPLAN\n", False)
