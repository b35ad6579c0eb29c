"""BLEU, chrF and TER of detokenised text, as sacreBLEU computes them (Post 2018, 1804.08771).

Hypotheses are N strings; references are N lists of strings, one or more a sentence and not
necessarily equally many: an empty one among several is a missing one. Scores are percentages; TER, a
rate of errors, can exceed 100 and is better when lower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from statistics import fmean
from typing import Any

from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from seq2seq.compat.sacrebleu import corpus_score, sentence_statistics
from seq2seq.errors import UserError

RecordRows = Sequence[Sequence[float]]


@dataclass(frozen=True)
class MetricResult:
    """A figure and the signature that says how to get it again.

    ``rows`` are what each record adds to the sums that the figure is a function of, where it is one (``metrics.sums``).
    """

    score: float
    signature: str
    rows: RecordRows | None = field(default=None, repr=False, compare=False)

    @staticmethod
    def mean(values: Sequence[float], signature: str) -> MetricResult:
        """Of one value a record."""
        return MetricResult(fmean(values), signature, [(value, 1.0) for value in values])

    @staticmethod
    def share(rows: RecordRows, signature: str) -> MetricResult | None:
        """Of (part, whole) a record, over all of them; None where there is nothing to share."""
        part, whole = map(sum, zip(*rows, strict=True))
        return MetricResult(part / whole, signature, rows) if whole else None

    def told(self) -> dict[str, Any]:
        """As results.json has it."""
        return {"score": self.score, "signature": self.signature}


def bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]], *, tokenize: str = "13a") -> MetricResult:
    """BP · exp(Σ_n ln p_n / 4), n = 1..4 (Papineni et al. 2002, P02-1040).

    ``tokenize`` is sacreBLEU's: ``13a`` where words are spaced, ``zh``, ``char`` and others where they aren't.
    """
    if tokenize not in BLEU.TOKENIZERS:
        raise UserError(f"BLEU knows no tokenizer {tokenize!r}; choose one of {', '.join(sorted(BLEU.TOKENIZERS))}")
    try:
        scorer = BLEU(tokenize=tokenize, force=True)
    except RuntimeError as error:  # an optional package of sacreBLEU's is missing; it says which
        raise UserError(f"BLEU's tokenizer {tokenize!r} can't be used: {' '.join(str(error).split())}") from error
    return _score("BLEU", scorer, hypotheses, references)


def chrf(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """chrF2: F-score, β = 2, of character 1- to 6-grams (Popović 2015, W15-3049)."""
    return _score("chrF2", CHRF(), hypotheses, references)


def ter(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Word edits and shifts over the mean length of the references (Snover et al. 2006, 2006.amta-papers.25)."""
    return _score("TER", TER(), hypotheses, references)


def _score(name: str, scorer: Metric, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    found, rows = counted(scorer, hypotheses, check(name, hypotheses, references))
    return MetricResult(found, f"{name}|{scorer.get_signature()}", rows)


def counted(
    scorer: Metric, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, list[list[float]]]:
    """The score of a corpus, and the counts of each sentence that it is made of, in one pass."""
    streams = list(zip_longest(*references))  # the k-th reference of every sentence, None where there are fewer
    rows = sentence_statistics(scorer, hypotheses, streams)
    return corpus_score(scorer, rows), [[float(x) for x in row] for row in rows]


def check(name: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the references that count, or refuse what no metric called ``name`` could score."""
    if len(hypotheses) != len(references):
        raise UserError(f"{name}: {len(hypotheses)} hypotheses but references for {len(references)} sentences")
    if not hypotheses:
        raise UserError(f"{name}: no sentences to score")
    if empty := [place for place, several in enumerate(references, 1) if not several]:
        raise UserError(f"{name}: sentence {empty[0]} has no reference ({len(empty)} in all have none)")
    return [present(several) for several in references]


def present(references: Sequence[str]) -> list[str]:
    """Return the references of one sentence without empty ones, which stand for those that are missing where sentences
    have different numbers of them. Where all are empty one stays: then the right output is an empty one.
    """
    return [text for text in references if text.strip()] or list(references[:1])
