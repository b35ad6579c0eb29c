"""Tests of the options of training: impossible values are refused by name, and the monitor has a direction."""

from __future__ import annotations

from typing import Any

import pytest

from seq2seq.errors import UserError
from seq2seq.search import Greedy
from seq2seq.training.options import TrainingOptions


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"patience": 0}, "patience"),
        ({"validate_every": -1}, "validate_every"),
        ({"save_minutes": 0.0}, "save_minutes"),
        ({"mode": "up"}, "mode"),
        ({"averaging": "mean"}, "averaging"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"nonfinite": "ignore"}, "nonfinite"),
        ({"weight_decay_on": "some"}, "weight_decay_on"),
        ({"num_plots": -1}, "num_plots"),
        ({"metrics": ["bleu"]}, "decoding"),
        ({"monitor": "kl"}, "mode"),
    ],
)
def test_impossible_values_are_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=f"^{named}="):
        TrainingOptions(**options)


def test_direction_of_the_monitor_is_inferred_or_given() -> None:
    assert TrainingOptions(monitor="aer").direction == "min"
    assert TrainingOptions(monitor="bleu", metrics=["bleu"], decoding=Greedy()).direction == "max"
    assert TrainingOptions(monitor="cider").direction == TrainingOptions(monitor="rougeL").direction == "max"
    assert TrainingOptions(monitor="ter").direction == "min"
    assert TrainingOptions(monitor="kl", mode="max").direction == "max"
    assert TrainingOptions().monitored == "nll" and TrainingOptions(reward="rougeL").monitored == "rougeL"
    assert (
        TrainingOptions(reward="cider").direction == "max"
        and TrainingOptions(reward="cider", monitor="nll").direction == "min"
    )


def test_better_follows_the_direction_of_the_monitor() -> None:
    less, more = TrainingOptions(monitor="nll"), TrainingOptions(monitor="accuracy")
    assert less.better(1.0, None) and less.better(1.0, 2.0) and not less.better(2.0, 2.0)
    assert more.better(3.0, 2.0) and not more.better(1.0, 2.0)
    assert not less.better(float("nan"), None)
