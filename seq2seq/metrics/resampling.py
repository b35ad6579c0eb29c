"""Corpus metrics as functions of sums over records, so that records can be drawn anew without scoring them again.

A metric has K numbers a record (``MetricResult.per_record``), N records make (N, K), and the score of any set of them,
with repetition, is a function of the sum of its rows (``Metric.from_sums``). A row of zeros adds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from seq2seq.metrics.metric import Array, MetricResult
from seq2seq.metrics.table import get_metric


def score(name: str, sums: ArrayLike) -> Array:
    """Return the scores (...) of the metric ``name`` from sums (..., K); not-a-number where nothing was counted."""
    from_sums = get_metric(name).from_sums
    if from_sums is None:
        raise ValueError(f"{name} does not follow from sums over records")
    return from_sums(np.asarray(sums, np.float64))


def by_record(metrics: Mapping[str, MetricResult], records: int) -> list[dict[str, Sequence[float]]]:
    """Return what each of ``records`` records adds to the figures; those that have fewer rows are of the first."""
    found: list[dict[str, Sequence[float]]] = [{} for _ in range(records)]
    for name, figure in metrics.items():
        for mine, row in zip(found, figure.per_record or (), strict=False):
            if any(row):
                mine[name] = row
    return found
