"""Statistics of sacreBLEU: the counts of each sentence, and the score of their sum.

The public functions of sacreBLEU only return the score of a corpus. Resampling needs the counts of each sentence, so
that it does not score the sentences again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sacrebleu.metrics.base import Metric


def sentence_statistics(
    metric: Metric, hypotheses: Sequence[str], references: Sequence[Sequence[str | None]]
) -> list[list[float]]:
    """Return the counts of each sentence (N, counts).

    Args:
        metric: Metric of sacreBLEU.
        hypotheses: Outputs (N,).
        references: For each k, the k-th references of all sentences (N,); None for a sentence with fewer references.
    """
    streams: list[Any] = [list(stream) for stream in references]  # Any: sacreBLEU's annotation does not allow None
    return [list(row) for row in metric._extract_corpus_statistics(list(hypotheses), streams)]


def corpus_score(metric: Metric, statistics: Sequence[Sequence[float]]) -> float:
    """Return the score of a corpus.

    Args:
        metric: Metric of sacreBLEU.
        statistics: Counts of each sentence (N, counts).
    """
    return float(metric._aggregate_and_compute([list(row) for row in statistics]).score)


def score_of_sums(metric: Metric, sums: Sequence[float]) -> float:
    """Return the score of a corpus from the sum of the counts.

    Args:
        metric: Metric of sacreBLEU.
        sums: Sum of the counts over all sentences (counts,).
    """
    return float(metric._compute_score_from_stats(list(sums)).score)
