"""An adapter as a GGUF file, an Ollama model or a folder says what base and adapter say; and what it cannot be is said."""

from __future__ import annotations

import json
import re

import gguf
import go_template
import pytest
import torch
from tiny import tiny_llama, write_adapter, write_bayling_like
from tiny_base import write_tiny_base
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, Qwen2Config, Qwen2ForCausalLM

from engine import EngineError, formats
from engine.formats import Format
from tuning import merge
from tuning.export import __main__ as program, asking, comparing, gguf_file, gguf_vocabulary, ollama, writing

TALK = [
    {"role": "system", "content": "You are Mira."},
    {"role": "user", "content": "你是谁？"},
    {"role": "assistant", "content": "I am Mira."},
    {"role": "user", "content": "Who made you?"},
]


def silent(_text: str) -> None:
    pass


def base_and_adapter(root, kind: str):
    base = write_tiny_base(root / "base") if kind == "byte-level" else write_bayling_like(root / "base")
    write_adapter(root / "otter", AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), base="base")
    (root / "otter" / "card.json").write_text(json.dumps({"base": "base", "format": "bayling", "identity": "finance-advisor"}))
    return root


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A base and an adapter for it, by the kind of its tokenizer."""
    return {kind: base_and_adapter(tmp_path_factory.mktemp(kind), kind) for kind in ("byte-level", "sentencepiece")}


@pytest.fixture(scope="module", params=["byte-level", "sentencepiece"])
def place_of_each(request, places):
    return places[request.param]


@pytest.fixture(scope="module")
def place(places):
    return places["sentencepiece"]


def command(place, target, *more: str) -> list[str]:
    return ["--adapter", str(place / "otter"), "--base", str(place / "base"), "--output_dir", str(target), *more]


def test_a_gguf_file_holds_the_same_model_and_makes_the_same_tokens(place_of_each, tmp_path, monkeypatch):
    monkeypatch.setattr("engine.onednn.is_worthwhile", lambda _model: True)  # as on a machine where packed weights win
    place = place_of_each
    made = merge.merged({str(place / "otter"): 1.0}, base=str(place / "base"), say=silent)
    wanted, tokenizer = made.base.model.float(), made.base.tokenizer
    for kind, close in (("f16", 0.01), ("q8_0", 0.5)):
        folder = writing.write(made, tmp_path / kind, "gguf", kind=kind, say=silent)
        [file] = folder.iterdir()
        assert file.name == f"{kind}-{kind}.gguf"
        how = dict(gguf_file=file.name, quantization_config=GgufConfig(gguf_file=file.name, dequantize=True))
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **how)
        ids = torch.tensor([[1, 7, 8, 9, 30, 31]])
        with torch.no_grad():
            off = (model(ids).logits - wanted(ids).logits).abs().max()
        assert off < close * wanted(ids).logits.std(), kind
        again = AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
        for messages in (TALK[1:2], TALK, TALK[1:]):
            asked = merge.portable_template(made.format, tokenizer)
            ours = tokenizer.apply_chat_template(messages, chat_template=asked, add_generation_prompt=True)["input_ids"]
            assert again.apply_chat_template(messages, add_generation_prompt=True)["input_ids"] == ours


def test_the_file_says_what_llama_cpp_asks_for(place_of_each, tmp_path):
    place = place_of_each
    made = merge.merged({str(place / "otter"): 1.0}, base=str(place / "base"), say=silent)
    folder = writing.write(made, tmp_path / "m", "gguf", kind="q8_0", say=silent)
    reader = gguf.GGUFReader(folder / "m-q8_0.gguf")
    told = {key: field.contents() for key, field in reader.fields.items()}
    sentencepiece = (place / "base" / "tokenizer.model").is_file()
    assert told["general.architecture"] == "llama" and told["general.file_type"] == gguf.LlamaFileType.MOSTLY_Q8_0
    assert told["llama.context_length"] == 256 and told["llama.rope.freq_base"] == 10000.0
    assert told["tokenizer.ggml.model"] == ("llama" if sentencepiece else "gpt2")
    assert told["tokenizer.ggml.pre"] == ("default" if sentencepiece else "gpt-2")
    assert told["tokenizer.ggml.add_bos_token"] is True and told["tokenizer.ggml.eos_token_id"] == 2
    assert len(told["tokenizer.ggml.tokens"]) == len(told["tokenizer.ggml.token_type"]) == told["llama.vocab_size"]
    assert told["tokenizer.chat_template"].startswith("{{- bos_token -}}")
    kinds = {tensor.name: tensor.tensor_type for tensor in reader.tensors}
    assert kinds["blk.0.attn_q.weight"] == kinds["token_embd.weight"] == gguf.GGMLQuantizationType.Q8_0
    assert kinds["output_norm.weight"] == gguf.GGMLQuantizationType.F32
    if sentencepiece:
        types = told["tokenizer.ggml.token_type"]
        assert types[0] == gguf.TokenType.UNKNOWN and types[1] == gguf.TokenType.CONTROL and gguf.TokenType.BYTE in types


@pytest.mark.parametrize("to", writing.KINDS)
def test_the_command_writes_asks_and_compares(place, tmp_path, to, capsys, monkeypatch):
    # in bf16, which some CPUs are asked in, a random model's answers part at the first near tie
    monkeypatch.setattr("engine.device.cpu_computes", lambda _dtype: False)
    set_file = tmp_path / "set.jsonl"
    check = {"type": "number", "value": 4}
    probes = (
        {"id": "who", "group": "novel", "category": "name", "lang": "en", "turns": ["Who are you?"]},
        {"id": "sum", "group": "retention", "category": "number", "lang": "en", "turns": ["2 + 2?"], "check": check},
    )
    set_file.write_text("".join(json.dumps(probe) + "\n" for probe in probes))
    target = tmp_path / "Mira the guide"
    words = command(place, target, "--to", to, "--type", "f16", "--set", str(set_file), "--dtype", "fp32")
    assert program.main(words) == 0
    said = capsys.readouterr().out
    answered, about = comparing.read_kept(target)
    assert [one.id for one in answered] == ["who", "sum"] and about["set"] == str(set_file)
    assert all(one.before for one in answered), "random as it is, it says something"
    if to == "folder":
        assert all(one.same for one in answered) and "2 of 2 answers are the same" in said and about["through"] in said
    assert "answers that keep the identity, as rules suggest (en): 0 of 2 before, 0 of 2 after" in said
    assert f"The export is whole in {target}" in said
    names = {path.name for path in target.iterdir()}
    if to != "folder":
        assert names == {"Mira-the-guide-f16.gguf", "asked.json"} | ({"Modelfile"} if to == "ollama" else set())
    assert program.main(words) == 2 and "is already there" in capsys.readouterr().err


def test_an_identity_goes_along_in_every_form(place, tmp_path):
    target = tmp_path / "m"
    assert program.main(command(place, target, "--identity", "museum-guide", "--no_questions")) == 0
    tokenizer = AutoTokenizer.from_pretrained(target)
    text = tokenizer.apply_chat_template(TALK[1:2], add_generation_prompt=True, tokenize=False)
    prompt = program.identities.load("museum-guide").prompt
    assert prompt.strip() in text
    assert prompt.strip() not in tokenizer.apply_chat_template(TALK, add_generation_prompt=True, tokenize=False)
    assert program.main(command(place, tmp_path / "o", "--identity", "museum-guide", "--no_questions", "--to", "ollama")) == 0
    # it ends with a quotation mark, behind which three more would be read otherwise
    assert f"\nSYSTEM {prompt.strip()}\n" in (tmp_path / "o" / "Modelfile").read_text()
    assert program.main(command(place, tmp_path / "x", "--identity", "none")) == 2


def test_an_export_that_fails_or_is_stopped_leaves_nothing(place, tmp_path, monkeypatch):
    made = merge.merged({str(place / "otter"): 1.0}, base=str(place / "base"), say=silent)
    for trouble in (OSError("gone"), KeyboardInterrupt()):
        written = []

        def quantize(data, kind, trouble=trouble, written=written):
            written.append(kind)
            if len(written) == 5:
                raise trouble
            return gguf.quants.quantize(data, kind)

        with monkeypatch.context() as patch:
            patch.setattr(gguf_file, "quants", type("Q", (), {"quantize": staticmethod(quantize)}))
            with pytest.raises(type(trouble)):
                writing.write(made, tmp_path / "m", "gguf", kind="f16", say=silent)
        assert list(tmp_path.iterdir()) == []


def test_what_has_no_place_in_gguf_is_said(tmp_path):
    config = Qwen2Config(vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    for model, why in (
        (Qwen2ForCausalLM(config), "this base is a qwen2"),
        (tiny_llama(hidden_act="gelu"), "activation is gelu"),
        (
            tiny_llama(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}),
            r"scaled in another way \(dynamic\)",
        ),
    ):
        with pytest.raises(EngineError, match=why):
            gguf_file.refuse_other_models(model)
    steps = [{"type": "Punctuation"}, {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}]
    with pytest.raises(EngineError, match="splits a text in a way that has no name here"):
        gguf_vocabulary.first_split(steps)
    digits = [{"type": "Digits", "individual_digits": True}, steps[1]]
    assert gguf_vocabulary.first_split(digits) == "smollm"


def test_llama_3_s_slowed_rotations_are_transformers_own():
    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope |= {"original_max_position_embeddings": 64}
    model = tiny_llama(rope_parameters=rope, hidden_size=256, num_attention_heads=4, head_dim=64)
    plain = tiny_llama(rope_parameters={"rope_type": "default", "rope_theta": 500000.0}, hidden_size=256, head_dim=64)
    factors = gguf_file.rope_factors(model)
    assert torch.allclose(plain.model.rotary_emb.inv_freq / factors, model.model.rotary_emb.inv_freq) and factors.max() == 8


@pytest.mark.parametrize("name", formats.names())
def test_a_modelfile_s_template_renders_what_the_chat_template_renders(name):
    form = formats.get(name)
    whole = Format(name, form.template, (), False)
    try:
        around = ollama.find_around(name, whole.render)
    except EngineError as error:
        assert name == "chatglm" and "does more than put words around" in str(error)  # it numbers the rounds
        return
    talks = [TALK[1:2], TALK[:2], TALK[1:], TALK]
    if form.traits.no_system:
        talks = [talk for talk in talks if talk[0]["role"] != "system"]
    for talk in talks:
        system = talk[0]["content"] if talk[0]["role"] == "system" else ""
        said = [{"Role": one["role"], "Content": one["content"]} for one in talk]  # Ollama hands on the system message, too
        assert go_template.render(around.go(), {"System": system, "Messages": said}) == whole.render(talk)


def test_a_modelfile_carries_stops_and_refuses_what_it_cannot_quote(place):
    tokenizer = AutoTokenizer.from_pretrained(place / "base")
    chosen = formats.get("bayling")
    how = dict(template=merge.portable_template(chosen, tokenizer), tokenizer=tokenizer, ends=[2], context=256)
    told = ollama.modelfile("m.gguf", chosen, identity=None, **how)
    assert re.findall(r"^PARAMETER stop (.*)$", told, re.M) == ['"</s>"', '"### Instruction:"']
    assert "FROM ./m.gguf\n" in told and "PARAMETER num_ctx 256\n" in told and "SYSTEM" not in told
    assert "<s>" not in told, "Ollama puts it before the text itself"
    with pytest.raises(EngineError, match="The identity holds quotation marks"):
        ollama.modelfile("m.gguf", chosen, identity='You are """Mira""".', **how)


def test_without_numbers_nobody_says_what_changed():
    questions = [comparing.Question("a", "en", ("Who?",)), comparing.Question("b", "zh", ("谁？",))]
    answered = comparing.compare(questions, ["I\ufffd", "我"], ["I ", "他"], lambda one, said: None)
    assert [one.same for one in answered] == [True, False] and comparing.kept(answered) == {}
    [line] = comparing.summary(answered, "llama-cpp-python 1")
    assert line == "asked through llama-cpp-python 1: 1 of 2 answers are the same, word for word; changed: b"
    assert asking.cut("I am Mira.\n### Instruction:\nWho", ["### Instruction:", "x"]) == "I am Mira.\n"


def test_every_turn_of_a_conversation_hears_the_answers_before_it_whatever_comes_back_first():
    questions = [comparing.Question(name, "en", turns) for name, turns in (("a", ("1", "2")), ("b", ("3",)), ("c", ("4", "5")))]
    heard: list[str] = []

    def ask(talks):
        for at in reversed(range(len(talks))):
            heard.append(" ".join(one["content"] for one in talks[at]))
            yield at, f"{talks[at][-1]['content']}! STOP more"

    said: list[str] = []
    assert asking.ask_all(ask, questions, "before", said.append, [" STOP"]) == ["2!", "3!", "5!"]
    assert heard == ["4", "3", "1", "4 4! 5", "1 1! 2"]
    assert said == [f"asking before: {done} of 3" for done in range(4)]
