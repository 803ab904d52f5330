"""Whatever lies on the shelf: the page opens, every tab says what is wrong in its own place, and it can be removed."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import gradio as gr
import pytest
from hypothesis import given, settings, strategies as st
from label_page import PageEngine
from tiny import edit_json, tiny_llama, write_adapter

import identities
import store
from engine.adapter_shapes import read_card
from engine.adapters import read_adapter, read_config
from engine.types import EngineError
from ui import adapter_library, app as program, tab_loading
from ui.context import App
from ui.tabs.adapters import cards as adapters_cards, layout as adapters_layout, merging as adapters_merging
from ui.tabs.finetune import run_page
from ui.words import Languages, say

SOME = settings(max_examples=60, deadline=None, derandomize=True)
ODD = {
    "losses": {"last": "low"},
    "data": "a text",
    "steps": [1],
    "identity": {"en": "Mira"},
    "created": 5,
    "arguments": 7,
    "seed": 1.5,
    "name": None,
}
FIELDS = (*ODD, "base", "base_hash", "format", "format_template", "format_stop", "exposures", "more")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["rows", "first", "last", "lowest", "validation", "learning_rate"]), inner, max_size=4)
    ),
    max_leaves=8,
)
REQUEST = SimpleNamespace(headers={}, cookies={}, session_hash="s", username=None)


class Reading(PageEngine):
    """Reads adapters as the engine does, and computes nothing with them."""

    def add_adapter(self, path, name, accept_other_base=False):
        self.adapters[name] = read_adapter(path, name)[0]
        return name

    def remove_adapter(self, name):
        del self.adapters[name]


@pytest.fixture
def app(tmp_path):
    store.open(tmp_path / "mirror.db").close()
    (tmp_path / "adapters").mkdir()
    places = tmp_path / "mirror.db", identities.FOLDER, (tmp_path / "adapters",)
    return App(Reading(), *places, Languages("en"), measured={"quick_batch": 16})


@pytest.fixture(scope="module")
def model():
    return tiny_llama()


def filled(demo: gr.Blocks) -> dict[str, set[str]]:
    """What stands in each notice after every listener that fills its tab has run."""
    said: dict[str, set[str]] = {}
    for listener in demo.fns.values():
        if notice := next((one for one in listener.outputs if str(one.elem_id).startswith("notice-")), None):
            told = listener.fn(REQUEST, *(getattr(one, "value", None) for one in listener.inputs))
            # a chat that is just being opened is left alone
            words = [told[notice].removesuffix(tab_loading.FILLED) or tab_loading.FILLED] if notice in told else []
            said.setdefault(notice.elem_id.removeprefix("notice-"), set()).update(words)
    return said


def test_a_shelf_of_odd_cards_opens_every_tab_and_can_be_emptied(app, model):
    for field, value in ODD.items():
        edit_card(write_adapter(app.adapters[0] / f"odd-{field}", model), {field: value})
    edit_card(write_adapter(app.adapters[0] / "halves", model), {"losses": {"last": 0.5}, "data": None})
    refused = write_adapter(app.adapters[0] / "formatless", model)
    edit_card(refused, {"format": ["bayling"]})
    (write_adapter(app.adapters[0] / "listed", model) / "card.json").write_text("[1, 2]")
    (app.adapters[0] / "no-adapter").mkdir()
    (app.adapters[0] / "loop").symlink_to(app.adapters[0] / "loop")
    (app.adapters[0] / os.fsdecode(b"odd-\xff")).mkdir()
    adapter_library.rescan(app)
    assert "format is ['bayling'], a text is needed" in app.refused[str(refused)]
    said = filled(program.build(app))
    assert set(said) == {"chat", "probes", "label", "results", "identity", "finetune", "experiment", "adapters"}
    assert all(words == {tab_loading.FILLED} for words in said.values())
    table = adapters_cards.table_html(app, "en")
    assert table.count("odd card") == len(ODD) - 1 and "0.50" in table and "holds no adapter" in table
    table.encode()
    for name in list(adapter_library.choices(app)):
        adapters_cards.card_html(app, "zh-CN", name).encode()
        adapter_library.delete(app, name)
    assert list(app.adapters[0].iterdir()) == [] and not app.refused and not app.engine.adapters


def edit_card(folder, card: dict) -> None:
    (folder / "card.json").write_text(json.dumps(card))


@pytest.mark.parametrize("lang", ["en", "zh-CN"])
def test_a_tab_that_cannot_be_filled_says_so_in_its_place_and_the_others_work(tmp_path, app, monkeypatch, lang):
    app.language.default = lang
    demo = program.build(app)
    monkeypatch.setattr(adapters_layout, "show_tab", lambda *_: (_ for _ in ()).throw(KeyError("losses")))
    said = filled(demo)
    [failed] = said.pop("adapters")
    assert say(lang, "tab_failed") in failed and "KeyError" in failed
    assert all(words == {tab_loading.FILLED} for words in said.values())


def test_text_that_no_page_can_show_is_caught_by_the_guard_too(app):
    with gr.Blocks():
        place, box = tab_loading.notice("x"), gr.Textbox()
    bad = tab_loading.guard_filling(app, place, lambda _request: {box: gr.update(choices=[("\udcff", "a")])})(REQUEST)
    assert list(bad) == [place] and "mt-failed" in bad[place]
    assert tab_loading.guard_filling(app, place, lambda _request: gr.skip())(REQUEST) == gr.skip()


@SOME
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6))
def test_any_card_is_shown_or_refused_with_a_sentence(tmp_path_factory, card):
    file = tmp_path_factory.getbasetemp() / "card.json"
    file.write_text(json.dumps(card))
    try:
        kept, problem = read_card(file)
    except EngineError as error:
        assert str(file) in str(error) and "\n" not in str(error)
        return
    assert set(kept) <= set(card) and bool(problem) == (set(kept) != set(card))
    for field in set(card) - set(kept):
        assert field in problem
    adapters_cards.row_html("en", "mira", kept, kept.get("format"), 1, True, problem).encode()
    job = {"status": "done", "folder": str(file.parent), "settings": {}, "attempt": 1, "device": "cpu", "needs_bytes": 0}
    run_page.numbers_html("zh-CN", job | {"unestimated": ""}, SimpleNamespace(latest={})).encode()


CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
SETTINGS = (*CONFIG, "bias", "rank_pattern", "alpha_pattern", "use_rslora", "layers_to_transform", "modules_to_save",
            "init_lora_weights", "lora_dropout", "use_dora", "loftq_config", "eva_config", "arrow_config", "layers_pattern",
            "base_model_name_or_path", "auto_mapping", "runtime_config", "revision", "task_type")  # fmt: skip


@SOME
@given(st.dictionaries(st.sampled_from(SETTINGS), VALUES, max_size=4))
def test_any_configuration_is_one_or_a_sentence(tmp_path_factory, changes):
    folder = tmp_path_factory.getbasetemp()
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | changes))
    try:
        config = read_config(folder)
    except EngineError as error:
        assert "\n" not in str(error).rstrip()
        return
    assert type(config.r) is int and config.r >= 1 and isinstance(config.lora_alpha, int | float)


@pytest.mark.parametrize(
    "change", [{"r": "4"}, {"r": 0}, {"r": True}, {"lora_alpha": None}, {"rank_pattern": {"q": "8"}}, {"bias": 3}]
)
def test_a_configuration_with_a_wrong_type_names_its_field(tmp_path, model, change):
    folder = write_adapter(tmp_path / "mira", model)
    edit_json(folder / "adapter_config.json", **change)
    with pytest.raises(EngineError, match=rf"is not a LoRA configuration: {next(iter(change))}.* is needed"):
        read_adapter(folder)


def test_what_is_typed_as_an_adapter_folder_never_breaks_a_later_visit(app, tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    demo = program.build(app)
    for typed in ("a\0b", str(loop), "x" * 5000, "~nobody-here/x", "\ud800", str(tmp_path / "nothing"), "/dev/null"):
        with pytest.raises(EngineError) as caught:
            adapter_library.load_folder(app, typed)
        assert "not foreseen" not in str(caught.value) and "\0" not in str(caught.value)
        assert filled(demo)["adapters"] == {tab_loading.FILLED}
    assert "\0" not in "".join(app.refused)
    for target in ("a\0b", str(loop), "x" * 5000):
        with pytest.raises(EngineError, match="type (it|another)"):
            adapters_merging.queue_merge(app, "mira", target, 1.0)


def test_a_link_on_the_shelf_is_removed_and_what_it_leads_to_stays(app, model, tmp_path):
    kept = write_adapter(tmp_path / "elsewhere", model)
    (app.adapters[0] / "linked").symlink_to(kept)
    adapter_library.rescan(app)
    [name] = adapter_library.choices(app)
    with pytest.raises(EngineError, match="is a link"):
        adapter_library.rename(app, name, "other")
    adapter_library.delete(app, name)
    assert (kept / "adapter_config.json").is_file() and not os.path.lexists(app.adapters[0] / "linked")
