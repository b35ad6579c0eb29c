"""Do mechanisms look at the same words of the same sentence? With the reference forced on each of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seq2seq.comparison.systems import System

Array = NDArray[np.float64]


def agreement(entries: Sequence[System]) -> Array | None:
    """(E, E) the share of attention that two entries have in common, 1 - |p - q|_1 / 2 for each word of the references,
    p and q what it gives the source words; the mean over words and over the examples that both kept, of the first run
    of each. Words that either gives nothing are left out; not-a-number where nothing is left. None without examples.
    """
    rows = [{one.place: _distributions(one.reference) for one in entry.runs[0].attention_records} for entry in entries]
    found = np.full((len(entries), len(entries)), np.nan)
    for a in range(len(entries)):
        for b in range(a + 1):
            common = [_common(rows[a][place], rows[b][place]) for place in rows[a].keys() & rows[b].keys()]
            words = np.concatenate([c for c in common if c is not None] or [np.zeros(0)])
            if words.size:
                found[a, b] = found[b, a] = words.mean()
    return None if np.isnan(found).all() else found


def _distributions(weights: NDArray[np.float32] | None) -> Array | None:
    """(J, I) with rows that sum to one, or to nothing."""
    if weights is None or not weights.size:
        return None
    total: Array = weights.sum(1, keepdims=True, dtype=np.float64)
    return np.divide(weights, total, out=np.zeros(weights.shape), where=total > 1e-6)


def _common(p: Array | None, q: Array | None) -> Array | None:
    """(J,) of the words that both give something to."""
    if p is None or q is None or p.shape != q.shape:
        return None
    both = (p.sum(1) > 0) & (q.sum(1) > 0)
    common: Array = 1 - np.abs(p[both] - q[both]).sum(1) / 2
    return common
