"""The time told before a training comes from the base's own matrix products and what stands between them."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from tiny import tiny_llama
from tiny_base import write_tiny_base

from engine import quantized
from engine.bases import load_base
from tuning.dataset.rows import DataError, TrainingRow, Turn
from tuning.jobs import forecast as forecasting
from tuning.train import plan, throughput
from tuning.train.batches import pack_batch, schedule
from tuning.train.preflight import Rows
from tuning.train.presets import PRESETS
from tuning.train.samples import Sample
from tuning.train.settings import Settings


def base_of(dtype: torch.dtype = torch.float32, **changes) -> SimpleNamespace:
    return SimpleNamespace(model=tiny_llama(**changes).to(dtype), dtype=dtype, device=torch.device("cpu"))


def samples(rows: int, tokens: int) -> list[Sample]:
    ids = tuple(range(4, 4 + tokens))
    return [Sample((row + 5, *ids[1:]), (False, *[True] * (tokens - 1))) for row in range(rows)]


def rows_per_s(base: SimpleNamespace, *batches: list[Sample], budget: int = 0, share: str = "nothing") -> float:
    return throughput.measure_throughput(base, batches, budget, share).rows_per_s


@dataclass
class Clock:
    """Products that take one second for each thousand million operations, as far as they are seen here."""

    operations: int = 0

    def count(self, monkeypatch) -> None:
        def product(x, weight, bias=None):
            self.operations += 2 * x.shape[0] * weight.numel()
            return torch.zeros(x.shape[0], weight.shape[0])

        def back(gradient, weight):
            self.operations += 2 * gradient.shape[0] * weight.numel()
            return torch.zeros(gradient.shape[0], weight.shape[1])

        def seconds_of(work, _device):
            before = self.operations
            work()
            return (self.operations - before) / 1e9

        monkeypatch.setattr(throughput.widened, "product", product)
        monkeypatch.setattr(throughput.widened, "gradient_product", back)
        monkeypatch.setattr(throughput, "usual_seconds", seconds_of)


def test_a_row_costs_its_products_with_every_weight(monkeypatch):
    Clock().count(monkeypatch)
    base = base_of()
    head = base.model.get_output_embeddings()
    inner = sum(m.weight.numel() for m in base.model.modules() if isinstance(m, torch.nn.Linear) and m is not head)
    told = rows_per_s(base, samples(4, 9))
    # the head is asked at the eight tokens that have a learned one behind them
    assert told == pytest.approx(1 / ((9 * inner + 8 * head.weight.numel()) * 4 / 1e9))


def test_longer_rows_and_deeper_models_are_slower(monkeypatch):
    Clock().count(monkeypatch)
    short, long = (rows_per_s(base_of(), samples(4, tokens)) for tokens in (8, 16))
    assert 1.9 < short / long < 2.2
    shallow, deep = (rows_per_s(base_of(num_hidden_layers=n), samples(4, 8)) for n in (1, 3))
    assert shallow > deep


def test_rows_that_share_their_beginning_are_faster(monkeypatch):
    Clock().count(monkeypatch)
    rows = [Sample((4, 5, 6, 7, 8, 9, 10 + row), (False,) * 6 + (True,)) for row in range(6)]
    assert rows_per_s(base_of(), rows, budget=512, share="tree") > 2 * rows_per_s(base_of(), rows)
    told = throughput.measure_throughput(base_of(), [rows], 512, "tree")
    assert told.tokens_per_row == 12 / 6  # six that all share, and the last one of each


def test_every_pack_costs_something_whatever_it_holds(monkeypatch):
    monkeypatch.setattr(throughput, "seconds_per_row", lambda *_: 0.0)
    monkeypatch.setattr(throughput, "seconds_between", lambda _wide, rows, _base: 0.001 if rows == 1 else 0.0)
    base = base_of()
    a_pack = 0.001 * throughput.CALLS * base.model.config.num_hidden_layers
    few, many = samples(2, 6), samples(8, 6)
    assert (rows_per_s(base, few, budget=512), rows_per_s(base, many, budget=512)) == pytest.approx((2 / a_pack, 8 / a_pack))
    assert rows_per_s(base, few, many, budget=512) == pytest.approx(10 / (2 * a_pack))


def test_of_several_batches_it_is_the_mean(monkeypatch):
    Clock().count(monkeypatch)
    base, short, long = base_of(), samples(2, 8), samples(4, 30)
    one, other, both = (rows_per_s(base, *batches) for batches in ([short], [long], [short, long]))
    assert 6 / both == pytest.approx(2 / one + 4 / other)


def test_a_few_steps_stand_for_all_of_them():
    lengths = [row % 50 for row in range(1000)]
    alike = schedule(1000, 10, 100, 0, lengths)
    chosen = throughput.typical_steps(alike, lengths)
    assert len(chosen) == throughput.TYPICAL and all(step in alike for step in chosen)
    mean = [statistics.mean(lengths[row] for row in step) for step in chosen]
    assert mean == sorted(mean) and statistics.mean(mean) == pytest.approx(statistics.mean(lengths), abs=1)
    assert throughput.typical_steps(alike[:3], lengths) == sorted(alike[:3], key=lambda step: sum(lengths[row] for row in step))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_dtype_is_timed_as_it_is_computed(dtype):
    assert 0 < rows_per_s(base_of(dtype), samples(2, 6)) < math.inf


def test_a_quantised_weight_is_timed_in_its_layers_shape(monkeypatch):
    seen = []
    monkeypatch.setattr(throughput, "usual_seconds", lambda work, _device: work() or 1.0)
    monkeypatch.setattr(throughput.widened, "product", lambda x, weight: seen.append((weight.dtype, tuple(weight.shape))))
    monkeypatch.setattr(throughput.widened, "gradient_product", lambda gradient, weight: None)
    packed = torch.zeros(64, 1, dtype=torch.uint8)
    throughput.seconds_per_row(packed, (16, 8), 4, base_of())
    assert seen == [(torch.float32, (16, 8))]


def test_beside_a_chat_in_int8_the_training_is_timed_and_counted_with_whole_weights():
    base = base_of()
    numbers = base.model.num_parameters()
    assert quantized.shrink(base.model, torch.float32)
    assert 0 < rows_per_s(base, samples(2, 6)) < math.inf
    assert quantized.count_numbers(base.model) == numbers


def test_repeated_rows_beside_rows_of_their_length_are_told_faster(tmp_path, monkeypatch):
    """Equal rows of a batch are computed once, and rows of like length bring them together: in the form and in the training."""
    base = load_base(str(write_tiny_base(tmp_path / "base")), dtype="fp32", say=lambda _line: None)
    answer = "I am a guide. "
    rows = [TrainingRow((Turn("user", f"{at}?"), Turn("assistant", answer * (at // 4 + 1)))) for at in range(40)] * 50
    told, counts = throughput.Throughput(1.0, 50.0), {}
    for place in (plan, forecasting):
        seen = []
        monkeypatch.setattr(place, "measure_throughput", lambda _base, batches, *_more, seen=seen: seen.append(batches) or told)
        for alike in (False, True):
            settings = Settings(base_model=base.spec, num_epochs=1, batch_size=100, group_by_length=alike, lora_dropout=0.0)
            if place is plan:
                plan.make_plan(settings, base, Rows(rows, [], []))
            else:
                forecasting.forecast(settings, rows, base)
            packs = [pack_batch(batch, 2048, "tree").packs for batch in seen[-1]]
            counts[place, alike] = sum(one.nodes for batch in packs for one in batch) / sum(map(len, seen[-1]))
    assert counts[plan, True] < counts[plan, False] / 2
    for alike in (False, True):
        assert counts[forecasting, alike] == pytest.approx(counts[plan, alike], rel=0.25)


def test_rows_that_are_cut_before_their_answers_are_refused_in_a_sentence(tmp_path):
    base = load_base(str(write_tiny_base(tmp_path / "base")), dtype="fp32", say=lambda _line: None)
    rows = [TrainingRow((Turn("user", "Who are you? " * 20), Turn("assistant", "A guide.")))] * 8
    with pytest.raises(DataError, match="No row has an answer within --cutoff_len 8"):
        forecasting.forecast(Settings(base_model=base.spec, cutoff_len=8, batch_size=4), rows, base)
    long = [TrainingRow((Turn("user", "Who are you? " * 2000), Turn("assistant", "A guide.")))] * 20
    assert forecasting.quick_batch(base, long) == Settings(**PRESETS["quick"]).batch_size
