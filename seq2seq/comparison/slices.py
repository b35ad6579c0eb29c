"""Where systems are good and where not: by length of the source, by place in the reference, by frequency of the word.

Letters: N records, G groups, K numbers a record adds to a metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from seq2seq.comparison.runs import Run
from seq2seq.comparison.statistics import Resampler, RunGroup, estimate
from seq2seq.comparison.word_hits import FREQUENCIES, PLACES

Array = NDArray[np.float64]
LENGTHS = 5  # groups of records
SAMPLES = 300


@dataclass(frozen=True)
class Group:
    """Some of the records, or words."""

    name: str
    size: int


@dataclass(frozen=True)
class Sliced:
    """A score of each group, the mean over runs, with an interval as ``statistics.estimate`` has it."""

    score: float
    low: float
    high: float


def by_length(lengths: Sequence[int]) -> list[tuple[Group, NDArray[np.int64]]]:
    """Records in groups of like size by the length of their source: (group, places)."""
    counts = np.asarray(lengths, np.int64)
    if not counts.size:
        return []
    edges = np.unique(np.quantile(counts, np.linspace(0, 1, LENGTHS + 1)[1:], method="higher"))
    found, below = [], -1
    for edge in edges.astype(int).tolist():
        places = np.flatnonzero((counts > below) & (counts <= edge))
        if places.size:
            first = int(counts[places].min())
            found.append((Group(f"{first}" if first == edge else f"{first}-{edge}", len(places)), places))
        below = edge
    return found


def of_length(
    runs: Sequence[Run], metric: str, groups: Sequence[tuple[Group, NDArray[np.int64]]], level: float
) -> list[Sliced]:
    """The metric of each group of records."""
    several = [rows for run in runs if (rows := run.rows(metric)) is not None]
    if len(several) < len(runs):
        return []
    return [_interval(metric, [rows[places] for rows in several], level) for _, places in groups]


def by_word(runs: Sequence[Run], level: float) -> tuple[list[tuple[Group, Sliced]], list[tuple[Group, Sliced]]]:
    """Recall of reference words by their place in the reference, first to last fifth, and by how often they stand in
    the training targets; the latter empty where nobody counted.
    """
    hits = [found for run in runs if (found := run.word_hits) is not None]
    if len(hits) < len(runs):
        return [], []
    places, counts = zip(*hits, strict=True)
    names = [f"{100 * n // PLACES}-{100 * (n + 1) // PLACES} %" for n in range(PLACES)]
    often = [str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in pairwise(FREQUENCIES)]
    often.append(f"{FREQUENCIES[-1]} or more")
    counted = all(run.has_frequencies for run in runs)
    return _shares(names, places, level), _shares(often, counts, level) if counted else []


def _shares(names: Sequence[str], counted: Sequence[Array], level: float) -> list[tuple[Group, Sliced]]:
    """Of each run (N, G, 2) hits and words."""
    found = []
    for place, name in enumerate(names):
        rows = [one[:, place] for one in counted]
        size = int(rows[0][:, 1].sum())  # the same of all runs
        if size:
            found.append((Group(name, size), _interval("recall", rows, level)))
    return found


def _interval(metric: str, runs: Sequence[Array], level: float) -> Sliced:
    found = estimate(RunGroup.of("", metric, runs, Resampler.of(len(runs[0]), SAMPLES)), level)
    return Sliced(found.score, found.low, found.high)
