"""Ranking of systems over several datasets, with the critical difference (Demsar 2006, JMLR 7, section 3.2.2).

Letters: k systems, N datasets. Rank 1 is the best; tied systems share the mean of their ranks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

MIN_DATASETS = 5
"""Least number of datasets for a ranking. With fewer, hardly any difference can be significant."""


@dataclass(frozen=True)
class Ranking:
    """Mean ranks of systems, with the tests of Friedman and Nemenyi.

    Nemenyi's critical difference is CD = q_alpha sqrt(k (k + 1) / (6 N)). Two systems whose mean ranks are closer than
    CD do not differ significantly.
    """

    ranks: Mapping[str, float]  # {system: mean rank}, best first
    critical: float  # CD
    p: float  # Friedman's test of the hypothesis that all systems are equal
    datasets: int  # N

    def groups(self) -> list[tuple[str, str]]:
        """Return (first, last) of each longest group of neighbours without a significant difference."""
        names, found = list(self.ranks), list[tuple[int, int]]()
        for first in range(len(names)):
            limit = self.ranks[names[first]] + self.critical
            near = [n for n in range(first, len(names)) if self.ranks[names[n]] < limit]
            if len(near) > 1 and (not found or near[-1] > found[-1][1]):
                found.append((first, near[-1]))
        return [(names[first], names[last]) for first, last in found]


def ranking(names: Sequence[str], scores: ArrayLike, *, lower: bool = False, alpha: float = 0.05) -> Ranking:
    """Rank systems over several datasets.

    Args:
        names: Names of the k systems.
        scores: Scores (N, k).
        lower: Whether lower scores are better.
        alpha: Significance level of the critical difference.

    Raises:
        ValueError: There are fewer than two systems or two datasets.
    """
    values = np.asarray(scores, np.float64)
    datasets, systems = values.shape
    if systems < 2 or datasets < 2:
        raise ValueError(f"a ranking needs two systems and two datasets, not {systems} and {datasets}")
    # Rank the systems on each dataset.
    ranks = stats.rankdata(values if lower else -values, axis=1)
    mean = ranks.mean(0)
    # Compute Friedman's chi square, corrected for ties (Conover 1999, section 5.8). SciPy's test needs three systems.
    spread = float(((ranks - (systems + 1) / 2) ** 2).sum())
    square = datasets**2 * (systems - 1) * float(((mean - (systems + 1) / 2) ** 2).sum()) / spread if spread else 0.0
    p = float(stats.chi2.sf(square, systems - 1))
    # Compute Nemenyi's critical difference.
    q = float(stats.studentized_range.ppf(1 - alpha, systems, np.inf)) / sqrt(2)
    order = np.argsort(mean, kind="stable")
    return Ranking(
        {names[n]: float(mean[n]) for n in order}, q * sqrt(systems * (systems + 1) / (6 * datasets)), p, datasets
    )
