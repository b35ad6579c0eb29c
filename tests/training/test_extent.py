"""Tests of the share of a training that is done, by updates and by time."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
from lightning.pytorch.callbacks import Timer

from seq2seq.training.extent import seconds_left, share_done, updates


def trainer(step: int, planned: float, elapsed: float | None = None) -> Any:
    """Return a trainer at an update; with ``elapsed`` it has a limit of 100 seconds."""
    callbacks = []
    if elapsed is not None:
        timer = Timer({"seconds": 100})
        timer._offset = cast(int, elapsed)
        callbacks.append(timer)
    return SimpleNamespace(global_step=step, estimated_stepping_batches=planned, callbacks=callbacks)


@pytest.mark.parametrize(
    ("step", "planned", "elapsed", "share", "left"),
    [
        (5, 20, None, 0.25, None),
        (5, 20, 10.0, 0.25, 90.0),  # updates end first
        (5, 20, 60.0, 0.6, 40.0),  # time ends first
        (5, math.inf, 60.0, 0.6, 40.0),
        (5, -1, None, None, None),
        (5, 20, 130.0, 1.0, 0.0),
    ],
)
def test_the_nearer_end_counts(
    step: int, planned: float, elapsed: float | None, share: float | None, left: float | None
) -> None:
    now = trainer(step, planned, elapsed)
    assert share_done(now) == (None if share is None else pytest.approx(share))
    assert seconds_left(now) == (None if left is None else pytest.approx(left))
    assert updates(now) == (planned if planned == 20 else None)
