"""Chat templates are somebody else's programs: what they may cost, where they run, and that their texts are transformers' own."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from field_templates import TEMPLATES
from hypothesis import given, settings, strategies as st
from jinja2 import TemplateError
from tiny import edit_json, user, write_adapter
from transformers.utils.chat_template_utils import render_jinja_template

from engine import formats, rendering, sandbox
from engine.formats import Format
from engine.types import EngineError

ROOT = Path(__file__).parents[2]
NESTED = "{% for a in range(99999) %}{% for b in range(99999) %}{{ 'x' if a < 0 }}{% endfor %}{% endfor %}"
COSTLY = {
    "nested loops": NESTED,
    "loops that are used": NESTED + "{{ messages[0].content }}",
    "a power": "{{ 9 ** (9 ** 9) }}{{ messages[0].content }}",
    "a text times a number": "{{ 'x' * 10 ** 10 }}{{ messages[0].content }}",
    "a text that doubles": "{% set n = namespace(t='x') %}{% for a in range(99) %}{% set n.t = n.t ~ n.t %}{% endfor %}{{ n }}",
    "much text": "{% for a in range(99999) %}{{ messages[0].content * 999 }}{% endfor %}",
    "a wide field": "{{ '%999999999d' % 1 }}{{ messages[0].content }}",
    "a filter": "{{ 'x' | center(10 ** 10) }}{{ messages[0].content }}",
    "a list": "{{ (range(99999) | list) * 99999 }}{{ messages[0].content }}",
    "an indented object": "{{ [messages] | tojson(indent=10 ** 10) }}",
    "a macro without end": "{% macro again() %}{{ again() }}{{ again() }}{% endmacro %}{{ again() }}",
    "a macro that branches": "{% macro go(n) %}{% if n %}{{ go(n - 1) }}{{ go(n - 1) }}{% endif %}{% endmacro %}{{ go(60) }}",
    "a sum of lists": "{% set n = namespace(l=[1]) %}{% for a in range(60) %}{% set n.l = n.l + n.l %}{% endfor %}{{ n.l }}",
    "deep brackets": "{{ " + "[" * 5000 + "]" * 5000 + " }}",
    "a text of words": "{{ lipsum(n=10 ** 9) }}",
}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """A fifth of the time there is, for tests that are quick."""
    monkeypatch.setattr(rendering, "SECONDS", 0.2)


def transformers_text(template: str, messages: list, **more) -> str:
    return render_jinja_template([messages], chat_template=template, **more)[0][0]


@pytest.mark.parametrize("what", COSTLY)
def test_a_template_that_takes_too_much_ends_in_a_sentence(what):
    began = time.process_time()
    with pytest.raises(EngineError, match="Format 'mine' (cannot be used: its template|has a fault in its template)") as said:
        formats.check_template(Format("mine", COSTLY[what]))
    assert time.process_time() - began < 60  # the computing is another process's, and would not end
    assert len(str(said.value)) < 500 and "\n" not in str(said.value)
    assert Format("mine", "{{ messages[0].content }}|").render(user("q")) == "q|"


def test_one_that_grows_with_the_conversation_fails_for_the_long_one_only():
    squares = "{% for a in messages %}{% for b in messages %}{% for c in messages %}{{ '' }}{% endfor %}{% endfor %}{% endfor %}"
    form = formats.check_template(Format("cubic", squares + "{{ messages[-1].content }}"))
    long = [{"role": role, "content": "x"} for _ in range(1000) for role in ("user", "assistant")]
    with pytest.raises(rendering.TemplateLimit, match="computes for too long"):
        form.render([*long, *user("q")])
    assert form.render(user("q")) == "q"


def test_a_slow_template_holds_no_other_up(monkeypatch):
    """Another thread's text does not wait for one that is being cut."""
    monkeypatch.setattr(rendering, "SECONDS", 5.0)  # a machine that tests may be slow to come to the other one

    def render() -> None:
        with pytest.raises(EngineError):
            Format("slow", NESTED).render(user("q"))

    slow = threading.Thread(target=render)
    form = Format("quick", "{{ messages[0].content }}!")
    form.render(user("warm"))
    slow.start()
    assert form.render(user("q")) == "q!" and slow.is_alive()
    slow.join()


def test_a_process_that_went_away_is_replaced():
    form = Format("mine", "{{ messages[0].content }}?")
    assert form.render(user("q")) == "q?"
    for one in list(rendering.POOL.waiting):
        os.kill(one.process.pid, signal.SIGKILL)
        one.process.wait()
    assert form.render(user("q")) == "q?"


def test_where_the_system_has_no_clock_waiting_ends(monkeypatch):
    class Clockless:
        SIGKILL = signal.SIGKILL

    monkeypatch.setattr(rendering, "signal", Clockless)
    monkeypatch.setattr(rendering, "PATIENCE", 0.1)
    with pytest.raises(EngineError, match="too long"):
        Format("slow", NESTED).render(user("q"))


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("opening", [True, False])
def test_the_text_is_transformers_own(name, opening):
    talk = [*user("q1"), {"role": "assistant", "content": "<think>\nhm\n</think>\n\na1"}, *user("q2 é 你 🙂")]
    talk = talk if opening else [*talk, {"role": "assistant", "content": "a2"}]
    variables = dict(bos_token="<s>", eos_token="</s>", add_generation_prompt=opening)
    if "parts" in name:
        talk = [{**one, "content": [{"type": "text", "text": one["content"]}]} for one in talk]
    ours = rendering.render(name, TEMPLATES[name], {"messages": talk, **variables})
    assert ours == transformers_text(TEMPLATES[name], talk, **variables)


ODD = (
    "{{ messages | tojson }}",
    "{{ messages | tojson(indent=2) }}",
    "{% set n = namespace(a=1) %}{% for m in messages %}{% set n.a = n.a + 1 %}{% endfor %}{{ n.a }}",
    "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ messages[0].content ~ x }}{% endgeneration %}{{ x }}",
    "{{ dict(a=1).items() | list }}{{ dict.fromkeys([1]) }}{{ tools }}{{ documents is none }}",
    "  {% if true %}\n  x\n  {% endif %}\n{{ messages[-1]['content'].strip().split(' ')[-1] }}\n",
)


@pytest.mark.parametrize("template", ODD)
def test_what_templates_find_around_them_is_the_same_as_in_transformers(template):
    variables = dict(bos_token="<s>", eos_token="</s>", add_generation_prompt=True)
    ours = sandbox.render(template, {"messages": user("a b"), **variables})
    assert ours == transformers_text(template, user("a b"), **variables)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.mro() }}",
        "{{ namespace(_a=1) }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception('no ' * 999) }}",
        "{% if %}",
    ],
)
def test_what_transformers_refuses_is_refused(template):
    with pytest.raises((TemplateError, AttributeError, TypeError)):
        transformers_text(template, user("q"))
    with pytest.raises(EngineError, match="Format 'mine'") as said:
        formats.check_template(Format("mine", template))
    assert len(str(said.value)) < 500


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.text(max_size=40), st.sampled_from(sorted(TEMPLATES)))
def test_any_text_comes_back_as_it_is_rendered_elsewhere(text, name):
    messages = user(text)
    if "parts" in name:
        messages = [{"role": "user", "content": [{"type": "text", "text": text}]}]
    variables = dict(bos_token="<s>", eos_token="</s>", add_generation_prompt=True)
    ours = rendering.render(name, TEMPLATES[name], {"messages": messages, **variables})
    assert ours == transformers_text(TEMPLATES[name], messages, **variables)


FRAGMENTS = ("{% for a in range(99999) %}", "{% endfor %}", "{{ a }}", "{{ 'x' * 99999 }}", "{{ messages }}", "{% set x = 9 %}")
FRAGMENTS += ("{{ range(99999) | list | join }}", "{% macro m() %}", "{% endmacro %}", "{{ m() }}", "{{", "}}", "{#", "-%}")


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=8).map("".join))
def test_any_template_ends_in_a_text_or_a_sentence(template):
    try:
        assert len(rendering.render("mine", template, {"messages": user("q")})) <= sandbox.CHARACTERS
    except EngineError as error:
        assert "Format 'mine'" in str(error) and len(str(error)) < 500


def test_there_is_no_other_road_to_a_template():
    """apply_chat_template and environments of their own would render a foreign template here, unbounded."""
    # the report is the project's own page; literal.py takes a template apart and renders nothing
    allowed = {"engine/sandbox.py", "engine/literal.py", "probes/report/page.py"}
    for room in ("engine", "identities", "probes", "tuning", "store", "ui"):
        for file in (ROOT / room).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            roads = ("apply_chat_template", "render_jinja_template", "_compile_jinja_template", "Environment(", "jinja2")
            found = [road for road in roads if road in text]
            assert not found or str(file.relative_to(ROOT)) in allowed, (file, found)


def test_a_card_with_a_costly_template_is_told_when_it_is_loaded(tmp_path):
    from engine.adapters import read_adapter

    folder = write_adapter(tmp_path / "bomb")
    (folder / "card.json").write_text(json.dumps({"format": "own", "format_template": NESTED}))
    with pytest.raises(EngineError, match="Format 'own' cannot be used: its template computes for too long"):
        read_adapter(folder)


def test_an_adapter_for_merging_has_its_template_looked_at_as_well(tmp_path):
    from engine.adapters import read_adapter

    folder = write_adapter(tmp_path / "bomb")
    edit_json(folder / "adapter_config.json", use_dora=True)
    (folder / "card.json").write_text(json.dumps({"format": "own", "format_template": NESTED}))
    with pytest.raises(EngineError, match="Format 'own' cannot be used: its template computes for too long"):
        read_adapter(folder)


def test_a_base_whose_own_template_is_no_good_answers_in_another_format():
    from types import SimpleNamespace

    from engine.engine import Engine
    from engine.types import Variant

    base = SimpleNamespace(format=formats.get("chatml"), tokenizer=SimpleNamespace(chat_template=NESTED))
    engine = SimpleNamespace(base=base, adapters={})
    assert Engine.format_of(engine, Variant()) is base.format
    assert Engine.format_of(engine, Variant(format="alpaca")) is formats.get("alpaca")
    with pytest.raises(rendering.TemplateLimit):
        Engine.format_of(engine, Variant(format="checkpoint"))
