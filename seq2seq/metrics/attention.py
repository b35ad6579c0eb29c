"""Statistics of the behaviour of attention: sharpness, monotonicity, coverage of the source, and others.

Letters: H heads, T target positions, S source positions. a are the weights of one sentence without its padding.
p = |a| / Σ_s |a| is a row of them as a distribution; rows whose weights are all 0 are left out. m_t = Σ_s s p_ts is the
expected position of a row. ln is the natural logarithm, and 0 ln 0 = 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seq2seq.metrics.metric import Metric

HOW = "last cross layer, mean over outputs"
"""Signature of the statistics in the results of a run (``average``)."""
MIN_WEIGHT = 1e-8
"""Least weight whose logarithm is taken, because the logarithm of 0 is infinite."""


def statistics(weights: ArrayLike, sentinel: ArrayLike | None = None) -> dict[str, float]:
    """Return the statistics of the attention of one layer in one sentence, as means over heads and rows.

    =================== =================================================================================
    entropy             H(p) = -Σ_s p ln p, in nats: 0 if one position has all weight, ln S if uniform
    normalized_entropy  H(p) / ln S, 0-1 (0 if S = 1)
    effective_positions exp H(p), the number of positions that share the attention, 1 to S
    sparsity            share of the T·S weights that are exactly 0
    peak                max_s a, the largest weight of a row
    mass                Σ_s a: 1, except for mechanisms that lose mass (a Gaussian window, a sentinel)
    monotonicity        share of steps t > 0 where m_t >= m_(t-1), the focus does not move back (1 if T = 1)
    coverage_min        min_s Σ_t a, averaged over heads first: weight of the least attended position
    coverage_max        max_s Σ_t a, averaged over heads first: weight of the most attended position
    disagreement        (H(mean_h p) - mean_h H(p)) / ln H, 0-1: Jensen-Shannon divergence of the heads
                        (0 if H = 1)
    sentinel            weight of the sentinel; only if there is one
    =================== =================================================================================

    Args:
        weights: Attention (T, S) or (H, T, S), without padding.
        sentinel: Weight of a sentinel outside the source (T,) or (H, T), if there is one.

    Returns:
        Statistics by name.

    Raises:
        ValueError: The weights are empty or have another shape.
    """
    # Turn the weights of each head into distributions.
    a = np.asarray(weights, dtype=np.float64)
    a = a[None] if a.ndim == 2 else a
    if a.ndim != 3 or not a.size:
        raise ValueError(f"weights must be (T, S) or (H, T, S) and not empty, but have shape {a.shape}")
    heads, _, positions = a.shape
    attended = np.abs(a).sum(-1) > 0  # (H, T)
    p = np.abs(a) / np.where(attended, np.abs(a).sum(-1), 1)[..., None]

    # Compute the statistics.
    entropy = _entropy(p)
    coverage = a.mean(0).sum(0)
    found = {
        "entropy": _mean(entropy[attended]),
        "normalized_entropy": _mean(entropy[attended]) / math.log(positions) if positions > 1 else 0.0,
        "effective_positions": _mean(np.exp(entropy[attended])),
        "sparsity": _mean(a == 0),
        "peak": _mean(a.max(-1)),
        "mass": _mean(a.sum(-1)),
        "monotonicity": _monotonicity(p @ np.arange(positions), attended),
        "coverage_min": float(coverage.min()),
        "coverage_max": float(coverage.max()),
        "disagreement": _disagreement(p[:, attended.all(0)]) if heads > 1 else 0.0,
    }
    return found if sentinel is None else {**found, "sentinel": _mean(np.asarray(sentinel, dtype=np.float64))}


def logit_spread(weights: ArrayLike) -> tuple[float, float]:
    """Return the standard deviations of log-weights over source positions and over target positions, in nats.

    With l_ts = ln max(p_ts, 1e-8) and d_ts = l_ts - mean_s l_ts (for a softmax, a score minus the mean score of its
    row):

        source = mean_t sqrt(mean_s d_ts^2)                      the standard deviation of a row
        target = mean_s sqrt(mean_t (d_ts - mean_t d_ts)^2)      the standard deviation of a column

    Both are means over heads. Rows whose weights are all 0 are left out. Attention that prefers the same positions at
    every step spreads over the source only; ``target`` is 0 if attention does not depend on the step.

    Args:
        weights: Attention (T, S) or (H, T, S) of one sentence, without padding.

    Returns:
        The pair (source, target).
    """
    a = np.abs(np.asarray(weights, dtype=np.float64))
    by_source, by_target = [], []
    for head in a[None] if a.ndim == 2 else a:
        rows = head[head.sum(-1) > 0]
        if len(rows):
            # Recover scores of the mechanism up to a constant for each row.
            logits = np.log(np.maximum(rows / rows.sum(-1, keepdims=True), MIN_WEIGHT))
            logits -= logits.mean(-1, keepdims=True)
            by_source.append(logits.std(1).mean())
            by_target.append(logits.std(0).mean())
    return _mean(np.array(by_source)), _mean(np.array(by_target))


def average(sentences: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each statistic over sentences. All sentences have the same weight.

    Args:
        sentences: Statistics of each sentence.
    """
    rows = list(sentences)
    return {name: _mean(np.array([row[name] for row in rows])) for name in (rows[0] if rows else {})}


def _entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the entropies (...) of distributions (..., S), in nats."""
    # Subtract from 0, because -0.0 would be printed with its sign.
    entropies: NDArray[np.float64] = 0 - (p * np.log(np.where(p > 0, p, 1))).sum(-1)
    return entropies


def _monotonicity(focus: NDArray[np.float64], attended: NDArray[np.bool_]) -> float:
    """Return the share of steps whose focus does not move back, from ``focus`` and ``attended`` (H, T)."""
    # A tolerance absorbs rounding errors: the focus of uniform rows does not move.
    # Compare each attended row with the attended row before it.
    steps = [np.diff(row[real]) >= -1e-6 for row, real in zip(focus, attended, strict=True)]
    moves = np.concatenate(steps)
    return _mean(moves) if moves.size else 1.0


def _disagreement(p: NDArray[np.float64]) -> float:
    """Return the normalised Jensen-Shannon divergence of heads, from distributions (H, T, S)."""
    return _mean(_entropy(p.mean(0)) - _entropy(p).mean(0)) / math.log(len(p))


def _mean(values: NDArray[Any]) -> float:
    """Return the mean of all values; 0 if there are none."""
    return float(values.mean()) if values.size else 0.0


METRICS = tuple(
    Metric(f"attention_{name}", "attention", description, higher_is_better=None, unit=unit)
    for name, unit, description in (
        ("entropy", "nats", "entropy of the weights of a step; 0 if one position has all weight"),
        ("normalized_entropy", "", "entropy as a share of the entropy of uniform weights"),
        ("effective_positions", "positions", "exp of the entropy"),
        ("sparsity", "", "share of weights that are exactly 0"),
        ("peak", "", "largest weight of a step"),
        ("mass", "", "sum of the weights of a step"),
        ("monotonicity", "", "share of steps whose focus does not move back"),
        ("coverage_min", "", "sum over steps of the weights of the least attended position"),
        ("coverage_max", "", "sum over steps of the weights of the most attended position"),
        ("disagreement", "", "divergence between heads; 0 if they are equal, 1 if they are disjoint"),
        ("sentinel", "", "weight of the sentinel, outside the source"),
        ("logit_spread_source", "nats", "spread of log-weights over source positions; at validation only"),
        ("logit_spread_target", "nats", "spread of log-weights over steps, for each position; at validation only"),
    )
)
