"""What a teacher-forced pass says: how surprised the model is, and how often its first choice is right."""

from __future__ import annotations

import math

import numpy as np

from seq2seq.metrics.metric import Array, Metric, share


def perplexity(nll: float, tokens: int) -> float:
    """exp(nll / tokens): ``nll`` in nats, summed over ``tokens`` target tokens (``</s>`` among them); inf if too large.

    A figure of one vocabulary: models of different tokenizers don't compare by it.
    """
    try:
        return math.exp(nll / tokens)
    except OverflowError:
        return math.inf


def token_accuracy(correct: int, tokens: int) -> float:
    """correct / tokens, 0-1: the share of target tokens that the model, given those before, ranks first."""
    return correct / tokens


def _exp_share(sums: Array) -> Array:
    """Return exp(part / whole) of sums (..., 2)."""
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(share(sums)))


METRICS = (
    Metric(
        "loss",
        "likelihood",
        "training loss per target token, with all its terms",
        higher_is_better=False,
        unit="nats per token",
        from_sums=None,
    ),
    Metric(
        "nll",
        "likelihood",
        "negative log-likelihood of references per target token",
        higher_is_better=False,
        unit="nats per token",
    ),
    Metric(
        "perplexity",
        "likelihood",
        "exp of the negative log-likelihood of references per target token",
        higher_is_better=False,
        digits=1,
        from_sums=_exp_share,
    ),
    Metric("accuracy", "likelihood", "share of the references' tokens that the model ranks first"),
)
