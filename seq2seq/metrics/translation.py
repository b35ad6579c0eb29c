"""BLEU, chrF and TER of detokenised text, as sacreBLEU computes them (Post 2018, 1804.08771).

Hypotheses are N strings; references are N lists of strings, one or more a sentence and not
necessarily equally many: an empty one among several is a missing one. Scores are percentages; TER, a
rate of errors, can exceed 100 and is better when lower.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import zip_longest

import numpy as np
from sacrebleu.metrics.base import Metric as SacreMetric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from seq2seq.compat.sacrebleu import corpus_score, score_of_sums, sentence_statistics
from seq2seq.errors import UserError
from seq2seq.metrics.metric import Array, Metric, MetricResult


def bleu(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: str = "13a",
    lowercase: bool = False,
) -> MetricResult:
    """BP · exp(Σ_n ln p_n / 4), n = 1..4 (Papineni et al. 2002, P02-1040).

    ``tokenize`` is sacreBLEU's: ``13a`` where words are spaced, ``zh``, ``char`` and others where they aren't.
    ``lowercase`` folds the case of both sides, as papers on lower-cased data report it.
    """
    if tokenize not in BLEU.TOKENIZERS:
        raise UserError(f"BLEU knows no tokenizer {tokenize!r}; choose one of {', '.join(sorted(BLEU.TOKENIZERS))}")
    try:
        scorer = BLEU(tokenize=tokenize, lowercase=lowercase, force=True)
    except RuntimeError as error:  # an optional package of sacreBLEU's is missing; it says which
        raise UserError(f"BLEU's tokenizer {tokenize!r} can't be used: {' '.join(str(error).split())}") from error
    return _score("BLEU", scorer, hypotheses, references)


def chrf(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """chrF2: F-score, β = 2, of character 1- to 6-grams (Popović 2015, W15-3049)."""
    return _score("chrF2", CHRF(), hypotheses, references)


def ter(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Word edits and shifts over the mean length of the references (Snover et al. 2006, 2006.amta-papers.25)."""
    return _score("TER", TER(), hypotheses, references)


def _score(
    name: str, scorer: SacreMetric, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> MetricResult:
    found, rows = counted(scorer, hypotheses, check(name, hypotheses, references))
    return MetricResult(found, f"{name}|{scorer.get_signature()}", rows)


def counted(
    scorer: SacreMetric, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
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
    if empty := [place for place, reference_texts in enumerate(references, 1) if not reference_texts]:
        raise UserError(f"{name}: sentence {empty[0]} has no reference ({len(empty)} in all have none)")
    return [present(reference_texts) for reference_texts in references]


def present(references: Sequence[str]) -> list[str]:
    """Return the references of one sentence without empty ones, which stand for those that are missing where sentences
    have different numbers of them. Where all are empty one stays: then the right output is an empty one.
    """
    return [text for text in references if text.strip()] or list(references[:1])


def bleu_from_sums(scorer: BLEU, sums: Array) -> Array:
    """Return BP exp(mean_n ln p_n) of sums (..., 2 + 2 orders): lengths of system and reference, matches, totals.

    As sacreBLEU smooths: with ``exp``, the k-th order without a match counts as 1 / 2^k of one; without smoothing there
    is then no score. Orders longer than all texts are left out of the mean only where it says so, which is never here.
    """
    orders = scorer.max_ngram_order
    length, reference = sums[..., 0], sums[..., 1]
    matches, totals = sums[..., 2 : 2 + orders], sums[..., 2 + orders :]
    with np.errstate(divide="ignore", invalid="ignore"):
        empty = (matches == 0) & (totals > 0)
        smooth = 0.5 ** np.cumsum(empty, -1) if scorer.smooth_method == "exp" else np.zeros_like(matches)
        precision = np.where(empty, smooth, matches) / totals
        mean = np.exp(np.log(precision).mean(-1))
        brevity = np.where(length < reference, np.exp(1 - reference / length), 1.0)
    scored = (matches.any(-1)) & (totals > 0).all(-1) & (length > 0)
    return np.where(scored, 100 * brevity * mean, 0.0)


def _from_counts(scorer: SacreMetric, sums: Array) -> Array:
    """Return sacreBLEU's scores (...) of summed counts (..., K)."""
    flat = sums.reshape(-1, sums.shape[-1])
    return np.array([score_of_sums(scorer, row.tolist()) for row in flat]).reshape(sums.shape[:-1])


METRICS = (
    Metric(
        "bleu",
        "outputs",
        "n-gram precision up to 4-grams, with a brevity penalty (Papineni 2002)",
        digits=1,
        unit="%",
        from_sums=partial(bleu_from_sums, BLEU(force=True)),
        scorer=bleu,
    ),
    Metric(
        "bleu_lc",
        "outputs",
        "BLEU of lower-cased outputs against lower-cased references",
        digits=1,
        unit="%",
        from_sums=partial(bleu_from_sums, BLEU(force=True)),
        scorer=partial(bleu, lowercase=True),
    ),
    Metric(
        "chrf",
        "outputs",
        "F-score of character n-grams (Popović 2015)",
        digits=1,
        unit="%",
        from_sums=partial(_from_counts, CHRF()),
        scorer=chrf,
    ),
    Metric(
        "ter",
        "outputs",
        "word edits and shifts per reference word (Snover 2006)",
        higher_is_better=False,
        digits=1,
        unit="%",
        from_sums=partial(_from_counts, TER()),
        scorer=ter,
    ),
)
