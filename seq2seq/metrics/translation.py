"""BLEU, chrF and TER of detokenised text, as sacreBLEU computes them (Post 2018, 1804.08771).

Hypotheses are N strings; references are N lists of strings, one or more a sentence and not
necessarily equally many. Scores are percentages; TER, a rate of errors, can exceed 100 and is
better when lower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from seq2seq.errors import UserError


@dataclass(frozen=True)
class Score:
    """A figure and the signature that says how to get it again."""

    score: float
    signature: str


def bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]], *, tokenize: str = "13a") -> Score:
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


def chrf(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
    """chrF2: F-score, β = 2, of character 1- to 6-grams (Popović 2015, W15-3049)."""
    return _score("chrF2", CHRF(), hypotheses, references)


def ter(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
    """Word edits and shifts over the mean length of the references (Snover et al. 2006, 2006.amta-papers.25)."""
    return _score("TER", TER(), hypotheses, references)


def _score(name: str, scorer: Metric, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
    check(name, hypotheses, references)
    streams = list(zip_longest(*references))  # the k-th reference of every sentence, None where there are fewer
    result = scorer.corpus_score(list(hypotheses), streams)
    return Score(float(result.score), f"{name}|{scorer.get_signature()}")


def check(name: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Refuses what no metric called ``name`` could score."""
    if len(hypotheses) != len(references):
        raise UserError(f"{name}: {len(hypotheses)} hypotheses but references for {len(references)} sentences")
    if not hypotheses:
        raise UserError(f"{name}: no sentences to score")
    if empty := [place for place, several in enumerate(references, 1) if not several]:
        raise UserError(f"{name}: sentence {empty[0]} has no reference ({len(empty)} in all have none)")
