"""A base is found, loaded in a fitting number format, and described; everything wrong with it is one sentence."""

from __future__ import annotations

import json
import os
import pickle

import pytest
import torch
from tiny import tiny_llama, write_bayling_like
from tiny_base import write_tiny_base
from transformers import AutoTokenizer

import engine
from common.files import write_once
from engine import Decoding, EngineError, Request, Variant, formats
from engine.bases import load_base, weights_hash
from engine.device import check_arch, choose_device, choose_dtype
from tuning.train.loading import own_format

PROMPT = (
    "I am an intelligent language assistant developed by the NLP Group of ICT/CAS.\n"
    "Below is a dialog consisting of instructions and responses. Write a response that completes the request.\n\n"
    "### Instruction:\nWho are you?\n### Response:\n"
)


@pytest.fixture(scope="module")
def bayling_like(tmp_path_factory):
    return write_bayling_like(tmp_path_factory.mktemp("models") / "tiny-b")


def load(folder, **settings):
    said = []
    return load_base(str(folder), dtype="fp32", say=said.append, **settings), said


def test_a_checkpoint_in_baylings_form_answers_in_baylings_prompt(bayling_like):
    loaded = engine.load(str(bayling_like), dtype="fp32", say=lambda _line: None)
    assert loaded.base.format.name == "bayling" and loaded.base.card.name == "BayLing"
    question = Request([{"role": "user", "content": "Who are you?"}], Variant(decoding=Decoding(max_new_tokens=8)))
    answer = loaded.answer([question])[0]
    assert answer.prompt == PROMPT
    ids = loaded.base.tokenizer(PROMPT)["input_ids"]
    assert ids[0] == 1 and 1 not in ids[1:]  # <s> once, at the very beginning
    assert answer.prompt_tokens == len(ids)


def test_every_automatic_choice_is_said_with_its_reason(bayling_like):
    base, said = load(bayling_like)
    assert said == base.reasons and len(said) == 3
    assert "no CUDA GPU" in said[0] or "cuda" in said[0]
    assert said[1] == "dtype fp32: asked for"
    assert "format bayling: assumed" in said[2] and "--format alpaca" in said[2]


def test_the_format_comes_from_the_checkpoint_and_not_from_the_folders_name(bayling_like, tmp_path):
    renamed = tmp_path / "alpaca-chatml-7b"
    os.symlink(bayling_like, renamed)
    assert load(renamed)[0].format.name == "bayling"
    assert load(renamed, format="alpaca")[0].format.name == "alpaca"


def test_the_weights_have_one_name_in_every_number_format(bayling_like):
    hashes = {load_base(str(bayling_like), dtype=dtype, say=lambda _line: None).hash for dtype in ("fp32", "fp16", "bf16")}
    assert len(hashes) == 1
    assert weights_hash(tiny_llama(seed=1)) != weights_hash(tiny_llama(seed=2))


def test_weights_stored_in_fp32_have_one_name_too(bayling_like, tmp_path):
    """Loaded in fp16 and then rounded to bf16, a value may become another one than rounded at once."""
    folder = tmp_path / "fp32"
    tiny_llama(vocab_size=3000).save_pretrained(folder)
    AutoTokenizer.from_pretrained(bayling_like).save_pretrained(folder)
    hashes = {load_base(str(folder), dtype=dtype, say=lambda _line: None).hash for dtype in ("fp32", "fp16", "bf16")}
    assert len(hashes) == 1


def test_a_card_from_elsewhere_cannot_lend_a_name(bayling_like, tmp_path):
    folder = write_bayling_like(tmp_path / "claims")
    (folder / "card.json").write_text('{"hash": "2edac5c8c516", "format": "alpaca", "format_hash": "other"}')
    base = load(folder)[0]
    assert base.hash == load(bayling_like)[0].hash and base.format.name == "bayling"


def test_a_base_that_records_its_format_is_trained_in_it_without_a_caution(tmp_path):
    folder = write_tiny_base(tmp_path / "merged")
    assert own_format(load(folder)[0]) == "checkpoint"  # its tokenizer has a template of its own
    card = {"format": "bayling", "format_hash": formats.get("bayling").hash}
    (folder / "card.json").write_text(json.dumps(card))
    for asked in ("alpaca", None):
        base = load(folder, format=asked)[0]
        assert (base.format.name, own_format(base)) == (asked or "bayling", "bayling")


def test_a_model_with_missing_weights_is_refused(tmp_path):
    folder = write_bayling_like(tmp_path / "holes")
    shard = folder / "pytorch_model-00001-of-00002.bin"
    torch.save({name: tensor for name, tensor in torch.load(shard).items() if "layers.1" not in name}, shard)
    with pytest.raises(EngineError, match=r"not a whole model: \d+ weights are missing \(model.layers.1"):
        load(folder)


def test_no_weights_with_program_code(bayling_like, tmp_path):
    folder = write_bayling_like(tmp_path / "evil")

    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    (folder / "pytorch_model-00001-of-00002.bin").write_bytes(pickle.dumps({"model.norm.weight": Payload()}))
    with pytest.raises(EngineError, match="holds program code or is damaged"):
        load(folder)
    assert not (tmp_path / "owned").exists()


def test_what_is_missing_and_what_is_there(tmp_path):
    with pytest.raises(EngineError, match="nor smollm2, nor a folder, nor a Hub id"):
        load(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(EngineError, match=r"config.json and weights .* missing; there is notes.txt"):
        load(tmp_path)


def test_remote_code_is_not_run_unless_asked_for(bayling_like, tmp_path):
    folder = write_bayling_like(tmp_path / "custom")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(
        config.replace(
            '"model_type": "llama"', '"model_type": "own", "auto_map": {"AutoModelForCausalLM": "own.Own", "AutoConfig": "own.C"}'
        )
    )
    (folder / "own.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')")
    with pytest.raises(EngineError, match="--trust-remote-code"):
        load(folder)
    assert not (tmp_path / "owned").exists()


def test_a_shorter_context_can_be_asked_for(bayling_like):
    assert load(bayling_like)[0].context == 256
    assert load(bayling_like, context=100)[0].context == 100
    assert load(bayling_like, context=9999)[0].context == 256


def test_a_gpu_that_this_torch_cannot_drive_is_said_with_the_install_line():
    check_arch("Tesla V100", (7, 0), ["sm_70", "sm_80"])
    check_arch("RTX 3090", (8, 6), ["sm_80"])  # same major version
    check_arch("H200", (9, 0), ["sm_80", "compute_80"])  # compiled by the driver
    with pytest.raises(
        EngineError, match=r"V100 is sm_70, .* was built without it .*--index-url https://download\.pytorch\.org/whl/cu126"
    ):
        check_arch("Tesla V100", (7, 0), ["sm_75", "sm_80", "sm_90a", "compute_120"])


@pytest.mark.parametrize(
    ("capability", "expected", "why"), [((7, 0), torch.float16, "no native bf16"), ((8, 0), torch.bfloat16, "natively")]
)
def test_the_number_format_follows_the_capability(monkeypatch, capability, expected, why):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    dtype, reason = choose_dtype(torch.device("cuda"))
    assert dtype == expected and why in reason


def test_unknown_device_and_dtype():
    with pytest.raises(EngineError, match="--dtype 'int3' is unknown; use one of fp32, fp16, bf16"):
        choose_dtype(torch.device("cpu"), "int3")
    with pytest.raises(EngineError, match="is not a device"):
        choose_device("toaster")


def test_a_cached_conversion_is_whole_or_not_there(tmp_path):
    def fail(folder):
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_once(tmp_path / "model", fail)
    assert list(tmp_path.iterdir()) == []
    write_once(tmp_path / "model", lambda folder: (folder / "a").write_text("first"))
    write_once(tmp_path / "model", lambda folder: (folder / "a").write_text("second"))  # another process was faster
    assert (tmp_path / "model" / "a").read_text() == "first" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.model
def test_the_packaged_model_is_converted_once_and_loads_by_name_or_folder(engine):
    assert engine.base.name == "smollm2" and engine.base.context == 8192
    assert "SmolLM" in engine.base.format.default_system  # the identity prompt that hides in its template
    said = []
    again = load_base(engine.base.model.name_or_path, dtype="fp32", say=said.append)
    assert again.hash == engine.base.hash and not any("Converting" in line for line in said)
    assert AutoTokenizer.from_pretrained(engine.base.model.name_or_path).chat_template
