"""Metric: name, direction, display, and computation from sums over records."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RecordRows = Sequence[Sequence[float]]
Group = Literal["outputs", "likelihood", "gold", "attention", "faithfulness"]


@dataclass(frozen=True)
class MetricResult:
    """Value of a metric, with the signature that says how to reproduce it.

    Attributes:
        score: Value of the metric.
        signature: Settings on which the value depends, as one line.
        per_record: Numbers of each record, N rows of K. ``Metric.from_sums`` computes the value from their sum over
            the records. None if the value does not follow from sums.
    """

    score: float
    signature: str
    per_record: RecordRows | None = field(default=None, repr=False, compare=False)

    @staticmethod
    def mean(values: Sequence[float], signature: str) -> MetricResult:
        """Return the mean of the values of the records.

        Args:
            values: One value for each record.
            signature: Signature of the result.
        """
        return MetricResult(fmean(values), signature, [(value, 1.0) for value in values])

    @staticmethod
    def share(rows: RecordRows, signature: str) -> MetricResult | None:
        """Return the sum of the parts over the sum of the wholes; None if the sum of the wholes is 0.

        Args:
            rows: Pair (part, whole) of each record.
            signature: Signature of the result.
        """
        part, whole = map(sum, zip(*rows, strict=True))
        return MetricResult(part / whole, signature, rows) if whole else None

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of the metric in results.json."""
        return {"score": self.score, "signature": self.signature}


Scorer = Callable[[Sequence[str], Sequence[Sequence[str]]], MetricResult]
"""Function that takes N hypotheses and the N lists of their references, and returns the value of a metric."""


def share(sums: Array) -> Array:
    """Return part / whole; not-a-number where the whole is 0.

    Args:
        sums: Summed pairs (part, whole), (..., 2).

    Returns:
        Shares (...).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


@dataclass(frozen=True)
class Metric:
    """Metric of results.json, or a family of metrics whose names differ in one number.

    Args:
        name: Name in results.json. ``{n}`` in it stands for a whole number from 1: ``aer_layer{n}``.
        group: Subject of the metric: outputs, likelihood of references, attention compared with gold annotations
            (``gold``), behaviour of attention, or faithfulness of attention.
        description: Description in a few words, for tables.
        higher_is_better: Whether a higher value is better; None if neither direction is better.
        digits: Number of digits after the point in tables.
        unit: Unit, such as ``%`` or ``nats``; empty for a plain number.
        needs: Data that the metric needs beside sources, outputs and references, such as gold links.
        from_sums: Function that takes sums over records (..., K) and returns values (...); None if the value does not
            follow from sums.
        scorer: Function that scores outputs. The options ``training.metrics`` and ``task.metrics`` choose it by the
            name of the metric. None if they cannot choose the metric.
    """

    name: str
    group: Group
    description: str
    higher_is_better: bool | None = True
    digits: int = 3
    unit: str = ""
    needs: str = ""
    from_sums: Callable[[Array], Array] | None = share
    scorer: Scorer | None = None

    @property
    def lower_is_better(self) -> bool:
        """True if a lower value is better."""
        return self.higher_is_better is False

    def matches(self, name: str) -> bool:
        """Return whether ``name`` is the name of this metric or of a member of this family.

        Args:
            name: Name in results.json, such as ``aer_layer2``.
        """
        # Only {n} is a pattern; all other characters of the name stand for themselves.
        pattern = r"[1-9]\d*".join(map(re.escape, self.name.split("{n}")))
        return re.fullmatch(pattern, name) is not None
