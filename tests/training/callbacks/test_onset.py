"""Tests of the onset of attention: the first validation with at least 0.1 nats, also in a resumed run."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from seq2seq.training.callbacks import onset
from seq2seq.training.callbacks.onset import Onset


class Module:
    """Stand-in for ``Training`` with the scores that the callback reads."""

    def __init__(self, scores: dict[str, float]) -> None:
        self.validation = SimpleNamespace(scores=scores)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the callback accept the stand-in as a ``Training``."""
    monkeypatch.setattr(onset, "Training", Module)


def run_validations(
    callback: Onset, increases: Sequence[float | None], *, first: int = 0, sanity: bool = False
) -> Onset:
    """Run the callback after validations every 50 updates, and return it."""
    for n, increase in enumerate(increases, 1):
        trainer = SimpleNamespace(global_step=first + 50 * n, sanity_checking=sanity)
        scores = {"nll": 1.0} if increase is None else {"nll": 1.0, "nll_increase_averaged": increase}
        callback.on_validation_end(cast(Any, trainer), cast(Any, Module(scores)))
    return callback


@pytest.mark.parametrize(
    ("increases", "step", "last"),
    [
        ([0.0, 0.05, 0.1, 0.3], 150, 0.3),
        ([0.2, 0.01], 50, 0.01),  # later validations do not matter
        ([0.0, 0.0999], None, 0.0999),
        ([-0.2], None, -0.2),
        ([float("nan"), 0.2], 100, 0.2),
        ([None, None], None, None),  # not measured
        ([], None, None),
    ],
)
def test_onset_is_the_first_validation_that_reaches_the_threshold(
    increases: list[float | None], step: int | None, last: float | None
) -> None:
    callback = run_validations(Onset(), increases)
    assert (callback.step, callback.increase) == (step, last)


def test_resumed_run_remembers_the_onset() -> None:
    before = run_validations(Onset(), [0.0, 0.5])
    after = Onset()
    after.load_state_dict(before.state_dict())
    run_validations(after, [0.7], first=100)
    assert (after.step, after.increase) == (100, 0.7)


def test_validation_before_training_does_not_count() -> None:
    assert run_validations(Onset(), [0.5], sanity=True).step is None
