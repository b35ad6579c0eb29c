"""Table of all metrics. All code that shows, compares or monitors a metric looks it up here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from seq2seq.errors import UserError
from seq2seq.metrics import (
    abstractiveness,
    alignment,
    attention,
    captions,
    edits,
    extractive_baselines,
    faithfulness,
    likelihood,
    pointing,
    sentences,
    summarisation,
    translation,
    words,
)
from seq2seq.metrics.metric import Metric

METRICS: tuple[Metric, ...] = (
    *translation.METRICS,
    *summarisation.METRICS,
    *captions.METRICS,
    *edits.METRICS,
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

_ADDED: dict[str, Metric] = {}
"""Metrics of the user by name, which this process has built."""


def add_metric(metric: Metric) -> None:
    """Add a metric of the user to the table, for the rest of the process.

    Args:
        metric: The metric. It may be added again.

    Raises:
        UserError: Another metric has its name.
    """
    known, kind = find_metric(metric.name), type(metric)
    if known is not None and (type(known).__module__, type(known).__qualname__) != (kind.__module__, kind.__qualname__):
        raise UserError(f"{kind.__module__}.{kind.__qualname__}: there is a metric {metric.name} already; rename yours")
    _ADDED[metric.name] = metric
    find_metric.cache_clear()


@cache
def find_metric(name: str) -> Metric | None:
    """Return the metric called ``name``, or its family; None if there is none.

    Args:
        name: Name in results.json, such as ``bleu`` or ``aer_layer2``.
    """
    return next((metric for metric in (*METRICS, *_ADDED.values()) if metric.matches(name)), None)


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


def rounded(name: str, value: float) -> tuple[str, str]:
    """Return the value of a metric as text, with the metric's number of digits, and its unit.

    Args:
        name: Name of the metric; one that has no entry in the table gets 3 digits and no unit.
        value: Its value.
    """
    metric = find_metric(name)
    return (f"{value:.3f}", "") if metric is None else (f"{value:.{metric.digits}f}", metric.unit)


def described(name: str) -> str:
    """Return the description of a metric without its paper, with its unit and whether lower values are better.

    Args:
        name: Name of the metric.
    """
    if (metric := find_metric(name)) is None:
        return ""
    text = re.sub(r" \([A-Z][^()]* \d{4}\)", "", metric.description)
    unit = f", in {metric.unit}" if metric.unit not in ("", "%") else ""
    return text + unit + ("; lower is better" if metric.lower_is_better else "")


def names_of(group: str) -> tuple[str, ...]:
    """Return the names of the metrics of a group, in the order of the table.

    Args:
        group: Group of metrics, one of ``metric.Group``.
    """
    return tuple(metric.name for metric in METRICS if metric.group == group)


def members_of(group: str, names: Iterable[str]) -> list[str]:
    """Return the names that belong to a group of metrics or to its families, in the order of the table.

    Args:
        group: Group of metrics, one of ``metric.Group``.
        names: Names in results.json, such as ``aer_layer2``; others are left out.
    """
    known = {name: metric.name for name in names if (metric := find_metric(name)) is not None}
    return [name for wanted in names_of(group) for name, family in known.items() if family == wanted]
