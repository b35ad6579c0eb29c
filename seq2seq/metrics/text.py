"""Scores of generated text against references, by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from seq2seq.errors import UserError
from seq2seq.metrics import captions
from seq2seq.metrics.metric import MetricResult, Scorer
from seq2seq.metrics.summarisation import ROUGE, rouge
from seq2seq.metrics.table import METRICS

SCORERS: dict[str, Scorer] = {metric.name: metric.scorer for metric in METRICS if metric.scorer is not None}


def check_metrics(names: Iterable[str], option: str) -> None:
    """Refuse what ``score`` does not know, or can't compute here."""
    for name in names:
        if name not in SCORERS:
            raise UserError(f"{option}: no metric {name}; there are {', '.join(SCORERS)}")
        if name in captions.IN_JAVA and (missing := captions.missing_for(name)):
            raise UserError(f"{option}: {name}: {missing}")


def score(
    names: Iterable[str], hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, MetricResult]:
    """{name: Score} of N detokenised hypotheses, each with its own list of references."""
    names = list(names)
    if unknown := [name for name in names if name not in SCORERS]:
        raise UserError(f"no metric {unknown[0]!r}; choose from {', '.join(SCORERS)}")
    together = rouge([name for name in names if name in ROUGE], hypotheses, references)  # one pass for all its kinds
    return {name: together.get(name) or SCORERS[name](hypotheses, references) for name in names}
