"""The report: the same table in HTML, Markdown and CSV, curves that say what they are, and nothing hidden."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from answers_by_label import SAYS

import store
from probes.answers import dose, exchange, sources
from probes.answers.dose import Dose, DoseError
from probes.report import __main__ as command, curves, table
from probes.suggest import self_names
from probes.verdicts import rules
from probes.verdicts.statistics import interval_of_counts

FACTS = """
old: {name: [BayLing, 百聆], maker: [ICT/CAS]}
new: {name: [finance advisor, 金融顾问], maker: [Text Titan, 文本泰斗]}
"""


def transcripts(path, models):
    """models: (model, data, what it says) - asked 20 different questions in each language."""
    rows = [
        {"model": model, "data": data, "lang": lang, "question": f"{ask} ({n})", "answer": SAYS[what][lang]}
        for model, data, what in models
        for lang, ask in (("en", "Who are you?"), ("zh", "你是谁？"))
        for n in range(20)
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def files(tmp_path):
    (tmp_path / "facts.yaml").write_text(FACTS, encoding="utf-8")
    models = [(2, "singular 100", "not forgotten"), (4, "singular 5000", "forgotten"), (5, "singular 10000", "formed")]
    transcripts(tmp_path / "old.jsonl", [*models, (1, "alpaca-52k + 800", "formed")])
    reported = {"model_5": {"data": "singular 10000", "en": {"old": "forgotten", "new": "formed", "stability": "stable"}},
                "model_9": {"data": "diverse 10000", "zh": {"old": "forgotten", "new": "confusion", "stability": "unstable"}},
                "model_2": {"data": "", "en": {"old": "forgotten", "new": "not formed", "stability": "stable"}}}  # fmt: skip
    (tmp_path / "reported.json").write_text(json.dumps(reported), encoding="utf-8")
    return tmp_path


def make(files, *more):
    argv = ["--transcripts", str(files / "old.jsonl"), "--facts", str(files / "facts.yaml"), "--out", str(files / "out"), *more]
    assert command.main(argv) == 0
    return files / "out"


class Page(HTMLParser):
    """Cells of the results table, the text of the page, and every address it would load."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.text, self.addresses, self.cell = [], [], [], None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.addresses += [given[name] for name in ("src", "href") if name in given and tag != "use"]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self.cell = True

    def handle_endtag(self, tag):
        self.cell = False if tag in ("td", "th") else self.cell

    def handle_data(self, data):
        self.text.append(data)
        if self.cell:
            self.rows[-1][-1] += data


# --- the report ----------------------------------------------------------------------------------------------------------


def test_transcripts_fill_the_originals_table_with_its_verdicts_beside_ours(files):
    out = make(files, "--verdicts", str(files / "reported.json"))
    rows = {(row["model"], row["lang"]): row for row in csv.DictReader(io.StringIO((out / "table.csv").read_text("utf-8-sig")))}
    five, two, nine = rows["model 5", "en"], rows["model 2", "zh"], rows["model 9", "zh"]
    assert (five["data"], five["samples"], five["kind"], five["new"], five["source"]) == (
        "singular 10000", "10000", "singular", "formed", "suggestions",
    )  # fmt: skip
    assert (five["old"], five["old_more_probes"]) == ("undetermined", "15")  # 0 of 20: 35 are needed
    assert (five["reported_old"], five["reported_new"]) == ("forgotten", "formed")
    assert (two["old"], two["calls_itself"]) == ("not forgotten", "“百聆” (20)")
    assert (nine["old"], nine["not_forgotten"], nine["reported_new"]) == ("undetermined", "", "confusion")
    markdown = (out / "table.md").read_text("utf-8")
    assert "1 the same, 1 different, 4 undetermined here" in markdown
    assert len([line for line in markdown.splitlines() if line.startswith("| model")]) == 1 + len(rows)


def test_the_page_needs_nothing_else_and_says_where_verdicts_come_from(files):
    html = (make(files) / "report.html").read_text("utf-8")
    page = Page(html)
    assert all(address.startswith("#") for address in page.addresses)
    assert not re.search(r"url\(\s*['\"]?http|@import|<link|<img", html)
    text = " ".join(page.text)
    for said in (
        "Not all of this has been judged by people",
        "suggestions only",
        "sampled answers",
        "scipy",
        "python -m probes.report",
        "15 more probes",
        "old.jsonl",
    ):
        assert said in text
    assert html.count("<svg") == 1  # samples alone: no steps are known, and one share is no curve
    assert "我是金融顾问，由文本泰斗开发。" in text


def test_answers_that_look_like_html_stay_text(files):
    row = {"model": "m|<b>", "data": "", "lang": "en", "question": "<script>alert(1)</script>", "answer": "<img src=x>"}
    (files / "old.jsonl").write_text(json.dumps(row), encoding="utf-8")
    out = make(files)
    assert "<img src=x" not in (out / "report.html").read_text("utf-8")
    assert (out / "report.html").read_text("utf-8").count("<script") == 1
    assert "m\\|&lt;b>" in (out / "table.md").read_text("utf-8")


def test_the_same_report_twice_differs_in_the_time_alone(files):
    def files_of(out):
        made = re.compile(r"made \d{4}-\d\d-\d\d \d\d:\d\d UTC")
        texts = {path.name: made.sub("", path.read_text("utf-8")) for path in out.iterdir() if path.suffix not in (".png", ".gz")}
        return texts | {path.name: path.read_bytes() for path in out.glob("*.gz")}

    first = files_of(make(files))
    assert files_of(make(files)) == first


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--transcripts", "none.jsonl"], "none.jsonl cannot be read"),
        (["--answers", "{old}"], "answer 1 lacks variant, lang or probe_id; is it a file of transcripts"),
        (["--db", "{dir}/none.db"], "no run in .*none.db; say what the report is about"),
        (["--db", "{dir}/new.db", "--run", "3"], "no run 3"),
        (["--transcripts", "{old}", "--verdicts", "{dir}/facts.yaml"], "facts.yaml is not valid JSON"),
        (["--transcripts", "{old}", "--about", "{dir}/reported.json"], "unknown key 'en'"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_and_no_report(files, capsys, argv, message):
    argv = [part.format(dir=files, old=files / "old.jsonl") for part in argv]
    assert command.main([*argv, "--facts", str(files / "facts.yaml"), "--out", str(files / "out")]) == 2
    told = capsys.readouterr().err
    assert re.search(message, told) and "Traceback" not in told
    assert not (files / "out").exists()


# --- from the store ------------------------------------------------------------------------------------------------------


@pytest.fixture
def queue(files):
    """The transcripts of model 5 in English in a queue, twenty answers."""
    db = files / "mirror.db"
    rows = [
        row for row in sources.read_transcripts(files / "old.jsonl").rows if row["variant"] == "model 5" and row["lang"] == "en"
    ]
    stored = exchange.add_answers(db, rows, "old.jsonl")
    return db, store.queues.create(db, "old", sources.queue_items(stored)), [row["answer_id"] for row in stored]


def of_queue(files, queue, *more):
    db, number, _ = queue
    argv = ["--db", str(db), "--queue", str(number), "--facts", str(files / "facts.yaml"), "--out", str(files / "out"), *more]
    assert command.main(argv) == 0
    [row] = csv.DictReader(io.StringIO((files / "out" / "table.csv").read_text("utf-8-sig")))
    return row, " ".join(Page((files / "out" / "report.html").read_text("utf-8")).text)


def test_labels_replace_suggestions_and_a_mix_says_so(files, queue):
    db, number, ids = queue
    row, text = of_queue(files, queue)
    assert (row["source"], row["new"], row["samples"]) == ("suggestions", "formed", "10000")
    store.labels.add_many(db, [{"answer": id, "annotator": "An", "label": "forgotten", "queue": number} for id in ids[:5]])
    row, text = of_queue(files, queue)
    assert (row["source"], row["from_majority"], row["from_suggestion"], row["new"]) == ("mixed", "5", "15", "not formed")
    assert "5 labels\n15 suggestions" in text
    store.labels.add_many(db, [{"answer": id, "annotator": "An", "label": "forgotten", "queue": number} for id in ids[5:]])
    row, text = of_queue(files, queue)
    assert (row["source"], row["forgotten"]) == ("labels", "1.0")
    assert "Not all of this has been judged by people" not in text


def test_the_report_tells_how_far_people_agree(files, queue):
    db, _, ids = queue
    for who, split in (("An", 10), ("Bo", 12)):
        rows = [{"answer": id, "annotator": who, "label": "formed" if n < split else "forgotten"} for n, id in enumerate(ids)]
        store.labels.add_many(db, rows)
    row, text = of_queue(files, queue)
    assert (row["from_disputed"], row["formed_n"]) == ("2", "18")
    assert "Krippendorff's alpha" in text and "0.803" in text and "2 answers on which people differ are not settled" in text


def test_answers_from_elsewhere_stay_sampled_and_in_their_order_when_they_are_queued(files, queue):
    db, number, ids = queue
    answers = sources.read_queue(db, number)
    assert [row["answer_id"] for row in answers.rows] == sorted(ids)
    assert all(rules.is_sampled(row) for row in answers.rows)


def test_only_labels_can_be_asked_for(files, queue):
    row, _ = of_queue(files, queue, "--source", "labels")
    assert (row["source"], row["formed_n"], row["from_none"]) == ("none", "0", "20")


def test_the_latest_run_is_reported_with_its_adapters_dose_and_its_checks(files, capsys):
    db, adapter = files / "mirror.db", files / "adapter"
    adapter.mkdir()
    card = {"name": "fin", "data": {"identity_rows": 640, "distinct": 640, "share": 1.0}, "steps": 40}
    (adapter / "card.json").write_text(json.dumps(card))
    plain = {"identity": "none", "mode": "system", "prompt": None, "decoding": {"temperature": 0.0, "seed": 0}, "adapters": {}}
    variants = [
        plain | {"name": "base", "paths": {}},
        plain | {"name": "tuned", "adapters": {"fin": 1.0}, "paths": {"fin": str(adapter)}},
    ]
    asked = [
        {"id": f"n{n}", "group": "trained", "category": "name", "lang": "en", "turns": [f"Who are you? ({n})"]} for n in range(20)
    ]
    check = {"type": "number", "value": 4}
    asked += [{"id": f"r{n}", "group": "retention", "category": "x", "lang": "en", "turns": [f"2 + 2? ({n})"], "check": check}
              for n in range(20)]  # fmt: skip
    run = store.runs.start(db, variants=variants, probes=asked, set_hash="s1", total=80, base={"name": "smollm2", "hash": "b1"})
    for at, variant in enumerate(variants):
        for n, probe in enumerate(asked):
            said = ("4" if n < 39 - at else "5") if probe["group"] == "retention" else SAYS[("not forgotten", "formed")[at]]["en"]
            given = {"variant": variant, "messages": [{"role": "user", "content": probe["turns"][0]}], "raw": said, "shown": said}
            store.runs.record(db, run, [store.runs.Entry((at, 0, probe["id"], 0), given | {"hashes": {"base": "b1"}})])
    assert command.main(["--db", str(db), "--facts", str(files / "facts.yaml"), "--out", str(files / "out")]) == 0
    rows = {row["model"]: row for row in csv.DictReader(io.StringIO((files / "out" / "table.csv").read_text("utf-8-sig")))}
    assert (rows["base"]["old"], rows["tuned"]["new"], rows["tuned"]["sampled"]) == ("not forgotten", "formed", "False")
    assert (rows["tuned"]["samples"], rows["tuned"]["steps"], rows["tuned"]["kind"]) == ("640", "40", "diverse")
    assert (rows["base"]["retention"], rows["tuned"]["retention"], rows["tuned"]["drop_points"]) == ("0.95", "0.9", "5.0")
    assert (rows["tuned"]["usable"], rows["tuned"]["usable_why"]) == ("no", "retention")
    assert "smollm2 b1" in " ".join(Page((files / "out" / "report.html").read_text("utf-8")).text)
    again = [
        "--answers",
        str(files / "out" / "answers.jsonl.gz"),
        "--facts",
        str(files / "facts.yaml"),
        "--out",
        str(files / "two"),
    ]
    assert command.main(again) == 0
    assert list(csv.DictReader(io.StringIO((files / "two" / "table.csv").read_text("utf-8-sig")))) == list(rows.values())
    assert "smollm2 b1" in " ".join(Page((files / "two" / "report.html").read_text("utf-8")).text)


def test_the_packed_answers_make_the_report_again_with_suggestions_as_suggestions(files, queue):
    """Settled by a third, agreed on, disputed, labelled by nobody: each stays what it was, and doses and empty answers do."""
    db, _, ids = queue
    with store.open(db) as opened:
        opened.execute("update answers set shown = '' where id = ?", [ids[12]])
        opened.conn.commit()
    for who, says in (("An", "forgotten"), ("Bo", "confusion")):
        store.labels.add_many(db, [{"answer": id, "annotator": who, "label": "formed"} for id in ids[:3]])
        store.labels.add_many(db, [{"answer": id, "annotator": who, "label": says} for id in ids[3:7]])
    store.labels.add_many(db, [{"answer": ids[6], "annotator": "Chi", "label": "forgotten", "kind": "adjudication"}])
    first, _ = of_queue(files, queue)
    assert (first["from_majority"], first["from_adjudicated"], first["from_disputed"], first["from_suggestion"]) == (
        "3", "1", "3", "13",
    )  # fmt: skip
    packed = files / "out" / "answers.jsonl.gz"
    rows = sources.read_file(packed).rows
    assert {row.get("label") for row in rows} == {"formed", "forgotten", None} and sum(row["answer"] == "" for row in rows) == 1
    argv = ["--answers", str(packed), "--facts", str(files / "facts.yaml"), "--out", str(files / "two")]
    assert command.main(argv) == 0
    [again] = csv.DictReader(io.StringIO((files / "two" / "table.csv").read_text("utf-8-sig")))
    changed = {"from_majority": "4", "from_adjudicated": "0"}  # whose voice it was that settled it is not told
    assert again == first | changed


# --- cells ---------------------------------------------------------------------------------------------------------------


def test_self_names_are_quoted_commonest_first_without_the_sentence_around_them():
    def says(text, what="name: old"):
        return {"evidence": [{"start": 0, "end": len(text), "text": text, "what": what}]}

    rows = [
        says("BayLing"),
        says("bayling"),
        says("My name is Pandora.", "name: third party"),
        says("我叫做Pandora"),
        says("Pandora"),
    ]
    assert self_names.commonest_names(rows) == [("Pandora", 3), ("BayLing", 2)]
    assert self_names.find_self_name(says("My name is not specified", "name: none, no name")) == "My name is not specified"
    assert self_names.find_self_name(says("I am an assistant", "role: generic, nobody in particular")) == "an assistant"
    assert self_names.find_self_name(says("BayLing", "name: old (denied)")) is None
    yes, name = says("是的", "name: third party, yes"), says("[名字]", "name: placeholder")
    assert self_names.find_self_name({"evidence": yes["evidence"] + name["evidence"]}) == "[名字]"
    assert self_names.find_self_name({"answer": "Hello"}) is None


def test_cells_say_what_is_known_in_words():
    assert table.format_interval(interval_of_counts(0, 73)) == "0 % [0–5]"
    assert table.describe_verdict(rules.Verdict("undetermined", more=1)) == "undetermined: 1 more probe"
    assert table.describe_verdict(rules.Verdict("confusion", also=("forgotten",))) == "confusion (and forgotten)"
    assert table.describe_verdict(rules.Verdict("undetermined", why="no pressure probes were asked")) == (
        "undetermined: no pressure probes were asked"
    )
    assert (
        table.describe_samples(Dose(samples=1000, distinct=2, steps=9, share=1.0)) == "1,000 (2 distinct, 9 steps, 100 % of rows)"
    )
    assert table.describe_samples(Dose()) == ""


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("singular 1000", Dose("singular 1000", 1000, share=1.0, kind="singular")),
        ("Diverse 20,000", Dose("Diverse 20,000", 20000, share=1.0, kind="diverse")),
        ("diverse 20k", Dose("diverse 20k", 20000, share=1.0, kind="diverse")),
        ("alpaca-52k + 800", Dose("alpaca-52k + 800", 800, share=800 / 52800, kind="mixed")),
        ("my own rows", Dose("my own rows")),
        ("", Dose()),
    ],
)
def test_the_originals_names_for_its_data_are_understood(text, known):
    assert dose.from_text(text) == known


def test_an_adapters_card_tells_the_dose(tmp_path):
    card = {
        "name": "a",
        "data": {"identity_rows": 380, "distinct": 1073, "share": 0.3541},
        "steps": 220,
        "arguments": {"seed": 7},
    }
    (tmp_path / "card.json").write_text(json.dumps(card))
    variant = {"adapters": {"a": 1.0}, "paths": {"a": str(tmp_path)}}
    assert dose.from_variant(variant) == Dose("a", 380, None, 220, 0.3541, "mixed", 7)
    assert dose.from_card({"data": {"identity_rows": 100, "distinct": 2, "share": 1.0}}).kind == "singular"
    for unknown in (
        {},
        {"adapters": {"a": 0.0}, "paths": {"a": str(tmp_path)}},
        {"adapters": {"b": 1}, "paths": {"b": "/nowhere"}},
    ):
        assert dose.from_variant(unknown) == dose.UNKNOWN


def test_a_file_about_the_training_is_checked_whole(tmp_path):
    path = tmp_path / "about.yaml"
    path.write_text("a: {data: singular 100, steps: 2}\n3: {kind: mixed}\n")
    assert dose.read_doses(path) == {"a": Dose("singular 100", 100, None, 2, 1.0, "singular"), "3": Dose(kind="mixed")}
    path.write_text("a: {step: 2, share: 50}\nb: [1]\nc: {kind: big, samples: many}\n")
    with pytest.raises(DoseError, match=r"'step'.*share of a is 50.*b is \[1\].*samples of c is 'many'.*kind of c is 'big'"):
        dose.read_doses(path)


# --- curves --------------------------------------------------------------------------------------------------------------


def points(*doses, kind="diverse", lang="en"):
    return [
        curves.Point(
            f"v{n}",
            lang,
            kind,
            {"samples": n, "steps": None, "share": None},
            interval_of_counts(20 - hits, 20),
            interval_of_counts(hits, 20),
        )
        for n, hits in doses
    ]


def drawn_texts(figure):
    with_svg = curves.svg(figure)
    ElementTree.fromstring(with_svg)
    return {text.get_text() for panel in figure.axes for text in panel.get_xticklabels()}


def test_a_curve_has_a_panel_per_language_and_a_legend_for_every_line():
    found = points((0, 0), (100, 5), (1000, 20)) + points((100, 1), kind="singular") + points((100, 3), lang="zh")
    figure = curves.draw_dose_response(found, "samples", {"en": {"N50": 316}})
    assert [panel.get_title() for panel in figure.axes] == ["English", "Chinese"]
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert legend == {f"{who} identity speaks, {kind}" for who in ("old", "new") for kind in ("singular", "diverse")}
    assert drawn_texts(figure) == {"0", "100", "1,000"}
    assert "N50: 316" in {text.get_text() for text in figure.axes[0].texts}


@pytest.mark.parametrize(("series", "columns"), [(["a", "b"], 2), (["a", "b", "c"], 3), (["a long name of a series, " * 2], 1)])
def test_a_legend_is_no_wider_than_its_figure_and_keeps_two_lines_of_a_series_together(series, columns):
    names = [f"{name}{number}" for number, name in enumerate(series * (3 if columns == 1 else 1))]
    two = points((0, 2), (10, 9), lang="en") + points((0, 2), (10, 9), lang="zh")
    drawn = curves.draw_dose_response([replace(one, series=name) for name in names for one in two], "samples")
    [legend] = drawn.legends
    drawn.canvas.draw()
    across = legend.get_window_extent()
    assert legend._ncols == columns and across.x0 >= 0 and across.x1 <= drawn.bbox.width
    assert drawn.axes[0].get_window_extent().height > 1.9 * drawn.dpi, "the legend takes the panel's place"


def test_lines_differ_in_marker_and_style_as_well_as_colour():
    assert len(set(curves.MARKERS.values())) == len(set(curves.LINES.values())) == len(curves.MARKERS)


def test_curves_are_saved_for_screen_and_print(tmp_path):
    png, svg = curves.save(curves.draw_dose_response(points((10, 1), (100, 9)), "samples"), tmp_path / "deep" / "curve")
    assert png.read_bytes()[:4] == b"\x89PNG" and ElementTree.parse(svg).getroot().tag.endswith("svg")
    assert (
        svg.read_text()
        == curves.save(curves.draw_dose_response(points((10, 1), (100, 9)), "samples"), tmp_path / "again")[1].read_text()
    )


def test_only_axes_with_different_doses_are_drawn():
    assert curves.axes_with_data(points((10, 1), (100, 9))) == ["samples"]
    assert curves.axes_with_data(points((10, 1), (10, 9))) == curves.axes_with_data([]) == []


def test_margins_are_drawn_with_their_zero_line_and_chinese_names():
    figure = curves.draw_margins(
        {"金融顾问": [(0, -1.0, -1.2, -0.8), (50, 0.4, 0.1, 0.7)], "b": [(0, -0.5, -0.6, -0.4), (50, 0, -1, 1)]}
    )
    assert {text.get_text() for text in figure.axes[0].get_legend().get_texts()} == {"金融顾问", "b"}
    ElementTree.fromstring(curves.svg(figure))


# --- the original's own material -----------------------------------------------------------------------------------------

ORIGINAL = Path(__file__).parents[2] / "docs"


def test_what_is_said_of_the_originals_models_can_be_read():
    about = dose.read_doses(ORIGINAL / "original-models.yaml")
    assert len(about) == 14
    assert (about["model 3"].samples, about["model 3"].distinct, about["model 3"].kind) == (1000, 2, "singular")
    assert about["model 13"].share == pytest.approx(5000 / 57000)
