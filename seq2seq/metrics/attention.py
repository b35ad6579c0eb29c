"""How attention behaves: sharp or spread, in order or jumping, covering its source or not.

Letters: H heads, T target positions, S source positions; a the weights of one sentence without
its padding, p = |a| / Σ_s |a| a row as a distribution (rows that attend nothing are left out),
m_t = Σ_s s p_ts its expected position. ln is natural and 0 ln 0 = 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seq2seq.metrics.metric import Metric

HOW = "last cross layer, mean over outputs"
"""The signature of what a run tells of ``average``."""
MIN_WEIGHT = 1e-8
"""What a weight is taken as at least where its logarithm counts: that of 0 is infinite."""


def statistics(weights: ArrayLike, sentinel: ArrayLike | None = None) -> dict[str, float]:
    """The behaviour of one layer in one sentence, ``weights`` (T, S) or (H, T, S); means over heads and rows.

    ``sentinel`` (T,) or (H, T) is the mass of a sentinel beside the positions, if there is one.

    =================== =================================================================================
    entropy             H(p) = -Σ_s p ln p, nats: 0 when sharp, ln S when uniform
    normalized_entropy  H(p) / ln S, 0-1 (0 where S = 1)
    effective_positions exp H(p), the number of positions that share the attention, 1 to S
    sparsity            share of the T·S weights that are exactly 0
    peak                max_s a, the largest weight of a row
    mass                Σ_s a: 1 but for mechanisms that lose mass (a Gaussian window, a sentinel)
    monotonicity        share of steps t > 0 where m_t >= m_(t-1), the focus not moving back (1 if T = 1)
    coverage_min        min_s Σ_t a, averaged over heads first: what the least attended source position got
    coverage_max        max_s Σ_t a, likewise the most attended
    disagreement        (H(mean_h p) - mean_h H(p)) / ln H, 0-1: the heads' Jensen-Shannon divergence
                        (0 where H = 1)
    sentinel            the mass of the sentinel; only where there is one
    =================== =================================================================================
    """
    a = np.asarray(weights, dtype=np.float64)
    a = a[None] if a.ndim == 2 else a
    if a.ndim != 3 or not a.size:
        raise ValueError(f"weights must be (T, S) or (H, T, S) and not empty, not {a.shape}")
    heads, _, positions = a.shape
    attended = np.abs(a).sum(-1) > 0  # (H, T)
    p = np.abs(a) / np.where(attended, np.abs(a).sum(-1), 1)[..., None]
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
    """Return how far log-weights spread over source positions and over target positions, in nats.

    With l_ts = ln max(p_ts, 1e-8) and d_ts = l_ts - mean_s l_ts, which for a softmax is a score less the mean score of
    its row:

        source = mean_t sqrt(mean_s d_ts^2)                      the standard deviation of a row
        target = mean_s sqrt(mean_t (d_ts - mean_t d_ts)^2)      the standard deviation of a column

    Both are means over heads. Rows that attend nothing are left out. Attention that prefers the same positions at every
    step spreads over the source only; ``target`` is 0 until it depends on the step.

    Args:
        weights: (T, S) or (H, T, S), of one sentence without its padding.
    """
    a = np.abs(np.asarray(weights, dtype=np.float64))
    by_source, by_target = [], []
    for head in a[None] if a.ndim == 2 else a:
        rows = head[head.sum(-1) > 0]
        if len(rows):
            logits = np.log(np.maximum(rows / rows.sum(-1, keepdims=True), MIN_WEIGHT))
            logits -= logits.mean(-1, keepdims=True)
            by_source.append(logits.std(1).mean())
            by_target.append(logits.std(0).mean())
    return _mean(np.array(by_source)), _mean(np.array(by_target))


def average(sentences: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each statistic over sentences, every sentence counting alike."""
    rows = list(sentences)
    return {name: _mean(np.array([row[name] for row in rows])) for name in (rows[0] if rows else {})}


def _entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0 - (p * np.log(np.where(p > 0, p, 1))).sum(-1)


def _monotonicity(focus: NDArray[np.float64], attended: NDArray[np.bool_]) -> float:
    """``focus``, ``attended`` (H, T). A step's worth of rounding is no move: uniform rows stand still."""
    steps = [np.diff(row[real]) >= -1e-6 for row, real in zip(focus, attended, strict=True)]
    moves = np.concatenate(steps)
    return _mean(moves) if moves.size else 1.0


def _disagreement(p: NDArray[np.float64]) -> float:
    return _mean(_entropy(p.mean(0)) - _entropy(p).mean(0)) / math.log(len(p))


def _mean(values: NDArray) -> float:
    return float(values.mean()) if values.size else 0.0


METRICS = tuple(
    Metric(f"attention_{name}", "attention", description, higher_is_better=None, unit=unit)
    for name, unit, description in (
        ("entropy", "nats", "entropy of a step's weights; 0 is sharp"),
        ("normalized_entropy", "", "entropy as a share of that of uniform weights"),
        ("effective_positions", "positions", "exp of the entropy"),
        ("sparsity", "", "share of weights that are exactly 0"),
        ("peak", "", "largest weight of a step"),
        ("mass", "", "sum of a step's weights"),
        ("monotonicity", "", "share of steps whose focus does not move back"),
        ("coverage_min", "", "attention that the least attended position gets in all"),
        ("coverage_max", "", "attention that the most attended position gets in all"),
        ("disagreement", "", "divergence between heads; 0 alike, 1 disjoint"),
        ("sentinel", "", "weight of the sentinel, outside the source"),
        ("logit_spread_source", "nats", "spread of log-weights over the positions of the source; at validation only"),
        ("logit_spread_target", "nats", "spread of log-weights over the steps, for each position; at validation only"),
    )
)
