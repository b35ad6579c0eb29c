"""Metrics of a teacher-forced pass: likelihood of the references, and accuracy of the most likely token."""

from __future__ import annotations

import math

import numpy as np

from seq2seq.metrics.metric import Array, Metric, share


def perplexity(nll: float, tokens: int) -> float:
    """Return exp(nll / tokens); infinity if it is too large for a float.

    Models with different vocabularies cannot be compared by their perplexities.

    Args:
        nll: Negative log-likelihood in nats, summed over the target tokens.
        tokens: Number of target tokens, ``</s>`` included.
    """
    # An untrained model may have a perplexity that is too large for a float.
    try:
        return math.exp(nll / tokens)
    except OverflowError:
        return math.inf


def token_accuracy(correct: int, tokens: int) -> float:
    """Return the share of target tokens that the model ranks first, correct / tokens, 0-1.

    Args:
        correct: Number of target tokens that the model ranks first, given the tokens before.
        tokens: Number of target tokens.
    """
    return correct / tokens


def _exp_share(sums: Array) -> Array:
    """Return exp(part / whole) (...) from sums (..., 2)."""
    # An overflow gives infinity, as in ``perplexity``.
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(share(sums)))


SPARSE_LOSS = Metric(
    "loss_entmax{n}",
    "likelihood",
    "loss of references per target token with entmax outputs; n: digits of alpha (Peters 2019)",
    higher_is_better=False,
)
METRICS = (
    Metric(
        "loss",
        "likelihood",
        "training loss per target token, the sum of all its terms",
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
        "exp of the nll per reference token",
        higher_is_better=False,
        digits=1,
        from_sums=_exp_share,
    ),
    SPARSE_LOSS,
    Metric(
        "support_size",
        "likelihood",
        "mean number of tokens to which a sparse output layer gives p > 0",
        higher_is_better=None,
    ),
    Metric(
        "zero_probability",
        "likelihood",
        "share of tokens of references to which a sparse output layer gives p = 0",
        higher_is_better=False,
    ),
    Metric(
        "proven",
        "outputs",
        "share of outputs that decoding=exact has proven to be the most probable (Stahlberg 2019)",
    ),
    Metric("accuracy", "likelihood", "share of the tokens of references that the model ranks first"),
)
