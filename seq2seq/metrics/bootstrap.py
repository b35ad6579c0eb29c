"""How sure a mean over documents is, by the percentile bootstrap (Efron 1979; Koehn 2004, W04-3250).

The documents are drawn anew, with replacement and as many as there are, and the mean is taken again, ``samples``
times; an interval holds the middle ``level`` of those means.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from seq2seq.errors import UserError


def interval(values: ArrayLike, *, level: float = 0.95, samples: int = 1000, seed: int = 1) -> tuple[float, float]:
    """(low, high) of the mean of one value a document, such as ``summarisation.rouge_values`` gives."""
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 1 or not v.size:
        raise UserError(f"bootstrap: one value for each document is needed, not {v.shape}")
    if not (0 < level < 1 and samples > 0):
        raise UserError(f"bootstrap: level={level} must lie between 0 and 1, samples={samples} above 0")
    rng = np.random.default_rng(seed)
    means = [v[rng.integers(len(v), size=len(v))].mean() for _ in range(samples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def difference_interval(
    a: ArrayLike, b: ArrayLike, *, level: float = 0.95, samples: int = 1000, seed: int = 1
) -> tuple[float, float]:
    """(low, high) of mean(a) - mean(b) of two systems on the same documents, which are drawn together (paired).

    One that leaves out 0 says that the difference is significant at 1 - ``level``.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise UserError(f"bootstrap: {len(first)} documents of one system, {len(second)} of the other")
    return interval(first - second, level=level, samples=samples, seed=seed)
