"""Scores by source length and by feature, and recall of reference words by position and by frequency.

Letters: N records, G groups, K sums of a record for a metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from seq2seq.comparison.runs import Run
from seq2seq.comparison.statistics import Groups, Resampler, RunGroup, estimate
from seq2seq.comparison.word_hits import FREQUENCIES, PLACES

Array = NDArray[np.float64]
LENGTHS = 5  # number of groups by source length
SAMPLES = 300  # resamples for an interval
MIN_RECORDS = 10  # records of a feature that is shown
MOST_FEATURES = 40  # largest number of features that are shown


@dataclass(frozen=True)
class Group:
    """A group of records or words."""

    name: str  # the range of lengths, positions or frequencies
    size: int  # number of records or words


@dataclass(frozen=True)
class Sliced:
    """The score of one group, the mean over runs, with the interval of ``statistics.estimate``."""

    score: float
    low: float
    high: float


def by_length(lengths: Sequence[int]) -> list[tuple[Group, NDArray[np.int64]]]:
    """Divide records by source length into groups of about equal size.

    Args:
        lengths: Number of source words of each record (N,).

    Returns:
        (group, indices of its records), from short to long.
    """
    counts = np.asarray(lengths, np.int64)
    if not counts.size:
        return []
    # Quantiles of the lengths are the edges; equal edges make one group.
    edges = np.unique(np.quantile(counts, np.linspace(0, 1, LENGTHS + 1)[1:], method="higher"))
    found, below = [], -1
    for edge in edges.astype(int).tolist():
        places = np.flatnonzero((counts > below) & (counts <= edge))
        if places.size:
            first = int(counts[places].min())
            found.append((Group(f"{first}" if first == edge else f"{first}-{edge}", len(places)), places))
        below = edge
    return found


def by_feature(features: Sequence[Sequence[str]]) -> list[tuple[Group, NDArray[np.int64]]]:
    """Return the records of each feature. A record with several features is in several groups.

    Args:
        features: Features of each record (N,).

    Returns:
        (group, indices of its records) of the commonest features, in the order of their names.
    """
    places: dict[str, list[int]] = {}
    for place, names in enumerate(features):
        for name in dict.fromkeys(names):
            places.setdefault(name, []).append(place)
    common = sorted((name for name in places if len(places[name]) >= MIN_RECORDS), key=lambda name: -len(places[name]))
    return [
        (Group(name, len(places[name])), np.array(places[name], np.int64)) for name in sorted(common[:MOST_FEATURES])
    ]


def of_records(
    runs: Sequence[Run],
    metric: str,
    groups: Sequence[tuple[Group, NDArray[np.int64]]],
    level: float,
    together: Groups | None = None,
) -> list[Sliced]:
    """Score each group of records.

    Args:
        runs: Runs of one system.
        metric: Name of the metric.
        groups: Groups of ``by_length`` or ``by_feature``.
        level: Confidence level of the intervals.
        together: Group of each record (N,), whose records are resampled together; None resamples records.

    Returns:
        One score for each group; empty where a run has no sums for the metric.
    """
    several = [rows for run in runs if (rows := run.rows(metric)) is not None]
    if len(several) < len(runs):
        return []
    return [
        _interval(metric, [rows[places] for rows in several], level, None if together is None else together[places])
        for _, places in groups
    ]


def by_word(
    runs: Sequence[Run], level: float, together: Groups | None = None
) -> tuple[list[tuple[Group, Sliced]], list[tuple[Group, Sliced]]]:
    """Return the recall of reference words by position and by training frequency.

    Args:
        runs: Runs of one system.
        level: Confidence level of the intervals.
        together: Group of each record (N,), whose records are resampled together; None resamples records.

    Returns:
        The recall by position in the reference (fifths), and by number of occurrences in the training targets; the
        latter is empty where a run has no counts, both are empty where a run has no outputs.
    """
    # Runs with forced references have no outputs.
    hits = [found for run in runs if (found := run.word_hits) is not None]
    if len(hits) < len(runs):
        return [], []
    places, counts = zip(*hits, strict=True)
    # Name the groups.
    names = [f"{100 * n // PLACES}-{100 * (n + 1) // PLACES} %" for n in range(PLACES)]
    often = [str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in pairwise(FREQUENCIES)]
    often.append(f"{FREQUENCIES[-1]} or more")
    counted = all(run.has_frequencies for run in runs)
    return _shares(names, places, level, together), _shares(often, counts, level, together) if counted else []


def _shares(
    names: Sequence[str], counted: Sequence[Array], level: float, together: Groups | None
) -> list[tuple[Group, Sliced]]:
    """Return the recall in each group with words, from hits and words (N, G, 2) of each run."""
    found = []
    for place, name in enumerate(names):
        rows = [one[:, place] for one in counted]
        size = int(rows[0][:, 1].sum())  # the same of all runs
        if size:
            found.append((Group(name, size), _interval("recall", rows, level, together)))
    return found


def _interval(metric: str, runs: Sequence[Array], level: float, together: Groups | None) -> Sliced:
    """Score the sums (N, K) of each run, with an interval; ``together`` is the group of each record."""
    # A slice has some of the groups only: number them anew.
    numbers = None if together is None else np.unique(together, return_inverse=True)[1]
    resampler = Resampler.of(len(runs[0]), SAMPLES, groups=numbers)
    found = estimate(RunGroup.of("", metric, runs, resampler), level)
    return Sliced(found.score, found.low, found.high)
