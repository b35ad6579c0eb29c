"""Scores of generated text against references, chosen by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from seq2seq.errors import UserError
from seq2seq.metrics import captions
from seq2seq.metrics.metric import Metric, MetricResult, Scorer
from seq2seq.metrics.summarisation import ROUGE, rouge
from seq2seq.metrics.table import METRICS, add_metric

SCORERS: dict[str, Scorer] = {metric.name: metric.scorer for metric in METRICS if metric.scorer is not None}


def names_in(metrics: Iterable[str | Metric]) -> list[str]:
    """Return the names of the metrics of an option, and add metrics of the user to the table.

    Args:
        metrics: Names, and metrics of the user.

    Raises:
        UserError: A metric of the user has the name of another metric.
    """
    names = []
    for metric in metrics:
        if isinstance(metric, Metric):
            add_metric(metric)
            if metric.scorer is not None:
                SCORERS[metric.name] = metric.scorer
        names.append(metric.name if isinstance(metric, Metric) else metric)
    return names


def check_metrics(metrics: Iterable[str | Metric], option: str) -> None:
    """Refuse metrics that ``score`` does not know or that cannot be computed on this machine.

    Args:
        metrics: Names of metrics, and metrics of the user (``names_in``).
        option: Option that holds the names, for the message.

    Raises:
        UserError: A metric is unknown, or its program is not installed.
    """
    for name in names_in(metrics):
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
