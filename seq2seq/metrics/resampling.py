"""Corpus metrics as functions of sums over records. Records can then be resampled without a new scoring.

A metric has K numbers for each record (``MetricResult.per_record``), that is, a matrix (N, K) for N records. The score
of any sample of records, with repetition, is a function of the sum of its rows (``Metric.from_sums``). A row of zeros
adds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from seq2seq.metrics.metric import Array, MetricResult
from seq2seq.metrics.table import get_metric


def score(name: str, sums: ArrayLike) -> Array:
    """Return the scores of a metric from sums over records.

    Args:
        name: Name of the metric.
        sums: Sums over records (..., K).

    Returns:
        Scores (...); not-a-number where nothing was counted.

    Raises:
        ValueError: The metric does not follow from sums.
    """
    from_sums = get_metric(name).from_sums
    if from_sums is None:
        raise ValueError(f"{name} does not follow from sums over records")
    return from_sums(np.asarray(sums, np.float64))


def by_record(metrics: Mapping[str, MetricResult], records: int) -> list[dict[str, Sequence[float]]]:
    """Group the per-record numbers of several metrics by record.

    Args:
        metrics: Results by name of the metric. The rows of a result belong to the first records, so that a result may
            have fewer rows than there are records.
        records: Number of records.

    Returns:
        Rows by name of the metric, for each record. Rows of zeros are left out.
    """
    record_rows: list[dict[str, Sequence[float]]] = [{} for _ in range(records)]
    for name, result in metrics.items():
        for rows, row in zip(record_rows, result.per_record or (), strict=False):
            # A row of zeros adds nothing, so that it need not be stored.
            if any(row):
                rows[name] = row
    return record_rows
