"""Options that cannot be are refused when they are made, each by name."""

from __future__ import annotations

from typing import Any

import pytest

from seq2seq.errors import UserError
from seq2seq.search import Greedy
from seq2seq.training.options import Options


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
        ({"plots": -1}, "plots"),
        ({"metrics": ["bleu"]}, "decoding"),
        ({"monitor": "kl"}, "mode"),
    ],
)
def test_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=f"training.{named}"):
        Options(**options)


def test_direction_is_inferred_or_given() -> None:
    assert Options(monitor="aer").direction == "min"
    assert Options(monitor="bleu", metrics=["bleu"], decoding=Greedy()).direction == "max"
    assert Options(monitor="cider").direction == Options(monitor="rougeL").direction == "max"
    assert Options(monitor="ter").direction == "min"
    assert Options(monitor="kl", mode="max").direction == "max"
    assert Options().monitored == "nll" and Options(reward="rougeL").monitored == "rougeL"
    assert Options(reward="cider").direction == "max" and Options(reward="cider", monitor="nll").direction == "min"


def test_better() -> None:
    less, more = Options(monitor="nll"), Options(monitor="accuracy")
    assert less.better(1.0, None) and less.better(1.0, 2.0) and not less.better(2.0, 2.0)
    assert more.better(3.0, 2.0) and not more.better(1.0, 2.0)
    assert not less.better(float("nan"), None)
