"""The packed loss has the gradient of the plain padded loop: token mean over the batch, every row its own, full logits."""

from __future__ import annotations

import copy
import random

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from tiny import tiny_llama

from tuning.train.loss import HeadLoss, loss_of_pack, whole_loss
from tuning.train.packing import pack
from tuning.train.samples import Sample

CLOSE = 1e-4  # relative, fp32


@pytest.fixture(scope="module")
def base():
    return tiny_llama()


def learner(base, dropout: float = 0.0, targets: list[str] | str = "all-linear"):
    torch.manual_seed(3)
    model = get_peft_model(copy.deepcopy(base), LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules=targets))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # at its start, zero, half of the gradients would be zero as well
            torch.nn.init.normal_(parameter, std=0.05)
    return model.train()


def samples(seed: int, count: int, shared: int = 20, longest: int = 60, inputs: bool = False) -> list[Sample]:
    """Mixed lengths behind one prefix; some go on alike for a while, some share nothing but the first token."""
    draw = random.Random(seed)
    prefix = [1] + [draw.randrange(3, 512) for _ in range(shared)]
    questions = [[draw.randrange(3, 512) for _ in range(draw.randrange(1, 12))] for _ in range(4)]
    found = []
    for at in range(count):
        head = prefix + draw.choice(questions) if at % 5 else [1, at + 3]
        answer = [draw.randrange(3, 512) for _ in range(draw.randrange(1, longest))] + [2]
        ids = tuple(head + answer)
        targets = (False,) + (True,) * (len(ids) - 1) if inputs else (False,) * len(head) + (True,) * len(answer)
        found.append(Sample(ids, targets))
    return found


def plain_gradients(model, batch: list[Sample]) -> tuple[float, dict[str, torch.Tensor]]:
    """One padded batch, causal mask, logits everywhere, mean over the target tokens."""
    longest = max(len(sample.ids) for sample in batch)
    ids, mask, labels = torch.zeros((3, len(batch), longest), dtype=torch.long)
    labels.fill_(-100)
    for row, sample in enumerate(batch):
        n = len(sample.ids)
        ids[row, :n], mask[row, :n] = torch.tensor(sample.ids), 1
        labels[row, :n] = torch.tensor([token if on else -100 for token, on in zip(*sample, strict=True)])
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    loss.backward()
    return loss.item(), take_gradients(model)


def packed_gradients(loss_of, model, batch: list[Sample], **how) -> tuple[float, dict[str, torch.Tensor]]:
    total = sum(sample.labels for sample in batch)
    said = 0.0
    for one in pack(batch, **how):
        loss = loss_of(one) / total
        loss.backward()
        said += loss.item()
    return said, take_gradients(model)


def take_gradients(model) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def relative_error(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    assert ours.keys() == theirs.keys() and theirs
    return max((torch.norm(ours[name] - theirs[name]) / torch.norm(theirs[name])).item() for name in theirs)


def assert_same(base, batch, **how) -> None:
    loss, wanted = plain_gradients(learner(base), batch)
    model = learner(base)
    said, found = packed_gradients(loss_of_pack(model), model, batch, **how)
    assert said == pytest.approx(loss, rel=CLOSE)
    assert relative_error(found, wanted) <= CLOSE


@pytest.mark.parametrize("inputs", [False, True], ids=["answers only", "train_on_inputs"])
@pytest.mark.parametrize("share", ["tree", "prefix", "nothing"])
@pytest.mark.parametrize("budget", [0, 90, 100_000], ids=["one row per pack", "several packs", "one pack"])
def test_packing_changes_no_gradient(base, inputs, share, budget):
    assert_same(base, samples(1, 14, inputs=inputs), budget=budget, share=share)


def test_packing_changes_no_gradient_for_cut_rows(base):
    cut = [Sample(sample.ids[:40], sample.targets[:40]) for sample in samples(2, 12)]
    lost = Sample(cut[0].ids[:10], (False,) * 10)  # cut before its answer: it has no say in the mean
    assert_same(base, cut, budget=150, share="tree")
    assert pack([*cut, lost], 150)[0].samples == pack(cut, 150)[0].samples


@pytest.mark.parametrize("inputs", [False, True], ids=["answers only", "train_on_inputs"])
@pytest.mark.parametrize("share", ["tree", "prefix"])
def test_repeated_rows_weigh_as_often_as_they_occur(base, inputs, share):
    few = samples(4, 3, inputs=inputs)
    batch = [few[0]] * 7 + [few[1]] * 2 + [few[2]]
    assert_same(base, batch, budget=10_000, share=share)


def test_repeated_rows_cost_nothing():
    few = samples(4, 2)
    (alone,), (often,) = pack(few, 10_000), pack(few * 50, 10_000)
    assert often.nodes == alone.nodes
    assert often.samples == 100 and often.tokens == 50 * alone.tokens


def test_a_row_that_another_one_begins_with(base):
    long = samples(5, 2)[1]
    short = Sample(long.ids[:-4], long.targets[:-4])
    assert_same(base, [short, long, short], budget=10_000, share="tree")


def test_answers_that_differ_from_their_first_token_on(base):
    """The last node of the prefix then has several targets."""
    head = (1, 9, 8, 7)
    batch = [Sample((*head, token, 2), (False,) * 4 + (True, True)) for token in (30, 31, 32, 30)]
    assert_same(base, batch, budget=10_000, share="tree")
    assert_same(base, batch, budget=10_000, share="prefix")


def test_the_way_through_the_models_own_forward_agrees(base):
    batch = samples(6, 9)
    loss, wanted = plain_gradients(learner(base), batch)
    model = learner(base)
    said, found = packed_gradients(lambda one: whole_loss(model, one), model, batch, budget=120, share="tree")
    assert said == pytest.approx(loss, rel=CLOSE)
    assert relative_error(found, wanted) <= CLOSE


def test_a_learning_head_agrees(base):
    targets = ["q_proj", "lm_head"]
    batch = samples(7, 6)
    loss, wanted = plain_gradients(learner(base, targets=targets), batch)
    model = learner(base, targets=targets)
    said, found = packed_gradients(loss_of_pack(model), model, batch, budget=200, share="tree")
    assert said == pytest.approx(loss, rel=CLOSE)
    assert relative_error(found, wanted) <= CLOSE


def test_dropout_is_heard_and_averages_out(base):
    """With dropout there is no equal plain run; its mean over many draws lies near the run without."""
    batch = samples(8, 4, longest=10)
    _, wanted = plain_gradients(learner(base), batch)
    model = learner(base, dropout=0.2)
    loss_of = loss_of_pack(model)
    torch.manual_seed(0)
    draws = [packed_gradients(loss_of, model, batch, budget=10_000, share="prefix")[1] for _ in range(60)]
    assert relative_error(draws[0], draws[1]) > 0.01
    mean = {name: torch.stack([draw[name] for draw in draws]).mean(0) for name in wanted}
    assert relative_error(mean, wanted) < relative_error(draws[0], wanted) / 2
    model.eval()
    with torch.no_grad():
        assert loss_of(pack(batch, 10_000)[0]) == loss_of(pack(batch, 10_000)[0])


def test_generation_is_left_alone(base):
    """While a model learns it is asked questions, too."""
    model = learner(base).eval()
    ids = torch.tensor([[1, 5, 6, 7]])
    before = model.generate(input_ids=ids, max_new_tokens=8, do_sample=False)
    loss_of_pack(model)
    assert torch.equal(model.generate(input_ids=ids, max_new_tokens=8, do_sample=False), before)


def test_half_precision_keeps_the_small_parts_of_the_gradient():
    """In fp16 a softmax over a large vocabulary, times a weight, lies below the smallest number; together it is not nothing."""
    torch.manual_seed(0)
    hidden, weight = torch.randn(6, 32) * 0.1, torch.randn(100_000, 32) * 0.1 + 0.5
    where = torch.arange(6), torch.arange(6) * 7, torch.full((6,), 0.01)
    found = []
    for dtype in (torch.float32, torch.float16):
        given = hidden.detach().clone().to(dtype).requires_grad_()
        HeadLoss.apply(given, weight.to(dtype), None, *where).backward(torch.tensor(100.0))
        found.append(given.grad.float())
    assert torch.norm(found[1] - found[0]) < 0.02 * torch.norm(found[0])
