"""The onset of attention: the first validation that reaches 0.1 nats, also over a resumed run."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from seq2seq.training.callbacks import onset
from seq2seq.training.callbacks.onset import Onset


class Module:
    """What the callback reads of a ``Training``."""

    def __init__(self, scores: dict[str, float]) -> None:
        self.validation = SimpleNamespace(scores=scores)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onset, "Training", Module)


def validated(callback: Onset, increases: Sequence[float | None], *, first: int = 0, sanity: bool = False) -> Onset:
    """The callback after validations each 50 updates."""
    for n, increase in enumerate(increases, 1):
        trainer = SimpleNamespace(global_step=first + 50 * n, sanity_checking=sanity)
        scores = {"nll": 1.0} if increase is None else {"nll": 1.0, "nll_increase_averaged": increase}
        callback.on_validation_end(cast(Any, trainer), cast(Any, Module(scores)))
    return callback


@pytest.mark.parametrize(
    ("increases", "step", "last"),
    [
        ([0.0, 0.05, 0.1, 0.3], 150, 0.3),
        ([0.2, 0.01], 50, 0.01),  # it has begun, whatever comes after
        ([0.0, 0.0999], None, 0.0999),
        ([-0.2], None, -0.2),
        ([float("nan"), 0.2], 100, 0.2),
        ([None, None], None, None),  # not measured
        ([], None, None),
    ],
)
def test_first_validation_that_reaches_it(increases: list[float | None], step: int | None, last: float | None) -> None:
    callback = validated(Onset(), increases)
    assert (callback.step, callback.increase) == (step, last)


def test_a_resumed_run_remembers() -> None:
    before = validated(Onset(), [0.0, 0.5])
    after = Onset()
    after.load_state_dict(before.state_dict())
    validated(after, [0.7], first=100)
    assert (after.step, after.increase) == (100, 0.7)


def test_validation_before_training_does_not_count() -> None:
    assert validated(Onset(), [0.5], sanity=True).step is None
