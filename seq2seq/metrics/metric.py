"""A metric: its name, which way it is better, how it is shown, and how it follows from sums over records."""

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
    """A figure and the signature that says how to get it again.

    ``per_record`` holds what each record adds to the sums that the figure follows from (``Metric.from_sums``).
    """

    score: float
    signature: str
    per_record: RecordRows | None = field(default=None, repr=False, compare=False)

    @staticmethod
    def mean(values: Sequence[float], signature: str) -> MetricResult:
        """Return the mean of one value a record."""
        return MetricResult(fmean(values), signature, [(value, 1.0) for value in values])

    @staticmethod
    def share(rows: RecordRows, signature: str) -> MetricResult | None:
        """Return the share of (part, whole) summed over records; None where the whole is 0."""
        part, whole = map(sum, zip(*rows, strict=True))
        return MetricResult(part / whole, signature, rows) if whole else None

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of results.json."""
        return {"score": self.score, "signature": self.signature}


Scorer = Callable[[Sequence[str], Sequence[Sequence[str]]], MetricResult]
"""N hypotheses and the references of each -> a score."""


def share(sums: Array) -> Array:
    """Return part / whole of sums (..., 2); not-a-number where the whole is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


@dataclass(frozen=True)
class Metric:
    """A figure of results.json, or a family of figures that differ in one number of their name.

    Args:
        name: Name in results.json. ``{n}`` in it stands for a whole number from 1: ``aer_layer{n}``.
        group: What the figure is about: outputs, the likelihood of references, attention held against gold
            annotations, the behaviour of attention, or its faithfulness.
        description: What the figure says, in a few words.
        higher_is_better: Whether more is better; None where neither more nor less is better.
        digits: Digits after the point in tables.
        unit: Unit, such as ``%`` or ``nats``; empty for a plain number.
        needs: What is needed beside sources, outputs and references, such as gold links.
        from_sums: Sums over records (..., K) -> the figure (...); None where it follows from no sums.
        scorer: Function that ``training.metrics`` and ``metrics`` of a task name; None of what they can't choose.
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
        """Whether less is better."""
        return self.higher_is_better is False

    def matches(self, name: str) -> bool:
        """Return whether ``name`` is this metric, or one of this family."""
        pattern = r"[1-9]\d*".join(map(re.escape, self.name.split("{n}")))
        return re.fullmatch(pattern, name) is not None
