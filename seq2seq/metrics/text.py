"""Scores of generated text against references, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from seq2seq.errors import UserError
from seq2seq.metrics.translation import Score, bleu, chrf, ter

SCORERS: dict[str, Callable[[Sequence[str], Sequence[Sequence[str]]], Score]] = {"bleu": bleu, "chrf": chrf, "ter": ter}


def score(names: Iterable[str], hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Score]:
    """{name: Score} of N detokenised hypotheses, each with its own list of references."""
    names = list(names)
    if unknown := [name for name in names if name not in SCORERS]:
        raise UserError(f"no metric {unknown[0]!r}; choose from {', '.join(SCORERS)}")
    return {name: SCORERS[name](hypotheses, references) for name in names}
