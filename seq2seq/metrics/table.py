"""Table of all metrics. All code that shows, compares or monitors a metric looks it up here."""

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
    """Return the metric called ``name``, or its family; None if there is none.

    Args:
        name: Name in results.json, such as ``bleu`` or ``aer_layer2``.
    """
    return next((metric for metric in METRICS if metric.matches(name)), None)


def get_metric(name: str) -> Metric:
    """Return the metric called ``name``, or its family.

    Args:
        name: Name in results.json, such as ``bleu`` or ``aer_layer2``.

    Raises:
        UserError: There is no such metric.
    """
    if (metric := find_metric(name)) is None:
        raise UserError(f"metric {name!r} does not exist; docs/reference/metrics.md lists all metrics")
    return metric


def names_of(group: str) -> tuple[str, ...]:
    """Return the names of the metrics of a group, in the order of the table.

    Args:
        group: Group of metrics, one of ``metric.Group``.
    """
    return tuple(metric.name for metric in METRICS if metric.group == group)
