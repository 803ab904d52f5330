"""The report before training: steps as the Trainer makes them, rates as the scheduler gives them, and the warnings."""

import math

import pytest

from tuning.dataset.mixing import split_off
from tuning.dataset.rows import DataError, pair
from tuning.train.estimate import Measured, estimate, estimate_seconds
from tuning.train.run_memory import estimate_memory
from tuning.train.settings import SCHEDULES, Settings
from tuning.train.steps import MARGIN_TOKENS, count_steps, extra_rows, rates

ROWS = [pair(f"q{n}", f"a{n}", kind="identity") for n in range(160)]


def report(rows=ROWS, measured=None, valid_rows=0, **settings):
    settings = Settings(**{"batch_size": 4} | settings)
    return estimate(settings, rows, count_steps(settings, len(rows) - valid_rows, valid_rows), measured)


def codes(rows=ROWS, **changes):
    """Of rows among which there is a general one."""
    return {caution.code for caution in report(rows=[*rows, pair("g", "x")], **changes).cautions}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (10, 0), (47, 100), (95, 10), (50, 50)])
def test_learning_rates_are_those_of_the_real_scheduler(schedule, steps, warmup):
    torch = pytest.importorskip("torch")
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-4)
    scheduler = get_scheduler(schedule, optimizer, num_warmup_steps=warmup, num_training_steps=steps)
    real = []
    for _ in range(steps):
        real.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates(2e-4, steps, warmup, schedule) == pytest.approx(real, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(
    ("rows", "batch", "micro", "epochs", "max_steps"),
    [(95, 100, 25, 1, 0), (950, 100, 25, 1, 0), (18, 4, 2, 10, 0), (101, 16, 4, 2.5, 0), (30, 8, 8, 1, 70), (5, 3, 1, 1, 0)],
)
def test_steps_are_those_of_the_real_trainer(tmp_path, rows, batch, micro, epochs, max_steps):
    torch = pytest.importorskip("torch")
    from transformers import Trainer, TrainingArguments

    class Line(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return {"loss": (self.weight * x).mean()}

    steps = count_steps(Settings(batch_size=batch, num_epochs=epochs, max_steps=max_steps, warmup_ratio=0.1), rows)
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=batch // micro,
        num_train_epochs=epochs,
        max_steps=max_steps or -1,
        warmup_steps=0.1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(model=Line(), args=arguments, train_dataset=[{"x": torch.ones(1)} for _ in range(rows)])
    trainer.train()
    assert trainer.state.global_step == steps.total
    assert arguments.get_warmup_steps(steps.total) == steps.warmup


def test_the_originals_runs_ended_inside_their_warmup():
    rows = [pair("a", "b", kind="identity"), pair("c", "d", kind="identity")] * 5_000
    told = report(rows, valid_rows=500, batch_size=100, learning_rate=1e-4, warmup_steps=100)
    assert (told.rows, told.distinct, told.steps.total, told.steps.warmup) == (10_000, 2, 95, 100)
    assert told.peak_rate < 1e-4
    assert {caution.code for caution in told.cautions} == {"warmup", "few distinct", "all identity"}
    assert told.sum_of_rates == pytest.approx(1e-4 * sum(range(95)) / 100)


def test_answers_that_are_read_are_counted_where_the_last_batch_of_an_epoch_is_smaller():
    rows = [pair(f"q{n}", "x") for n in range(60)]
    assert report(rows, batch_size=50, max_steps=12).exposures == 6 * 60
    assert report(rows, batch_size=50, max_steps=11).exposures == 5 * 60 + 50
    assert report(rows, batch_size=100, max_steps=3).exposures == 3 * 60
    assert report(rows, batch_size=50, num_epochs=2).exposures == 120


def test_validation_rows_that_are_trained_as_well_are_said():
    rows = [pair(f"q{n}", "x") for n in range(20)] * 5
    train, valid = split_off(rows, 0.1)
    told = report(train, Measured(valid=valid))
    assert told.valid_copies == 10 and "seen validation" in {one.code for one in told.cautions}
    other = report(train, Measured(valid=[pair(f"new {n}", "x") for n in range(9)] + valid[:1]))
    assert other.valid_copies == 1 and "seen validation" not in {one.code for one in other.cautions}


def test_figures_of_a_mixed_run():
    general = [pair(f"g{n}", "x") for n in range(240)]
    told = report(
        ROWS + general,
        Measured(count_tokens=lambda row: len(row.answer), samples_per_s=6.0, start_s=10, memory_bytes=2**30),
        valid_rows=40,
        batch_size=8,
        learning_rate=1e-3,
        num_epochs=2,
        lr_scheduler_type="constant",
    )
    assert (told.rows, told.distinct, told.identity_rows, told.identity_distinct) == (400, 400, 160, 160)
    assert told.share == 0.4
    assert (told.steps.train_rows, told.steps.valid_rows, told.steps.per_epoch, told.steps.total) == (360, 40, 45, 90)
    assert (told.exposures, told.identity_exposures) == (720, 288)
    assert told.sum_of_rates == pytest.approx(0.09)
    assert told.tokens == sum(len(row.answer) for row in ROWS + general)
    assert told.seconds == 10 + 120
    assert told.cautions == () and not told.refused
    text = "\n".join(told.lines())
    for part in ("400 distinct", "40.0%", "optimizer steps: 90", "about 2 min", "about 1.0 GiB"):
        assert part in text


def test_tokens_of_repeated_rows_count_as_often_as_they_occur_and_are_counted_once():
    calls = []

    def count(row):
        calls.append(row)
        return 7

    assert report(ROWS[:2] * 50, Measured(count_tokens=count)).tokens == 700
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"batch_size": 100}, "few steps"),
        ({"warmup_steps": 40}, "warmup"),
        ({"warmup_ratio": 0.6}, "warmup"),
        ({"rows": ROWS[:3] * 60}, "few distinct"),
        ({"rows": [*ROWS, pair("q", "I am <NAME>.", kind="identity")]}, "unfilled"),
        ({"rows": [*ROWS, pair("q", " ")]}, "empty answers"),
        ({"measured": Measured(format="alpaca", base_format="bayling")}, "format"),
    ],
)
def test_each_caution_appears_where_it_should_and_only_there(changes, code):
    assert codes() == set()
    assert codes(**changes) == {code}


SMALL = Measured(parameters=135_000_000)


@pytest.mark.parametrize(
    ("changes", "code", "remedy"),
    [
        ({"learning_rate": 1e-4}, "weak rates", {"learning_rate": 2e-3}),
        ({"lora_target_modules": ("q_proj",), "lora_r": 2}, "narrow", {"lora_r": 8}),
    ],
)
def test_what_is_known_of_small_models_is_said_of_them_and_what_would_do_lifts_it(changes, code, remedy):
    usual = {"learning_rate": 2e-3, "measured": SMALL}
    assert codes(**usual) == set()
    assert codes(**usual | changes) == {code}
    [found] = report([*ROWS, pair("g", "x")], **usual | changes).cautions
    assert remedy.items() <= found.remedy.items()
    assert codes(**usual | changes | found.remedy) == set()
    assert codes(**usual | changes | {"measured": Measured(parameters=7_000_000_000)}) == set()


def test_a_run_whose_only_step_has_no_rate_is_refused_before_it_starts():
    told = report([*ROWS, pair("g", "x")], batch_size=1000, warmup_steps=100)  # the original's models of 100 samples
    assert {"no rate", "few steps"} == {caution.code for caution in told.cautions}
    assert told.refused and told.peak_rate == 0
    assert any("warmup_steps 0" in line for line in told.lines() if line.startswith("refused"))


def test_nothing_but_identity_is_a_caution():
    [found] = report(ROWS).cautions
    assert (found.code, dict(found.remedy)) == ("all identity", {"general_share": 0.5})


def test_warmup_does_not_matter_to_a_constant_rate():
    assert codes(lr_scheduler_type="constant", warmup_steps=1_000) == set()


def test_unfilled_placeholders_refuse_unless_the_base_means_them():
    rows = [*ROWS, pair("q", "I am [NAME].", kind="identity", source="set.json row 4")]
    told = report(rows)
    assert told.refused and "set.json row 4" in told.lines()[-1]
    assert not report(rows, Measured(card_placeholders=("[NAME]",))).refused


def test_impossible_runs_are_refused():
    with pytest.raises(DataError, match="no rows to train on"):
        count_steps(Settings(), 0)
    with pytest.raises(DataError, match="lr_scheduler_type is 'zigzag'"):
        rates(1.0, 5, schedule="zigzag")
    with pytest.raises(DataError, match="no rows"):
        estimate(Settings(), [], count_steps(Settings(), 1))
    with pytest.raises(DataError, match="leaves none to train on"):
        split_off(ROWS, 160)


def test_estimates_grow_with_what_they_depend_on():
    base = {"base_bytes": 2, "layers": 32, "hidden": 4096, "tokens_per_pack": 512, "vocabulary": 32_000}
    needed = estimate_memory(6_700_000_000, 8_400_000, **base)
    assert 13 < needed / 2**30 < 18  # a 7B base in fp16 with one short pack fits a V100 of 32 GB, its weights alone are 12.5 GiB
    assert estimate_memory(6_700_000_000, 8_400_000, **base | {"base_bytes": 4}) > needed
    assert estimate_memory(6_700_000_000, 8_400_000, **base | {"tokens_per_pack": 1024}) > needed
    assert estimate_seconds(600, 6.0) == 100
    assert math.isclose(estimate_seconds(600, 6.0, start_s=5, extra_rows=20), 105 + 20 / 6)


def test_validations_and_margins_take_time_too():
    settings = Settings(margin=True, save_steps=6, margin_steps=5)
    assert math.isclose(
        extra_rows(settings, count_steps(settings, 54 * settings.batch_size), 20, 50), 9 * 20 / 3 + 12 * MARGIN_TOKENS / 50 / 3
    )
    # a fifth of what is read for moments: 8 rows, sixty times
    few = Settings(max_steps=60, batch_size=50, moments=8, margin=False)
    assert math.isclose(extra_rows(few, count_steps(few, 8), 0, 50), few.moments_share * 480)
    assert extra_rows(Settings(margin=False), count_steps(Settings(), 54), 0, 50) == 0
