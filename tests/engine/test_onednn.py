"""Packed fp32 weights: the same answers, one copy, and taken only where they win."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_llama, write_adapter

from engine import onednn, room
from engine.adapters import read_adapter
from engine.bank import Bank

pytestmark = pytest.mark.skipif(not onednn.is_there(), reason="this build of torch has no packed products")


@pytest.fixture
def wins(monkeypatch):
    """A CPU on which packing wins, also where it does not."""
    monkeypatch.setattr(onednn, "gain_in_fp32", lambda _threads: 2.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("adapters")
    return [
        write_adapter(root / "few", seed=1),
        write_adapter(root / "all", seed=2, r=16, target_modules="all-linear"),
        write_adapter(root / "head", seed=3, r=4, target_modules=["o_proj", "lm_head"]),
    ]


HEARD = [{}, {"few": 1.0}, {"all": 0.7}, {"head": 1.0}, {"few": 0.5, "all": 0.4}]


def logits(bank: Bank, heard=HEARD) -> torch.Tensor:
    ids = torch.randint(3, 500, (len(heard), 9), generator=torch.Generator().manual_seed(5))
    with bank.hearing(heard), torch.inference_mode():
        return bank.model(ids).logits


def filled(bank: Bank, folders) -> Bank:
    for folder in folders:
        info, weights = read_adapter(folder)
        bank.add(info.name, weights)
    return bank


@pytest.mark.parametrize("tied", [True, False])
def test_packed_answers_are_the_plain_ones_and_the_weights_stay_readable(wins, monkeypatch, folders, tied):
    model = tiny_llama(tie_word_embeddings=tied)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    packed = filled(Bank(model), folders)
    assert all(group.packed for group in packed.groups)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    monkeypatch.setattr(onednn, "is_there", lambda: False)
    plain = filled(Bank(tiny_llama(tie_word_embeddings=tied)), folders)
    assert not any(group.packed for group in plain.groups)
    for heard in (HEARD, [{}]):
        torch.testing.assert_close(logits(packed, heard), logits(plain, heard), atol=1e-4, rtol=1e-4)


def test_adapters_come_and_go_without_packing_anew(wins, folders):
    bank = filled(Bank(tiny_llama()), folders[:1])
    before, held = logits(bank, HEARD[:2]), [group.base for group in bank.groups]
    filled(bank, folders[1:])
    for name in ("all", "head"):
        bank.remove(name)
    assert torch.equal(logits(bank, HEARD[:2]), before)
    assert [group.base for group in bank.groups] == held


def test_what_is_merged_into_the_weights_is_heard_by_the_next_bank(wins):
    model = tiny_llama()
    before = logits(Bank(model), [{}])
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.mul_(2)
    assert not torch.allclose(logits(Bank(model), [{}]), before, atol=1e-3)


def test_nothing_is_packed_without_room_a_gain_or_the_operator(wins, monkeypatch):
    assert onednn.is_worthwhile(tiny_llama())
    assert not onednn.is_worthwhile(tiny_llama().half())
    for where, name, instead in (
        (room, "free_bytes", lambda _device: 1_000_000),
        (onednn, "gain_in_fp32", lambda _threads: 1.05),
        (onednn, "is_there", lambda: False),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, instead)
            assert not onednn.is_worthwhile(tiny_llama())
