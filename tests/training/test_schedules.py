"""Tests of learning rates, against the formulas of the papers and values by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.optim import SGD, Optimizer

from seq2seq.errors import UserError
from seq2seq.training.schedules import (
    ConstantSchedule,
    CosineSchedule,
    HalvingSchedule,
    InverseSquareRootSchedule,
    PlateauSchedule,
    Schedule,
)


def optimizer(lr: float = 1.0) -> Optimizer:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates(schedule: Schedule, steps: int) -> list[float]:
    """Return the learning rates of updates 1, 2, ..., ``steps``."""
    found = []
    for _ in range(steps):
        found.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.optimizer.step()
        schedule.step()
    return found


def test_warm_up_is_linear_and_reaches_the_peak() -> None:
    assert rates(ConstantSchedule(optimizer(0.8), warmup_steps=4), 6) == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])
    assert rates(ConstantSchedule(optimizer(0.8)), 2) == [0.8, 0.8]


def test_inverse_square_root_equals_the_formula_of_vaswani() -> None:
    """lrate = d^-0.5 min(step^-0.5, step warmup^-1.5), whose peak is (d warmup)^-0.5."""
    dim, warmup = 512, 4000
    expected = {step: dim**-0.5 * min(step**-0.5, step * warmup**-1.5) for step in (1, 2000, 4000, 4001, 16000)}
    schedule = InverseSquareRootSchedule(optimizer((dim * warmup) ** -0.5), warmup)
    for step, rate in expected.items():
        schedule.last_epoch = step - 1
        assert schedule.get_lr() == pytest.approx([rate])
    assert expected[16000] == pytest.approx(expected[4000] / 2)


def test_cosine_falls_from_peak_to_final() -> None:
    schedule = CosineSchedule(optimizer(2.0), warmup_steps=2, total_steps=10, final=0.1)
    found = rates(schedule, 12)
    assert found[:2] == [1.0, 2.0]
    assert found[5] == pytest.approx(2.0 * (0.1 + 0.9 / 2))  # half-way, cos = 0
    assert found[3] == pytest.approx(2.0 * (0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2))
    assert found[9:] == pytest.approx([0.2, 0.2, 0.2])


def test_cosine_takes_its_length_from_the_training() -> None:
    schedule = CosineSchedule(optimizer(), total_steps=None)
    schedule.plan(10.0)
    assert rates(schedule, 10)[4::5] == pytest.approx([0.5, 0.0])
    with pytest.raises(UserError, match=r"trainer\.max_steps"):
        CosineSchedule(optimizer()).plan(math.inf)


def test_halving_equals_the_schedule_of_luong() -> None:
    """In 12 epochs of 2 updates, 8 have the peak; pairs of updates then have 1/2, 1/4, 1/8 and 1/16 of it."""
    schedule = HalvingSchedule(optimizer())
    schedule.plan(24.0)
    assert rates(schedule, 24) == [1.0] * 16 + [0.5] * 2 + [0.25] * 2 + [0.125] * 2 + [0.0625] * 2
    timed = HalvingSchedule(optimizer(), epochs=10, after=5)
    timed.plan(math.inf, timed=True)
    timed.progress = 0.65
    assert timed.factor(1) == 0.25
    with pytest.raises(UserError, match=r"trainer\.max_epochs"):
        HalvingSchedule(optimizer()).plan(math.inf)
    with pytest.raises(UserError, match=r"^after=12 must be 0 or more, and less than epochs=12"):
        HalvingSchedule(optimizer(), after=12)


def test_plateau_reduces_after_patience() -> None:
    schedule = PlateauSchedule(optimizer(), reduce=0.5, patience=2, final=0.2)
    seen = []
    for score in (1.0, 3.0, 2.0, 3.0, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0):  # best: 1, 3, 4
        schedule.observe(score)
        seen.append(rates(schedule, 2)[1])
    assert seen == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2]


@pytest.mark.parametrize("kind", [ConstantSchedule, InverseSquareRootSchedule, CosineSchedule, PlateauSchedule])
def test_restored_schedule_continues_its_rates(kind: type[Schedule]) -> None:
    def made() -> Schedule:
        schedule = kind(optimizer(), warmup_steps=3)
        schedule.plan(20)
        return schedule

    whole, broken, resumed = made(), made(), made()
    expected = rates(whole, 20)
    first = rates(broken, 7)
    resumed.load_state_dict(broken.state_dict())
    resumed.optimizer.load_state_dict(broken.optimizer.state_dict())
    assert first + rates(resumed, 13) == expected


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"final": 2.0}, "final"),
        ({"reduce": 1.0}, "reduce"),
        ({"patience": 0}, "patience"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, float], named: str) -> None:
    kind = PlateauSchedule if named in ("reduce", "patience") else CosineSchedule
    with pytest.raises(UserError, match=rf"^{named}="):
        kind(optimizer(), **options)


def test_training_shorter_than_the_warm_up_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    ConstantSchedule(optimizer(), warmup_steps=5).plan(5)
    assert not caplog.records
    ConstantSchedule(optimizer(), warmup_steps=5).plan(4)
    assert "warm-up" in caplog.text
