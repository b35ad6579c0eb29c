"""sacreBLEU's statistics: the counts of each sentence, and scores of their sums.

Its public functions give a corpus' score alone. Resampling needs the counts, so that records can be drawn anew without
being scored again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sacrebleu.metrics.base import Metric


def sentence_statistics(
    metric: Metric, hypotheses: Sequence[str], references: Sequence[Sequence[str | None]]
) -> list[list[float]]:
    """Return the counts of each sentence.

    Args:
        metric: One of sacreBLEU's.
        hypotheses: N texts.
        references: The k-th references of all N sentences, for each k; None where a sentence has fewer.
    """
    streams: list[Any] = [list(stream) for stream in references]  # of type list[str], as sacreBLEU has it
    return [list(row) for row in metric._extract_corpus_statistics(list(hypotheses), streams)]


def corpus_score(metric: Metric, statistics: Sequence[Sequence[float]]) -> float:
    """Return the score of all sentences, of their counts."""
    return float(metric._aggregate_and_compute([list(row) for row in statistics]).score)


def score_of_sums(metric: Metric, sums: Sequence[float]) -> float:
    """Return the score of the sum of the sentences' counts."""
    return float(metric._compute_score_from_stats(list(sums)).score)
