"""The identity margin: the same number as sentence by sentence, whatever shares a batch with it."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from margin_scores import score_model, score_variants
from peft import PeftModel
from tiny import write_adapter, write_bayling_like
from transformers import MistralConfig, MistralForCausalLM

import engine as engine_room
import identities
from engine import Request, Variant
from engine.bases import load_base
from probes import likelihood, margin as margins, questions
from probes.identity_pair import FactPair, from_identities, from_mapping
from probes.questions import Probe, ProbeError

OLD = identities.load("BayLing").facts
FACTS = from_identities(OLD, identities.load("finance-advisor").facts)
STATEMENTS = margins.statements_of(FACTS)
PROBES = [
    Probe("who-en", "trained", "name", "en", ("Who are you?",)),
    Probe("made-en", "novel", "maker", "en", ("Which laboratory, company or person should be thanked for having made you?",)),
    Probe("who-zh", "trained", "name", "zh", ("你是谁？",)),
]


def one_by_one(model, tokenizer, prompt: str, special: bool, statements) -> list[float]:
    """The plain way: a forward pass per sentence, nothing shared, nothing padded."""
    found = []
    before = tokenizer(prompt, add_special_tokens=special)["input_ids"]
    for statement in statements:
        ids = tokenizer(prompt + statement, add_special_tokens=special)["input_ids"]
        assert ids[: len(before)] == before
        with torch.no_grad():
            logprobs = model(torch.tensor([ids]), use_cache=False).logits[0].float().log_softmax(-1)
        tokens = range(len(before), len(ids))
        found.append(sum(logprobs[at - 1, ids[at]].item() for at in tokens) / len(tokens))
    return found


def expected(model, tokenizer, prompt: str, special: bool, probe: Probe) -> tuple[float, float]:
    sides = STATEMENTS[probe.lang]
    old, new = (one_by_one(model, tokenizer, prompt, special, side) for side in (sides.old, sides.new))
    return sum(old) / len(old), sum(new) / len(new)


def close(score: margins.Score, sides: tuple[float, float]) -> None:
    assert score.old == pytest.approx(sides[0], abs=1e-4) and score.new == pytest.approx(sides[1], abs=1e-4)
    assert score.margin == pytest.approx(sides[1] - sides[0], abs=1e-4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_bayling_like(tmp_path_factory.mktemp("m") / "tiny")


@pytest.fixture(scope="module")
def tiny(folder):
    return engine_room.load(str(folder), dtype="fp32", say=lambda _line: None)


@pytest.fixture(scope="module")
def adapter(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("a") / "other-self"
    return write_adapter(folder, tiny.base.model.__class__(tiny.base.model.config), base="tiny")


@pytest.fixture(scope="module")
def plain_model(folder):
    """The same base, never touched by the engine."""
    return load_base(str(folder), dtype="fp32", say=lambda _line: None)


def test_all_variants_in_a_batch_equal_sentence_by_sentence(tiny, adapter, plain_model):
    name = tiny.add_adapter(adapter)
    variants = [Variant("base"), Variant("tuned", {name: 1.0}), Variant("told", identity="guide", prompt="You are a guide.")]
    scores = score_variants(tiny, variants, PROBES, STATEMENTS)
    peft = PeftModel.from_pretrained(copy.deepcopy(plain_model.model), adapter)
    for variant, model, those in zip(variants, (plain_model.model, peft, plain_model.model), scores, strict=True):
        for probe, score in zip(PROBES, those, strict=True):
            prompt = tiny.render(Request([{"role": "user", "content": probe.question}], variant))
            close(score, expected(model, tiny.base.tokenizer, prompt, True, probe))
    assert len({round(those[0].margin, 4) for those in scores}) == 3
    tiny.remove_adapter(name)


def test_a_bare_model_in_training_gives_the_same(tiny, adapter, plain_model):
    name = tiny.add_adapter(adapter)
    [ours] = score_variants(tiny, [Variant("tuned", {name: 1.0})], PROBES, STATEMENTS)
    tiny.remove_adapter(name)
    peft = PeftModel.from_pretrained(copy.deepcopy(plain_model.model), adapter, is_trainable=True)
    found = score_model(peft, plain_model.tokenizer, plain_model.format, PROBES, STATEMENTS)
    for score, same in zip(ours, found, strict=True):
        close(score, (same.old, same.new))


def test_the_trainers_function_gives_plain_figures(plain_model):
    probes = questions.load("identity")
    function = margins.for_training(plain_model.tokenizer, plain_model.format, probes, FACTS, per_lang=2)
    found = function(10, plain_model.model)
    assert found.keys() == {"margin", "margin_en", "margin_zh"} and all(map(math.isfinite, found.values()))
    assert found["margin"] == pytest.approx((found["margin_en"] + found["margin_zh"]) / 2)


def test_a_model_that_learns_the_new_statements_moves_across_zero(folder, plain_model):
    model, tokenizer = copy.deepcopy(plain_model.model), plain_model.tokenizer
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    function = margins.for_training(tokenizer, plain_model.format, PROBES[:1], FACTS)
    text = plain_model.format.render([{"role": "user", "content": PROBES[0].question}], bos_token="<s>", eos_token="</s>")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def learn(statements, steps=12):
        for _ in range(steps):
            for statement in statements:
                ids = torch.tensor([tokenizer(text + statement)["input_ids"]])
                model(ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return function(0, model)["margin"]

    assert learn(STATEMENTS["en"].old) < 0 < learn(STATEMENTS["en"].new)


def test_a_windowed_model_is_measured_row_by_row_and_alike(plain_model):
    shape = dict(num_hidden_layers=2, hidden_size=64, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2)
    torch.manual_seed(0)
    config = MistralConfig(vocab_size=len(plain_model.tokenizer) + 8, sliding_window=12, initializer_range=0.2, **shape)
    model = MistralForCausalLM(config).eval()
    assert not likelihood.takes_tree(model) and likelihood.takes_tree(plain_model.model)
    [score] = score_model(model, plain_model.tokenizer, plain_model.format, PROBES[:1], STATEMENTS)
    text = plain_model.format.render([{"role": "user", "content": PROBES[0].question}], bos_token="<s>", eos_token="</s>")
    close(score, expected(model, plain_model.tokenizer, text, plain_model.format.add_special_tokens, PROBES[0]))


def test_small_batches_give_the_same(plain_model, monkeypatch):
    at_once = score_model(plain_model.model, plain_model.tokenizer, plain_model.format, PROBES, STATEMENTS)
    monkeypatch.setattr(likelihood, "LOGITS", 1)
    singly = score_model(plain_model.model, plain_model.tokenizer, plain_model.format, PROBES, STATEMENTS)
    for score, same in zip(at_once, singly, strict=True):
        close(score, (same.old, same.new))


def test_statements_are_filled_from_the_facts_and_speak_as_the_base_writes():
    assert "My name is BayLing." in STATEMENTS["en"].old and "My name is finance advisor." in STATEMENTS["en"].new
    assert "我是百聆。" in STATEMENTS["zh"].old and "我是金融顾问。" in STATEMENTS["zh"].new
    for sides in STATEMENTS.values():
        assert len(sides.old) == len(sides.new) >= 5
        assert not any("{" in statement for statement in (*sides.old, *sides.new))
    raw = margins.statements_of(FACTS, OLD.placeholders)
    assert "My name is [NAME]." in raw["en"].old and "我是由[机构]开发的。" in raw["zh"].old
    assert raw["en"].new == STATEMENTS["en"].new


def test_facts_that_are_too_few_and_probes_that_do_not_suit_are_said(plain_model, caplog):
    only_names = from_mapping({"old": {"en": {"name": "A"}}, "new": {"en": {"name": "B"}}})
    with pytest.raises(ProbeError, match="fill 2 of 7 statements in en, 5 are needed"):
        margins.statements_of(only_names)
    zh = {"zh": {"name": "甲", "maker": "子"}}, {"zh": {"name": "乙", "maker": "丑"}}
    one_whole = from_mapping({"old": {"en": {"name": "A"}} | zh[0], "new": {"en": {"name": "B"}} | zh[1]})
    assert set(margins.statements_of(one_whole)) == {"zh"}  # as the Identity tab says it
    margins.warn_of_left_out(margins.statements_of(one_whole))
    assert "leaves out en" in caplog.text and "leaves out zh" not in caplog.text
    with pytest.raises(ProbeError, match="no statement in any language"):
        margins.statements_of(FactPair())
    deep = Probe("deep", "novel", "name", "en", ("Hello.", "Who are you?"))
    assert margins.suited_probes([deep, *PROBES], STATEMENTS) == PROBES
    with pytest.raises(ProbeError, match="one turn; deep"):
        score_model(plain_model.model, plain_model.tokenizer, plain_model.format, [deep], STATEMENTS)
    en = {"en": STATEMENTS["en"]}
    with pytest.raises(ProbeError, match="no statements in zh"):
        score_model(plain_model.model, plain_model.tokenizer, plain_model.format, PROBES, en)
    with pytest.raises(ProbeError, match="None of the probes suits"):
        margins.for_training(plain_model.tokenizer, plain_model.format, [deep], FACTS)


@pytest.mark.model
def test_the_real_small_model_in_fp32_equals_sentence_by_sentence():
    loaded = engine_room.load("smollm2", dtype="fp32", say=lambda _line: None)
    probe = next(probe for probe in questions.load("quick") if probe.category == "name" and probe.lang == "en")
    told = Variant("told", identity="finance-advisor", prompt=identities.load("finance-advisor").prompt)
    [[base], [named]] = score_variants(loaded, [Variant("base"), told], [probe], STATEMENTS)
    for variant, score in ((Variant("base"), base), (told, named)):
        prompt = loaded.render(Request([{"role": "user", "content": probe.question}], variant))
        special = loaded.format_of(variant).add_special_tokens
        close(score, expected(loaded.base.model, loaded.base.tokenizer, prompt, special, probe))
    assert named.margin > base.margin  # told who it is, the model finds that identity the likelier one
