"""Agreement of attention: the share of their weights that two systems give to the same source words.

The attention is that of teacher forcing: every system is forced to produce the same references.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seq2seq.comparison.systems import System

Array = NDArray[np.float64]


def agreement(entries: Sequence[System]) -> Array | None:
    """Return the mean agreement of attention for each pair of systems.

    The agreement at one reference word is 1 - |p - q|_1 / 2, where p and q are the weights that two systems give to the
    source words. The mean is over reference words and over the examples that both systems kept.

    Args:
        entries: E systems; the first run of each is used.

    Returns:
        Agreement (E, E), in [0, 1]. Reference words without any attention in one of the systems are skipped; a pair
        without other words has nan. None where all pairs are nan.
    """
    # Index the attention of each system by record.
    rows = [{one.place: _distributions(one.reference) for one in entry.runs[0].attention_records} for entry in entries]
    # Agreement is symmetric: compute one half and copy it.
    found = np.full((len(entries), len(entries)), np.nan)
    for a in range(len(entries)):
        for b in range(a + 1):
            common = [_common(rows[a][place], rows[b][place]) for place in rows[a].keys() & rows[b].keys()]
            words = np.concatenate([c for c in common if c is not None] or [np.zeros(0)])
            if words.size:
                found[a, b] = found[b, a] = words.mean()
    return None if np.isnan(found).all() else found


def _distributions(weights: NDArray[np.float32] | None) -> Array | None:
    """Normalise the rows of weights (J, I) to a sum of one; a row without weights stays zero."""
    if weights is None or not weights.size:
        return None
    total: Array = weights.sum(1, keepdims=True, dtype=np.float64)
    return np.divide(weights, total, out=np.zeros(weights.shape), where=total > 1e-6)


def _common(p: Array | None, q: Array | None) -> Array | None:
    """Return the agreement at each reference word to which both give weights, at most (J,)."""
    if p is None or q is None or p.shape != q.shape:
        return None
    # Words without attention would count as a disagreement.
    both = (p.sum(1) > 0) & (q.sum(1) > 0)
    common: Array = 1 - np.abs(p[both] - q[both]).sum(1) / 2
    return common
