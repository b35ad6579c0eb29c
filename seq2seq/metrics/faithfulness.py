"""Metrics of faithfulness: they say whether predictions depend on attention (``seq2seq.evaluation.faithfulness``)."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from seq2seq.metrics.metric import Metric

ONSET = 0.1
"""Least ``nll_increase_averaged``, in nats per token, at which the model counts as using attention."""
_faithfulness = partial(Metric, group="faithfulness")
_LOSSES = (("nll", "nats per token"), ("loss_entmax{n}", ""))
"""Names of losses, with their units."""
_INCREASES = {
    "uniform": "uniform attention",
    "permuted": "permuted attention weights",
    "frozen": "the attention of the first step at every step",
    "averaged": "the sentence's mean attention at every step",
}
METRICS = (
    *(
        _faithfulness(
            f"{loss}_increase_{name}", description=f"loss increase with {change}", unit=unit, higher_is_better=None
        )
        for loss, unit in _LOSSES
        for name, change in _INCREASES.items()
    ),
    _faithfulness(
        "erased_attended",
        description="decrease of log-probability without the most attended source word",
        unit="nats",
    ),
    _faithfulness(
        "erased_random",
        description="decrease of log-probability without another, random source word",
        unit="nats",
        higher_is_better=None,
    ),
    _faithfulness(
        "loss_entmax{n}_erased_attended",
        description="loss increase without the most attended source word",
    ),
    _faithfulness(
        "loss_entmax{n}_erased_random",
        description="loss increase without another, random source word",
        higher_is_better=None,
    ),
    _faithfulness(
        "flips_attended",
        description="share of predictions that change without the most attended source word",
    ),
    _faithfulness(
        "flips_random",
        description="share of predictions that change without another, random source word",
        higher_is_better=None,
    ),
    _faithfulness("gradient_tau", description="Kendall's tau-b between attention weights and gradient x input"),
)


def kendall(a: ArrayLike, b: ArrayLike) -> float | None:
    """Return Kendall's tau-b of two rows of numbers (Kendall 1945); None if all numbers of a row are equal.

    Pairs that are tied in a row count neither as agreement nor as disagreement.

    Args:
        a: Numbers (X,).
        b: Numbers (X,).
    """
    # The sign of each difference says how a row orders a pair of numbers; 0 is a tie.
    x, y = (np.sign(np.subtract.outer(v, v)) for v in (np.asarray(a, np.float64), np.asarray(b, np.float64)))
    both = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / both if both else None
