"""Scores of generated text against references, chosen by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from seq2seq.errors import UserError
from seq2seq.metrics import captions
from seq2seq.metrics.metric import MetricResult, Scorer
from seq2seq.metrics.summarisation import ROUGE, rouge
from seq2seq.metrics.table import METRICS

SCORERS: dict[str, Scorer] = {metric.name: metric.scorer for metric in METRICS if metric.scorer is not None}


def check_metrics(names: Iterable[str], option: str) -> None:
    """Refuse metrics that ``score`` does not know or that cannot be computed on this machine.

    Args:
        names: Names of metrics.
        option: Option that holds the names, for the message.

    Raises:
        UserError: A metric is unknown, or its program is not installed.
    """
    for name in names:
        if name not in SCORERS:
            raise UserError(f"{option}: {name} is not a metric of outputs; choose from {', '.join(SCORERS)}")
        if name in captions.IN_JAVA and (missing := captions.missing_for(name)):
            raise UserError(f"{option}: {name}: {missing}")


def score(
    names: Iterable[str], hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, MetricResult]:
    """Return the values of metrics by name.

    Args:
        names: Names of metrics, each with a scorer (``SCORERS``).
        hypotheses: N detokenised hypotheses.
        references: References of each hypothesis.

    Raises:
        UserError: A metric is unknown, or it cannot score these texts.
    """
    names = list(names)
    if unknown := [name for name in names if name not in SCORERS]:
        raise UserError(f"{unknown[0]!r} is not a metric of outputs; choose from {', '.join(SCORERS)}")
    # Compute all kinds of ROUGE in one pass.
    rouge_results = rouge([name for name in names if name in ROUGE], hypotheses, references)
    return {name: rouge_results.get(name) or SCORERS[name](hypotheses, references) for name in names}
