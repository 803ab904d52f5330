"""The batched loop: a row's text is its own, whatever else is in the batch."""

from __future__ import annotations

import copy
import random
import threading

import pytest
import torch
from peft import PeftModel
from tiny import Letters, write_adapter
from transformers import AutoConfig, AutoModelForCausalLM

from engine import Decoding, decode, fairness, sharing
from engine.adapters import read_adapter
from engine.bank import Bank


@pytest.fixture(scope="module")
def folders(model, tmp_path_factory):
    root = tmp_path_factory.mktemp("adapters")
    ranks = {"a": 4, "b": 8, "c": 16}
    return {
        name: write_adapter(root / name, copy.deepcopy(model), seed=rank, r=rank, lora_alpha=rank) for name, rank in ranks.items()
    }


@pytest.fixture(scope="module")
def bank(model, folders):
    bank = Bank(model)
    for name, folder in folders.items():
        bank.add(name, read_adapter(folder)[1])
    return bank


def make_row(at: int, adapters=None, decoding=None, new: int = 20, end=(), stops=()) -> decode.Row:
    numbers = random.Random(at)
    ids = [numbers.randrange(3, 500) for _ in range(numbers.randrange(3, 40))]
    return decode.Row(at, ids, adapters or {}, decoding or Decoding(), new, frozenset(end), stops)


def run(model, bank, rows, slots=16, stop=None):
    for _ in sharing.run(model, Letters(), bank, rows, slots=slots, stop=stop or threading.Event()):
        pass
    return [row.new_ids for row in rows]


VARIANTS = [{}, {"a": 1.0}, {"b": 1.0}, {"c": 0.5}, {"a": 0.6, "c": 0.6}]


def test_greedy_text_is_the_same_alone_and_in_a_batch_of_16(model, bank):
    together = run(model, bank, [make_row(at, VARIANTS[at % 5]) for at in range(16)])
    alone = [run(model, bank, [make_row(at, VARIANTS[at % 5])])[0] for at in range(16)]
    assert together == alone


def test_greedy_text_of_every_row_equals_a_solo_peft_run(model, folders, bank):
    rows = [make_row(at, {name: 1.0} if name else {}) for at, name in enumerate([None, "a", "b", "c", None, "b"])]
    ours = run(model, bank, rows)
    for row, new_ids in zip(rows, ours, strict=True):
        solo = copy.deepcopy(model)
        for name in row.adapters:
            solo = PeftModel.from_pretrained(solo, folders[name])
        ids = torch.tensor([row.ids])
        settings = dict(do_sample=False, max_new_tokens=20, eos_token_id=None, pad_token_id=0)
        theirs = solo.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)
        assert new_ids == theirs[0, len(row.ids) :].tolist(), row.adapters


@pytest.mark.parametrize("kind", ["mistral", "gpt_neox", "gemma"])
def test_other_architectures_answer_in_a_batch_as_transformers_does_alone(kind):
    """Mistral here has a sliding window shorter than the prompts: a ready-made mask would ignore it."""
    settings = dict(vocab_size=512, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4)
    special = {"mistral": dict(sliding_window=8, num_key_value_heads=2), "gemma": dict(num_key_value_heads=2, head_dim=16)}
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **settings, **special.get(kind, {}), initializer_range=0.2)
    other = AutoModelForCausalLM.from_config(config).eval()
    rows = [make_row(at) for at in range(4)]
    ours = run(other, Bank(other), rows)
    for row, new_ids in zip(rows, ours, strict=True):
        ids = torch.tensor([row.ids])
        settings = dict(do_sample=False, max_new_tokens=20, eos_token_id=None, pad_token_id=0)
        theirs = other.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)
        assert new_ids == theirs[0, len(row.ids) :].tolist()


def test_rows_that_come_and_go_do_not_disturb_the_others(model, bank):
    """More rows than slots, of different lengths, some ending early: all as if they were alone."""

    def make(at):
        return make_row(at, VARIANTS[at % 5], new=5 + 7 * (at % 4), end=range(0, 500, 29))

    crowded = run(model, bank, [make(at) for at in range(40)], slots=6)
    alone = [run(model, bank, [make(at)])[0] for at in range(40)]
    assert crowded == alone
    assert len({len(ids) for ids in crowded}) > 4  # they did end at different times


def test_sampled_text_depends_on_the_seed_and_not_on_the_companions(model, bank):
    def hot(at, seed):
        return make_row(at, {}, Decoding(temperature=1.5, top_p=0.95, top_k=50, seed=seed))

    def after(companions, seed):
        row = hot(99, seed)
        run(model, bank, [*companions, row])
        return row.new_ids

    crowd = [hot(at, 7) for at in range(6)] + [make_row(7, {"a": 1.0})]
    assert after([], 3) == after(crowd, 3)
    assert after([], 3) != after([], 4)


def test_top_k_one_and_tiny_top_p_are_greedy(model, bank):
    greedy = run(model, bank, [make_row(1)])
    assert run(model, bank, [make_row(1, {}, Decoding(temperature=2.0, top_k=1))]) == greedy
    assert run(model, bank, [make_row(1, {}, Decoding(temperature=2.0, top_p=1e-6))]) == greedy


def test_sampling_follows_the_models_probabilities(model, bank):
    """At temperature 1 the first tokens' frequencies are the softmax's (chi-square would be overkill: the top one will do)."""
    row = make_row(5)
    with torch.inference_mode():
        probabilities = (model(torch.tensor([row.ids])).logits[0, -1] / 3).softmax(-1)
    rows = [make_row(5, {}, Decoding(temperature=3.0, seed=seed), new=1) for seed in range(600)]
    first = [ids[0] for ids in run(model, bank, rows, slots=600)]
    best = int(probabilities.argmax())
    assert first.count(best) / 600 == pytest.approx(float(probabilities[best]), abs=0.06)
    assert len(set(first)) > 20


def test_a_repetition_penalty_equals_transformers(model, bank):
    changed = 0
    for at in range(4):
        row = make_row(at, {}, Decoding(repetition_penalty=2.0))
        ids = torch.tensor([row.ids])
        settings = dict(do_sample=False, max_new_tokens=20, eos_token_id=None, pad_token_id=0, repetition_penalty=2.0)
        theirs = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)
        assert run(model, bank, [row, make_row(9)])[0] == theirs[0, len(row.ids) :].tolist()
        changed += row.new_ids != run(model, bank, [make_row(at)])[0]
    assert changed


def test_the_log_probability_is_the_models_own(model, bank):
    row = make_row(4, {"b": 1.0})
    run(model, bank, [row, make_row(5)])
    whole = torch.tensor([row.ids + row.new_ids])
    with bank.hearing([{"b": 1.0}]), torch.inference_mode():
        logits = model(whole).logits[0].log_softmax(-1)
    chosen = logits[len(row.ids) - 1 : -1].gather(1, torch.tensor(row.new_ids)[:, None])
    assert row.logprob == pytest.approx(float(chosen.sum()), abs=1e-3)


def test_an_end_token_ends_the_row_and_is_not_text(model, bank):
    free = run(model, bank, [make_row(6)])[0]
    row = make_row(6, end=[free[4]])
    run(model, bank, [row, make_row(7)])
    assert row.finish == "stop" and row.new_ids == free[: free.index(free[4]) + 1]
    assert row.text == Letters().decode(row.new_ids[:-1])


def test_a_stop_string_is_cut_and_never_shown_by_half(model, bank):
    text = Letters().decode(run(model, bank, [make_row(8)])[0])
    stop_string = text[6:9]
    row = make_row(8, stops=(stop_string,))
    seen = []
    for _ in sharing.run(model, Letters(), bank, [row], slots=1, stop=threading.Event()):
        seen.append(decode.text_so_far(row))
    assert row.finish == "stop" and row.text == text[: text.index(stop_string)]
    assert all(row.text.startswith(part) for part in seen)


def test_the_length_limit_is_said(model, bank):
    row = make_row(9, new=5)
    run(model, bank, [row])
    assert row.finish == "length" and len(row.new_ids) == 5


def test_stop_ends_all_rows_within_one_step(model, bank):
    stop = threading.Event()
    rows = [make_row(at, new=100) for at in range(6)]
    steps = 0
    for _ in sharing.run(model, Letters(), bank, rows, slots=4, stop=stop):
        steps += 1
        if steps == 3:
            stop.set()
    assert [row.finish for row in rows] == ["stopped"] * 6
    assert steps == 4  # three steps, and the news of the stop
    assert sum(len(row.new_ids) for row in rows) <= 12


def test_half_a_character_waits_for_its_other_half():
    """A byte-level tokenizer gives one Chinese character in two tokens."""

    class Bytes:
        def decode(self, ids, skip_special_tokens=True) -> str:
            return bytes(ids).decode("utf-8", errors="replace")

    row = decode.Row(0, [1], {}, Decoding(), 100, frozenset())
    seen = []
    for byte in "I 是 me 镜".encode():
        row.new_ids.append(byte)
        decode.settle(row, Bytes())
        seen.append(row.text)
    assert seen[-1] == "I 是 me 镜"
    assert not any("\ufffd" in text for text in seen)


def test_rows_that_all_end_at_their_first_token_leave_nothing_to_be_caught(model, bank):
    failures, ended = [], []
    loop = sharing.Loop(model, Letters(), bank, lambda _longest: 4, lambda error, _rows: failures.append(error) or error)
    loop.add(fairness.Ask([make_row(at, new=1) for at in range(3)], None, threading.Event(), ended=ended.append))
    while not ended:
        loop.turn()
    assert ended == [None] and failures == []
