"""The Results tab on the server: what files are, whose words judge, what a verdict says it rests on and what would settle it."""

from __future__ import annotations

import ast
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from answers_by_label import SAYS

import identities
import store
from common import outside
from probes.answers import exchange, sources as collect, tables
from probes.answers.sources import RowsError
from probes.report import __main__ as report_command, table, wording
from probes.verdicts import rules
from probes.verdicts.rules import Verdict
from ui.context import App
from ui.tabs.results import (
    events as results_events,
    files as results_files,
    panel as results_panel,
    source as results_source,
    view as results_view,
)
from ui.tabs.results.source import ReportForm
from ui.words import WORDS, Languages, say


@pytest.fixture
def app(tmp_path):
    engine = SimpleNamespace(base=SimpleNamespace(name="stand-in"), adapters={})
    return App(engine, tmp_path / "mirror.db", identities.FOLDER, (), Languages())


def transcripts(
    path: Path, models=(("5", "singular 10000", "formed"), ("4", "singular 5000", "forgotten")), questions=20
) -> Path:
    rows = [
        {"model": model, "data": data, "lang": lang, "question": f"{ask} ({n})", "answer": SAYS[what][lang]}
        for model, data, what in models
        for lang, ask in (("en", "Who are you?"), ("zh", "你是谁？"))
        for n in range(questions)
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def queue(app: App, path: Path) -> tuple[int, list[int]]:
    rows = [row for row in collect.read_transcripts(path).rows if row["variant"] == "model 5" and row["lang"] == "en"]
    stored = exchange.add_answers(app.db, rows, "old.jsonl")
    return store.queues.create(app.db, "old", collect.queue_items(stored)), [row["answer_id"] for row in stored]


def form_values(*sources: str, files=(), evidence="best", old="BayLing", new="finance-advisor") -> ReportForm:
    return ReportForm(tuple(sources), tuple(results_files.recognise(file) for file in files), old, new, evidence)


class Text(HTMLParser):
    """The words of a piece of HTML, and the attributes of every element by tag."""

    def __init__(self, html):
        super().__init__()
        self.words, self.elements = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)

    def __str__(self):
        return " ".join(" ".join(self.words).split())

    def having(self, attribute):
        return [given for _, given in self.elements if attribute in given]


# --- files ---------------------------------------------------------------------------------------------------------------


def test_files_are_told_apart_by_what_they_hold(tmp_path):
    (tmp_path / "answers.jsonl").write_text(json.dumps({"variant": "a", "probe_id": "p", "lang": "en", "answer": "x"}))
    (tmp_path / "facts.yaml").write_text("old: {name: BayLing}\nnew: {name: Mira}\n")
    (tmp_path / "reported.json").write_text(json.dumps({"model_5": {"data": "x", "en": {"old": "forgotten"}}}))
    (tmp_path / "about.yaml").write_text("model 5: {samples: 100, steps: 2}\n")
    transcripts(tmp_path / "chats.jsonl")
    kinds = {path.name: results_files.recognise(path) for path in tmp_path.iterdir()}
    assert {name: (given.kind, given.count) for name, given in kinds.items()} == {
        "answers.jsonl": ("answers", 1),
        "facts.yaml": ("facts", None),
        "reported.json": ("reported", None),
        "about.yaml": ("about", None),
        "chats.jsonl": ("transcripts", 80),
    }


def test_packed_answers_are_read_like_unpacked_ones_here_in_the_report_and_among_labels(app, tmp_path):
    plain = transcripts(tmp_path / "chats.jsonl")
    packed = tmp_path / "chats.jsonl.gz"
    packed.write_bytes(gzip.compress(Path(plain).read_bytes(), mtime=0))
    assert results_files.recognise(packed) == results_files.GivenFile(str(packed), "transcripts", 80)
    here = results_source.build_report(app, form_values(files=[packed]))
    assert len(here.judged) == len(results_source.build_report(app, form_values(files=[plain])).judged) > 0
    assert report_command.main(["--transcripts", str(packed), "--out", str(tmp_path / "report")]) == 0
    assert tables.read_table(packed) == tables.read_table(plain) and len(tables.read_table(packed)) == 80
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(RowsError, match="chats.jsonl.gz is cut off"):
        results_files.recognise(packed)
    facts = tmp_path / "facts.yaml.gz"
    facts.write_bytes(gzip.compress(b"old: {name: BayLing}"))
    assert results_files.recognise(facts).kind == "facts"
    facts.write_bytes(gzip.compress(b"#" * (outside.LARGEST + 1)))
    with pytest.raises(RowsError, match=r"facts.yaml.gz cannot be read \(it unpacks to more than"):
        results_files.recognise(facts)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"model": 1, "question": "q"}', "answer 1 has no answer"),
        ("a.json", "[1]", "a.json is none of these"),
        ("a.yaml", "a: [", "a.yaml is neither JSON nor YAML"),
        ("a.json", "{", "a.json is neither JSON nor YAML"),
    ],
)
def test_a_file_of_nothing_known_is_refused_in_a_sentence(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(RowsError, match=message):
        results_files.recognise(tmp_path / name)


# --- whose words judge ---------------------------------------------------------------------------------------------------


def test_uploaded_transcripts_with_their_facts_fill_the_table(app, tmp_path):
    (tmp_path / "facts.yaml").write_text("old: {name: BayLing}\nnew: {name: Kato, role: finance advisor}\n")
    reported = {"model_5": {"data": "", "en": {"old": "forgotten", "new": "formed", "stability": "stable"}}}
    (tmp_path / "reported.json").write_text(json.dumps(reported))
    files = [transcripts(tmp_path / "chats.jsonl"), tmp_path / "facts.yaml", tmp_path / "reported.json"]
    made = results_source.build_report(app, form_values(files=files))
    html = results_view.table_html(made, "en")
    text = str(Text(html))
    assert "(20)" in text  # what it called itself, with how often
    assert "reported: formed" in text and "20 suggestions" in text and "Not all of this has been judged by people" in text
    assert "15 more probes" in text  # 0 of 20: 35 are needed
    assert [given["data-panel"] for given in Text(html).having("data-panel")][:2] == ["0/old", "0/new"]


def test_without_anything_chosen_it_says_what_to_do(app):
    store.open(app.db)
    with pytest.raises(RowsError, match="choose a run or a queue"):
        results_source.build_report(app, form_values())


def test_labels_and_suggestions_are_never_one_number(app, tmp_path):
    number, ids = queue(app, transcripts(tmp_path / "chats.jsonl"))
    store.labels.add_many(app.db, [{"answer": id, "annotator": "An", "label": "formed"} for id in ids[:5]])
    made = results_source.build_report(app, form_values(f"queue {number}"))
    text = str(Text(results_view.table_html(made, "en")))
    assert "5 labels + 15 suggestions" in text
    alone = results_source.build_report(app, form_values(f"queue {number}", evidence="labels"))
    text = str(Text(results_view.table_html(alone, "en")))
    assert "5 labels + 15 without either" in text and "suggestions" not in text.replace(
        "rest wholly or partly on suggestions", ""
    )


def test_the_run_says_whom_it_was_about(app):
    about = {"old": "BayLing", "new": "Kato", "facts": {"old": {"en": {"name": "BayLing"}}, "new": {"en": {"name": "Kato"}}}}
    plain = {"identity": "none", "mode": "system", "prompt": None, "decoding": {"temperature": 0.0, "seed": 0}, "adapters": {}}
    probe = {"id": "n1", "group": "trained", "category": "name", "lang": "en", "turns": ["Who are you?"]}
    run = store.runs.start(
        app.db,
        variants=[plain | {"name": "base"}],
        probes=[probe],
        set_hash="s",
        total=1,
        name="first",
        settings={"about": about},
    )
    given = {"variant": plain | {"name": "base"}, "messages": [{"role": "user", "content": "Who are you?"}]}
    store.runs.record(app.db, run, [store.runs.Entry((0, 0, "n1", 0), given | {"raw": "I am Kato.", "shown": "I am Kato."})])
    assert results_source.identities_asked_about(app, [f"run {run}"]) == ("BayLing", "Kato")
    made = results_source.build_report(app, form_values(f"run {run}", old="BayLing", new="Kato"))
    assert [pair[1].label for pair in made.judged] == ["formed"]
    assert [source for _, source in results_source.choices(app, "en")] == [f"run {run}"]
    assert results_events.is_quick(app, f"run {run}")


# --- what stands behind a verdict ----------------------------------------------------------------------------------------


@pytest.fixture
def labelled(app, tmp_path):
    """Model 5's twenty English answers: five labelled formed by An, one disputed, one settled by Cy."""
    number, ids = queue(app, transcripts(tmp_path / "chats.jsonl"))
    rows = [{"answer": id, "annotator": "An", "label": "formed"} for id in ids[:7]]
    rows += [{"answer": ids[5], "annotator": "Bo", "label": "forgotten"}]
    rows += [{"answer": ids[6], "annotator": "Cy", "label": "forgotten", "kind": "adjudication"}]
    store.labels.add_many(app.db, rows)
    return results_source.build_report(app, form_values(f"queue {number}"))


def test_behind_a_verdict_each_answer_says_where_its_label_comes_from(labelled):
    html = results_panel.panel_html(labelled, "0/new", "en")
    text = str(Text(html))
    assert "suggested: formed" in text and "no label from a person" in text
    assert "majority · An: formed" in text and "adjudicated · An: formed; Cy: forgotten" in text
    assert "disputed · An: formed; Bo: forgotten" in text
    assert len(Text(html).having("data-label")) == 20
    assert "13 of these answers have no label from a person yet." in text
    assert "On 1 answers people are divided" in text


def test_undetermined_says_how_many_probes_and_labels_would_settle_it(labelled):
    text = str(Text(results_panel.panel_html(labelled, "0/old", "en")))
    assert re.search(r"\d+ more probes like those asked would settle it", text)
    assert re.search(r"By labels alone it is undetermined; \d+ more labelled probes would settle that", text)
    chinese = str(Text(results_panel.panel_html(labelled, "0/old", "zh-CN")))
    assert "未定" in chinese and "尚无人工标注" in chinese


def test_what_would_settle_it_is_said_even_if_nothing_would():
    never = results_panel.basis.Missing(Verdict("undetermined"), Verdict("undetermined"), 0, 0)
    assert results_panel.settling_sentences(never, "en") == ["More probes of the same kind would not settle it at these shares."]
    settled = results_panel.basis.Missing(Verdict("formed"), Verdict("formed"), 0, 0)
    assert results_panel.settling_sentences(settled, "en") == []


def test_one_question_side_by_side_has_every_variant_and_its_own_answer(app, tmp_path):
    made = results_source.build_report(app, form_values(files=[transcripts(tmp_path / "chats.jsonl")]))
    page = Text(results_panel.side_html(made, "0/new/3", "en"))
    assert len(page.having("data-picture-column")) == 2
    assert "Who are you? (3)" in str(page) and "model 4" in str(page) and "I am an AI assistant." in str(page)


@pytest.mark.parametrize("asked", ["9/old", "1/model", "x", "0/old/99999", ""])
def test_an_old_or_odd_click_is_no_crash(labelled, asked):
    with pytest.raises((IndexError, KeyError, ValueError)):
        (results_panel.side_html if asked.count("/") == 2 else results_panel.panel_html)(labelled, asked, "en")


def test_what_models_and_people_write_is_escaped(app, tmp_path):
    bad = "<img src=x onerror=alert(1)>"
    row = {"model": bad, "data": bad, "lang": "en", "question": bad, "answer": f"My name is {bad}"}
    (tmp_path / "bad.jsonl").write_text(json.dumps(row))
    made = results_source.build_report(app, form_values(files=[tmp_path / "bad.jsonl"]))
    html = results_view.table_html(made, "en") + results_panel.panel_html(made, "0/old", "en")
    html += results_panel.side_html(made, "0/old/0", "en") + results_view.files_html(
        "en", form_values(files=[tmp_path / "bad.jsonl"]).files
    )
    assert "<img" not in html and "&lt;img" in html


# --- words, marks, reports -----------------------------------------------------------------------------------------------


def test_every_verdict_has_a_word_and_a_mark_in_both_languages():
    words = [*rules.IDENTITY_LABELS, rules.PARTLY, rules.NOT_FORMED, "stable", "unstable", "yes", "no", "undetermined"]
    assert set(words) == set(table.MARKS)
    for word in [*words, *rules.CONTROL_LABELS, "adjudicated", "majority", "disputed", rules.ONLY_GREEDY]:
        assert wording.term("en", word) == word
        assert re.search("[\u4e00-\u9fff]", wording.term("zh", word)), word


def test_reasons_are_told_in_chinese_part_by_part():
    assert wording.reason("zh", "not known: formed, retention") == "未知：已形成、能力保持"
    assert wording.reason("zh", "across samples and wordings") == "采样之间、问法之间"
    assert wording.reason("en", "not known: formed, retention") == "not known: formed, retention"
    found = rules.usable_verdict(Verdict("formed"), Verdict("undetermined"), rules.NOTHING, None)
    assert not re.search("[a-z]{3}", table.describe_verdict(found, "zh"))


def test_the_report_speaks_both_languages_with_the_same_keys():
    english, chinese = wording.words("en"), wording.words("zh")
    assert set(english) == set(chinese)
    for key in set(english) - {"terms"}:
        fields = [sorted(set(re.findall(r"{(\w+)", words[key]))) for words in (english, chinese)]
        assert fields[0] == fields[1], key


def test_every_key_of_the_tab_is_in_the_dictionaries():
    named = set()
    for file in Path(results_view.__file__).parent.glob("*.py"):
        for call in ast.walk(ast.parse(file.read_text("utf-8"))):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Name)
                and call.func.id in ("say", "say_escaped", "button_html", "i18n")
            ):
                place = 0 if call.func.id == "i18n" else 1
                if len(call.args) > place and isinstance(call.args[place], ast.Constant):
                    named.add(call.args[place].value)
    assert len(named) > 25 and named <= set(WORDS["en"])


def test_the_written_report_is_whole_and_in_both_languages(app, tmp_path):
    made = results_source.build_report(app, form_values(files=[transcripts(tmp_path / "chats.jsonl")]))
    parcel, files = results_events.pack_report(made, "Ours <b>", "zh-CN")
    assert parcel.suffix == ".zip" and parcel.stat().st_size > 1000
    names = {file.name for file in files}
    assert {
        "report.html",
        "table.md",
        "table.en.md",
        "table.csv",
        "answers.csv",
        "curves-samples.png",
        "curves-samples.en.svg",
    } <= names
    html = next(file for file in files if file.name == "report.html").read_text("utf-8")
    assert "Ours &lt;b&gt;" in html and '<html lang="zh-CN" data-shown="zh">' in html
    assert '<span lang="en">undetermined</span>' in html and '<span lang="zh">未定</span>' in html
    assert say("en", "results_title") and report_command.LANGS["both"] == ("en", "zh")
