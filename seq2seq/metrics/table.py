"""Table of all metrics. Whoever shows, compares or monitors a figure asks it."""

from __future__ import annotations

from functools import cache

from seq2seq.errors import UserError
from seq2seq.metrics import (
    abstractiveness,
    alignment,
    attention,
    captions,
    extractive_baselines,
    faithfulness,
    likelihood,
    pointing,
    sentences,
    summarisation,
    transduction,
    translation,
    words,
)
from seq2seq.metrics.metric import Metric

METRICS: tuple[Metric, ...] = (
    *translation.METRICS,
    *summarisation.METRICS,
    *captions.METRICS,
    *transduction.METRICS,
    *words.METRICS,
    *likelihood.METRICS,
    *pointing.METRICS,
    *sentences.METRICS,
    *abstractiveness.METRICS,
    *extractive_baselines.METRICS,
    *alignment.METRICS,
    *attention.METRICS,
    *faithfulness.METRICS,
)


@cache
def find_metric(name: str) -> Metric | None:
    """Return the metric called ``name``, or the family that it belongs to; None if there is none."""
    return next((metric for metric in METRICS if metric.matches(name)), None)


def get_metric(name: str) -> Metric:
    """Return the metric called ``name``.

    Raises:
        UserError: There is no such metric.
    """
    if (metric := find_metric(name)) is None:
        raise UserError(f"there is no metric {name!r}; docs/metrics.md lists all")
    return metric


def names_of(group: str) -> tuple[str, ...]:
    """Return the names of a group's metrics, in the order of the table."""
    return tuple(metric.name for metric in METRICS if metric.group == group)
