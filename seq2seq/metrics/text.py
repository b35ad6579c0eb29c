"""Scores of generated text against references, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from seq2seq.errors import UserError
from seq2seq.metrics import captions
from seq2seq.metrics.summarisation import ROUGE, rouge, rouge1, rouge2, rouge_l, rouge_lsum
from seq2seq.metrics.transduction import cer, exact_match
from seq2seq.metrics.translation import MetricResult, bleu, chrf, ter

SCORERS: dict[str, Callable[[Sequence[str], Sequence[Sequence[str]]], MetricResult]] = {
    "bleu": bleu,
    "chrf": chrf,
    "ter": ter,
    "rouge1": rouge1,
    "rouge2": rouge2,
    "rougeL": rouge_l,
    "rougeLsum": rouge_lsum,
    **captions.SCORERS,
    "exact_match": exact_match,
    "cer": cer,
}


def check_metrics(names: Iterable[str], option: str) -> None:
    """Refuses what ``score`` does not know, or can't compute here."""
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
