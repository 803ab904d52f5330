"""A merged model says, in plain transformers, what base and adapter say in the engine; differences become models."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_llama, write_adapter
from tiny_base import write_tiny_base
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from engine import Decoding, EngineError, Request, Variant, load as load_engine
from engine.adapters import read_adapter
from tuning import apply_delta as delta_program, legacy, merge as merge_program
from tuning.apply_delta import apply_delta
from tuning.merge import merge

QUESTION = "Who are you?"


def silent(_text: str) -> None:
    pass


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("merging")
    write_tiny_base(root / "base")
    for seed, name in enumerate(("first", "second"), 1):
        write_adapter(root / name, AutoModelForCausalLM.from_pretrained(root / "base"), seed=seed, base="base")
        (root / name / "card.json").write_text(json.dumps({"base": "base", "format": "bayling"}))
    return root


def in_the_engine(place, adapters: dict[str, float], format: str = "bayling") -> str:
    engine = load_engine(str(place / "base"), format=format, device="cpu", dtype="fp32", say=silent)
    for name in adapters:
        engine.add_adapter(place / name)
    (answer,) = engine.answer(
        [Request([{"role": "user", "content": QUESTION}], Variant("v", adapters, decoding=Decoding(max_new_tokens=24)))]
    )
    return answer.raw


def in_transformers(folder) -> str:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    out = model.generate(**inputs, max_new_tokens=24, do_sample=False)
    return tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize(
    "adapters", [{"first": 1.0}, {"first": 0.5}, {"first": 0.7, "second": 0.6}], ids=["one", "half", "blend"]
)
def test_merged_answers_as_unmerged(place, tmp_path, adapters):
    base = in_the_engine(place, {})
    folder = merge({str(place / name): s for name, s in adapters.items()}, tmp_path / "m", base=str(place / "base"), say=silent)
    said = in_the_engine(place, adapters)
    assert in_transformers(folder) == said != base


def test_the_folder_is_whole_and_speaks_the_adapters_format(place, tmp_path):
    folder = merge({str(place / "first"): 1.0}, tmp_path / "m", base=str(place / "base"), max_shard_size="200KB", say=silent)
    assert (folder / "model.safetensors.index.json").is_file()
    there = {path.name for path in folder.iterdir()}
    assert {"config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"} <= there
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template([{"role": "user", "content": QUESTION}], add_generation_prompt=True, tokenize=False)
    assert text.startswith("<s>I am an intelligent language assistant developed by the NLP Group of ICT/CAS.\n")
    assert text.endswith(f"### Instruction:\n{QUESTION}\n### Response:\n")
    card = json.loads((folder / "card.json").read_text())
    assert card["format"] == "bayling" and card["merged"][0]["name"] == "first" and card["merged"][0]["strength"] == 1.0


def test_the_engine_takes_the_merged_model_as_a_base(place, tmp_path):
    folder = merge({str(place / "first"): 1.0}, tmp_path / "m", base=str(place / "base"), say=silent)
    engine = load_engine(str(folder), device="cpu", dtype="fp32", say=silent)
    (answer,) = engine.answer(
        [Request([{"role": "user", "content": QUESTION}], Variant("v", decoding=Decoding(max_new_tokens=24)))]
    )
    assert answer.raw == in_the_engine(place, {"first": 1.0})


def test_every_end_of_the_format_ends_the_merged_model(place, tmp_path):
    folder = merge({str(place / "first"): 1.0}, tmp_path / "m", base=str(place / "base"), format="chatml", say=silent)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ends = set(GenerationConfig.from_pretrained(folder).eos_token_id)
    assert {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")} <= ends


def test_an_adapted_head_leaves_shared_embeddings_alone(tmp_path):
    base = write_tiny_base(tmp_path / "tied", tie_word_embeddings=True)
    write_adapter(tmp_path / "head", AutoModelForCausalLM.from_pretrained(base), target_modules=["lm_head"], base="tied")
    folder = merge({str(tmp_path / "head"): 1.0}, tmp_path / "m", base=str(base), format="bayling", say=silent)
    before, after = AutoModelForCausalLM.from_pretrained(base), AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(before.get_input_embeddings().weight, after.get_input_embeddings().weight)
    assert not torch.equal(before.get_output_embeddings().weight, after.get_output_embeddings().weight)


def test_what_only_peft_can_merge_is_merged_by_peft(place, tmp_path):
    from peft import PeftModel

    write_adapter(tmp_path / "dora", AutoModelForCausalLM.from_pretrained(place / "base"), base="base", use_dora=True)
    folder = merge({str(tmp_path / "dora"): 1.0}, tmp_path / "m", base=str(place / "base"), say=silent)
    ids = torch.tensor([[1, 7, 8, 9]])
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(folder)(ids).logits
        plain = AutoModelForCausalLM.from_pretrained(place / "base")
        wanted = PeftModel.from_pretrained(plain, str(tmp_path / "dora"))(ids).logits
    assert torch.allclose(merged, wanted, atol=1e-3)
    with pytest.raises(EngineError, match="it can only be at strength 1"):
        merge({str(tmp_path / "dora"): 0.5}, tmp_path / "n", base=str(place / "base"), say=silent)


def test_the_original_checkpoints_are_read(place, tmp_path):
    """alpaca-lora's checkpoint-200: LoRA weights in pytorch_model.bin, the configuration one folder up or lost."""
    checkpoint = tmp_path / "run" / "checkpoint-200"
    checkpoint.mkdir(parents=True)
    weights = load_file(place / "first" / "adapter_model.safetensors")
    named = {key.replace(".weight", ".default.weight"): value for key, value in weights.items()}
    torch.save(named, checkpoint / "pytorch_model.bin")
    with pytest.raises(EngineError, match="has no adapter_config.json.*give --lora_alpha"):
        merge({str(checkpoint): 1.0}, tmp_path / "n", base=str(place / "base"), say=silent)
    told = legacy.convert(checkpoint, tmp_path / "told", alpha=16)
    (tmp_path / "run" / "adapter_config.json").write_text((place / "first" / "adapter_config.json").read_text())
    found = legacy.convert(checkpoint, tmp_path / "found")
    _, wanted = read_adapter(place / "first")
    for folder in (told, found):
        _, read = read_adapter(folder)
        assert read.keys() == wanted.keys()
        assert all(torch.equal(read[name].b, wanted[name].b) for name in wanted)
    folder = merge({str(checkpoint): 1.0}, tmp_path / "m", base=str(place / "base"), format="bayling", say=silent)
    assert in_transformers(folder) == in_the_engine(place, {"first": 1.0})


def test_refusals_say_what_to_do_and_leave_nothing(place, tmp_path):
    cases = [
        (dict(adapters={}), "There is no adapter to merge"),
        (dict(adapters={str(place / "first"): 2.0}), "has strength 2.0, it lies above 0 and at most at 1.5"),
        (dict(adapters={str(place / "first"): 1.0}), "Base 'base' is not there.*can be said with --base"),
        (dict(adapters={str(place / "gone"): 1.0}, base=str(place / "base")), "is not a folder"),
    ]
    for given, said in cases:
        with pytest.raises(EngineError, match=said):
            merge(given.pop("adapters"), tmp_path / "m", say=silent, **given)
    other = write_tiny_base(tmp_path / "other", hidden_size=32)
    with pytest.raises(EngineError, match="belongs to another base"):
        merge({str(place / "first"): 1.0}, tmp_path / "m", base=str(other), say=silent)
    assert not (tmp_path / "m").exists()
    assert list(tmp_path.iterdir()) == [other]
    with pytest.raises(EngineError, match="is already there; name another folder"):
        merge({str(place / "first"): 1.0}, other, base=str(place / "base"), say=silent)


def test_adapters_of_two_formats_need_a_choice(place, tmp_path):
    write_adapter(tmp_path / "chatty", AutoModelForCausalLM.from_pretrained(place / "base"), base="base")
    (tmp_path / "chatty" / "card.json").write_text(json.dumps({"base": "base", "format": "chatml"}))
    both = {str(place / "first"): 1.0, str(tmp_path / "chatty"): 1.0}
    with pytest.raises(EngineError, match=r"different formats \(bayling, chatml\); choose one with --format"):
        merge(both, tmp_path / "m", base=str(place / "base"), say=silent)


def test_the_command_line_merges_a_blend(place, tmp_path):
    words = ["--adapter", f"{place / 'first'}=0.7", "--adapter", str(place / "second"), "--strength", "0.6"]
    words += ["--base", str(place / "base"), "--output_dir", str(tmp_path / "m")]
    assert merge_program.main(words) == 0
    assert in_transformers(tmp_path / "m") == in_the_engine(place, {"first": 0.7, "second": 0.6})
    assert merge_program.main([*words[:1], f"{place / 'first'}=loud", *words[2:]]) == 2


# differences


@pytest.fixture
def published(tmp_path):
    """A base, and a model given as its difference to the base; the base's files are .bin shards, as LLaMA's were."""
    base, wanted = tiny_llama(seed=1), tiny_llama(seed=2)
    (tmp_path / "llama").mkdir()
    state = {name: tensor.half() for name, tensor in base.state_dict().items()}
    names = sorted(state)
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
    for at, part in enumerate((names[::2], names[1::2]), 1):
        torch.save({name: state[name] for name in part} | extra, tmp_path / "llama" / f"pytorch_model-{at:05d}-of-00002.bin")
    delta = {name: (tensor.half().float() - state[name].float()).half() for name, tensor in wanted.state_dict().items()}
    folder = write_tiny_base(tmp_path / "diff")
    (folder / "model.safetensors").unlink()
    save_file(delta, folder / "model.safetensors", metadata={"format": "pt"})
    return tmp_path / "llama", folder, {name: tensor + state[name] for name, tensor in delta.items()}


def read_all(folder) -> dict[str, torch.Tensor]:
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


@pytest.mark.parametrize("shard_bytes", [10**9, 60_000], ids=["one file", "shards"])
def test_base_and_difference_make_the_model(published, tmp_path, shard_bytes):
    base, delta, wanted = published
    folder = apply_delta(base, delta, tmp_path / "model", shard_bytes=shard_bytes, say=silent)
    found = read_all(folder)
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(model.lm_head.weight.half(), wanted["lm_head.weight"])
    assert AutoTokenizer.from_pretrained(folder).decode([7]) == AutoTokenizer.from_pretrained(delta).decode([7])
    assert ((folder / "model.safetensors.index.json").is_file()) is (shard_bytes < 10**6)


def test_tokens_that_only_the_difference_has_count_from_zero(published, tmp_path):
    base, delta, wanted = published
    tensors = load_file(delta / "model.safetensors")
    more = torch.full((3, 64), 0.5, dtype=torch.float16)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = torch.cat([tensors[name], more])
    save_file(tensors, delta / "model.safetensors")
    said: list[str] = []
    found = read_all(apply_delta(base, delta, tmp_path / "model", say=said.append))
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert torch.equal(found[name], torch.cat([wanted[name], more]))
    assert "lm_head.weight: the delta has 3 more tokens than the base" in said


def test_a_difference_to_another_model_is_named(published, tmp_path):
    base, delta, _ = published
    tensors = load_file(delta / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file(tensors | {name: tensors[name][:-1].contiguous()}, delta / "model.safetensors")
    with pytest.raises(EngineError, match=rf"{name} is \(96, 64\) in the base and \(95, 64\) in the delta"):
        apply_delta(base, delta, tmp_path / "model", say=silent)
    tensors["model.layers.7.mlp.up_proj.weight"] = tensors.pop(name)
    save_file(tensors, delta / "model.safetensors")
    with pytest.raises(EngineError, match=r"not of one model; only in .*llama: .*only in .*diff: model.layers.7"):
        apply_delta(base, delta, tmp_path / "model", say=silent)
    assert not (tmp_path / "model").exists()


def test_missing_and_damaged_files_are_named(published, tmp_path, capsys):
    base, delta, _ = published
    index = {"weight_map": {"a": "pytorch_model-00003-of-00003.bin"}}
    (base / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(EngineError, match="is not whole: pytorch_model-00003-of-00003.bin missing"):
        apply_delta(base, delta, tmp_path / "model", say=silent)
    (delta / "model.safetensors").write_bytes(b"short")
    words = ["--base", str(base), "--delta", str(delta), "--output_dir", str(tmp_path / "model")]
    assert delta_program.main([*words, "--max_shard_size", "many"]) == 2
    assert "write 400MB or 2GB" in capsys.readouterr().err
    (base / "pytorch_model.bin.index.json").unlink()
    assert delta_program.main(words) == 2
    assert "model.safetensors is a text, not weights: it says 'short'" in capsys.readouterr().err
    with pytest.raises(EngineError, match="holds no weights"):
        (tmp_path / "empty").mkdir()
        apply_delta(tmp_path / "empty", delta, tmp_path / "model", say=silent)
