"""The bank answers as PEFT does, row by row, and leaves no trace."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from tiny import as_legacy, tiny_llama, write_adapter

from engine import EngineError, groups, onednn
from engine.adapters import LowRank, read_adapter
from engine.bank import Bank
from engine.device import cpu_computes

ADAPTERS = {
    "r4": dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]),
    "r8": dict(r=8, lora_alpha=16),
    "r16-all": dict(r=16, lora_alpha=16, target_modules="all-linear"),
    "rslora": dict(r=8, lora_alpha=4, use_rslora=True, target_modules=["gate_proj", "down_proj"]),
    "patterns": dict(r=8, rank_pattern={"q_proj": 2, r"layers\.1\..*v_proj": 12}, alpha_pattern={"v_proj": 3}),
    "head": dict(r=4, target_modules=["o_proj", "lm_head"]),
}


@pytest.fixture(scope="module")
def folders(model, tmp_path_factory):
    root = tmp_path_factory.mktemp("adapters")
    return {
        name: write_adapter(root / name, copy.deepcopy(model), seed=at, **settings)
        for at, (name, settings) in enumerate(ADAPTERS.items())
    }


@pytest.fixture
def bank(model, folders):
    bank = Bank(model)
    for folder in folders.values():
        info, weights = read_adapter(folder)
        bank.add(info.name, weights)
    yield bank
    for name in list(bank.adapters):
        bank.remove(name)


def questions(rows: int, length: int = 9) -> torch.Tensor:
    return torch.randint(3, 500, (rows, length), generator=torch.Generator().manual_seed(5))


@torch.inference_mode()
def peft_logits(model, folders, heard: dict[str, float], ids: torch.Tensor) -> torch.Tensor:
    """The same through PEFT alone: each adapter loaded, strengths by its own scaling and adding of active adapters."""
    model = copy.deepcopy(model)
    if not heard:
        return model(ids).logits
    names = list(heard)
    wrapped = PeftModel.from_pretrained(model, folders[names[0]], adapter_name=names[0])
    for name in names[1:]:
        wrapped.load_adapter(folders[name], adapter_name=name)
    wrapped.base_model.set_adapter(names)
    for layer in wrapped.modules():
        for name, strength in heard.items():
            if isinstance(layer, LoraLayer) and name in layer.scaling:
                layer.scaling[name] *= strength
    return wrapped.eval()(ids).logits


HEARD = [
    {},
    *({name: 1.0} for name in ADAPTERS),
    {"r8": 0.5},
    {"r4": 0.7, "r16-all": 0.4},
    {"rslora": 1.5, "head": 1.0, "r8": 0.2},
]


def test_every_row_of_a_mixed_batch_equals_peft(model, folders, bank):
    ids = questions(len(HEARD))
    with bank.hearing(HEARD), torch.inference_mode():
        ours = model(ids).logits
    for row, heard in enumerate(HEARD):
        theirs = peft_logits(model, folders, heard, ids[row : row + 1])[0]
        torch.testing.assert_close(ours[row], theirs, rtol=1e-4, atol=1e-4, msg=f"row {row}: {heard}")


def test_adapters_do_change_the_answers(model, bank):
    ids = questions(1).repeat(len(HEARD), 1)
    with bank.hearing(HEARD), torch.inference_mode():
        logits = model(ids).logits
    for row in range(1, len(HEARD)):
        assert (logits[row] - logits[0]).abs().max() > 0.05, HEARD[row]


def test_strength_zero_is_the_base(model, bank):
    ids = questions(2)
    with torch.inference_mode():
        base = model(ids).logits
        with bank.hearing([{"r8": 0.0}, {"r16-all": 0.0}]):
            assert torch.equal(model(ids).logits, base)


def test_outside_of_hearing_the_model_is_the_base_even_after_an_error(model, bank):
    ids = questions(1)
    with torch.inference_mode():
        base = model(ids).logits
        with pytest.raises(IndexError), bank.hearing([{"r8": 1.0}]):
            raise IndexError
        assert torch.equal(model(ids).logits, base)


def test_adding_and_removing_leaves_the_others_alone(folders):
    model = tiny_llama()
    bank = Bank(model)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name in ("r8", "rslora"):
        bank.add(name, read_adapter(folders[name])[1])
    ids = questions(2)

    def logits():
        with bank.hearing([{"r8": 1.0}, {"rslora": 1.0}]), torch.inference_mode():
            return model(ids).logits

    before = logits()
    bank.add("new", read_adapter(folders["r16-all"])[1])
    torch.testing.assert_close(logits(), before, rtol=1e-5, atol=1e-5)
    bank.remove("new")
    assert torch.equal(logits(), before)
    for name in ("r8", "rslora"):
        bank.remove(name)
    bank.settle()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert all(group.up is None and group.blocks == () for group in bank.groups)


def test_adapters_that_come_and_go_together_are_laid_out_once(folders, monkeypatch):
    model = tiny_llama()
    ids, laid_out = questions(2), []
    with torch.inference_mode():
        before = model(ids).logits
    lay_out = groups.Group.lay_out
    monkeypatch.setattr(groups.Group, "lay_out", lambda group, adapters: (laid_out.append(group), lay_out(group, adapters)))
    bank = Bank(model)
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, before)  # nobody has listened yet
    for name, folder in folders.items():
        bank.add(name, read_adapter(folder)[1])
    bank.remove("r4")
    assert laid_out == []
    alone = []
    for name in ("r8", "head"):
        with bank.hearing([{name: 1.0}] * 2), torch.inference_mode():
            alone.append(model(ids).logits)
    assert len(laid_out) == len(bank.groups)
    bank.remove("head")
    with bank.hearing([{"r8": 1.0}] * 2), torch.inference_mode():
        torch.testing.assert_close(model(ids).logits, alone[0], rtol=1e-5, atol=1e-5)
    assert len(bank.groups) < len(laid_out) < 2 * len(bank.groups)  # those that "head" changes
    assert (alone[0] - alone[1]).abs().max() > 1e-3


@pytest.mark.parametrize("left", [0, 3])
def test_no_room_for_an_adapter_leaves_the_bank_as_it_was(folders, monkeypatch, left):
    """As on a GPU, where an adapter is laid out at once."""
    monkeypatch.setattr(Bank, "waits", lambda bank: False)
    bank = Bank(tiny_llama())
    bank.add("r8", read_adapter(folders["r8"])[1])
    ids, heard, room = questions(2), [{}, {"r8": 1.0}], [left]

    def logits() -> torch.Tensor:
        with bank.hearing(heard), torch.inference_mode():
            return bank.model(ids).logits

    before, lay_out = logits(), groups.Group.lay_out

    def full(group, adapters):
        if "r16-all" in adapters:
            if not room[0]:
                raise MemoryError
            room[0] -= 1
        lay_out(group, adapters)

    monkeypatch.setattr(groups.Group, "lay_out", full)
    with pytest.raises(MemoryError):
        bank.add("r16-all", read_adapter(folders["r16-all"])[1])
    assert list(bank.adapters) == ["r8"] and not bank.stale and torch.equal(logits(), before)
    room[0] = len(bank.groups)
    bank.add("r16-all", read_adapter(folders["r16-all"])[1])
    torch.testing.assert_close(logits(), before, rtol=1e-5, atol=1e-5)


def test_layers_with_one_input_share_one_product(bank):
    members = {frozenset(name.rpartition(".")[2] for name in group.names) for group in bank.groups}
    assert {"q_proj", "k_proj", "v_proj"} in members and {"gate_proj", "up_proj"} in members


def test_no_activation_is_kept_after_a_forward(model, bank):
    with bank.hearing([{"r16-all": 1.0}]), torch.inference_mode():
        model(questions(1))
        assert all(group.result is None for group in bank.groups)


def test_a_legacy_folder_of_2023_loads(model, folders, tmp_path):
    folder = write_adapter(tmp_path / "old", copy.deepcopy(model), seed=9, target_modules=["q_proj", "v_proj"])
    new = read_adapter(folder)[1]
    as_legacy(
        folder, ("base_model_name_or_path", "bias", "lora_alpha", "lora_dropout", "peft_type", "r", "target_modules", "task_type")
    )
    old = read_adapter(folder)[1]
    assert old.keys() == new.keys() and all(torch.equal(old[module].b, new[module].b) for module in old)


def test_an_adapter_of_another_shape_is_refused_and_nothing_changes(bank, tmp_path):
    resident = dict(bank.adapters)
    other = write_adapter(tmp_path / "wide", tiny_llama(hidden_size=128))
    with pytest.raises(EngineError, match=r"another base: .*k_proj is \(32, 64\) here and \(64, 128\) there"):
        bank.add("wide", read_adapter(other)[1])
    deeper = write_adapter(tmp_path / "deep", tiny_llama(num_hidden_layers=5))
    with pytest.raises(EngineError, match=r"another base: it changes model\.layers\.3"):
        bank.add("deep", read_adapter(deeper)[1])
    assert bank.adapters == resident


def test_an_adapter_too_large_for_fp16_is_refused_before_it_reaches_other_rows(folders):
    bank = Bank(tiny_llama().half())
    weights = {module: LowRank(pair.a * 1e6, pair.b) for module, pair in read_adapter(folders["r8"])[1].items()}
    with pytest.raises(EngineError, match="too large for torch.float16"):
        bank.add("huge", weights)
    assert bank.adapters == {}


def test_a_layer_that_reads_two_inputs_keeps_its_own_results():
    class Twice(torch.nn.Module):
        device, dtype = torch.device("cpu"), torch.float32

        def __init__(self):
            super().__init__()
            self.first, self.again = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)

        def forward(self, input_ids, use_cache=False):
            x = torch.arange(8.0).expand(1, input_ids.shape[1], 8) + input_ids[..., None]
            return self.first(x) + self.again(x) + self.again(x.tanh())

    model, ids = Twice().eval(), torch.ones(1, 3, dtype=torch.long)
    before = model(ids)
    Bank(model)
    torch.testing.assert_close(model(ids), before)


def test_what_a_layer_was_hooked_with_stays_and_is_not_asked_when_layers_are_grouped():
    """accelerate puts a forward of its own on the layers of a model that is spread over devices."""
    model, asked = tiny_llama(), []
    layer = model.model.layers[0].mlp.down_proj
    plain = layer.forward

    def hooked(x: torch.Tensor) -> torch.Tensor:
        asked.append(x)
        return plain(x)

    layer.forward = hooked
    Bank(model)
    assert layer.forward is hooked and not asked
    assert not any("forward" in vars(one) for one in model.modules() if one is not layer)


def test_a_name_that_is_not_loaded_is_said(bank):
    with pytest.raises(EngineError, match="'r9' is not loaded; there is r4, r8"):
        bank.hear([{"r9": 1.0}])
    with pytest.raises(EngineError, match="already loaded"):
        bank.add("r8", bank.adapters["r8"])


@pytest.mark.skipif(not cpu_computes(torch.bfloat16), reason="oneDNN has no bf16 on this CPU: nothing is packed")
def test_packed_weights_answer_as_plain_ones(folders, monkeypatch):
    """bf16 on the CPU goes through oneDNN's packed products; its answers stay within bf16's rounding."""
    heard = [{}, {"r8": 1.0}, {"r16-all": 0.5}, {"head": 1.0}]
    results = []
    for limit in (1 << 30, 0):
        monkeypatch.setattr(onednn, "LIMIT", limit)
        bank = Bank(tiny_llama().bfloat16())
        assert all(group.packed == bool(limit) for group in bank.groups)
        for name, folder in folders.items():
            bank.add(name, read_adapter(folder)[1])
        with bank.hearing(heard), torch.inference_mode():
            results.append(bank.model(questions(4)).logits.float())
    error = (results[0] - results[1]).norm() / results[1].norm()
    assert error < 0.02
    torch.testing.assert_close(results[0].argmax(-1)[:, -1], results[1].argmax(-1)[:, -1])
