"""BLEU, chrF and TER of detokenised text, as sacreBLEU computes them (Post 2018, 1804.08771).

Hypotheses are N strings. References are N lists of one or more strings; their lengths may differ. An empty reference
among several counts as missing. Scores are percentages. TER is an error rate: it can exceed 100, and lower is better.
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
    """Return BLEU: BP · exp(Σ_n ln p_n / 4), n = 1..4 (Papineni et al. 2002, P02-1040).

    Args:
        hypotheses: N hypotheses.
        references: References of each hypothesis.
        tokenize: Tokenizer of sacreBLEU: ``13a`` for languages with spaces between words; ``zh``, ``char`` and others
            for languages without.
        lowercase: Whether to lower-case both sides, as in papers on lower-cased data.

    Raises:
        UserError: The tokenizer is unknown or not installed, or a hypothesis has no reference.
    """
    if tokenize not in BLEU.TOKENIZERS:
        raise UserError(f"BLEU: tokenizer {tokenize!r} is unknown; choose one of {', '.join(sorted(BLEU.TOKENIZERS))}")
    # The tokenizer may need an optional package of sacreBLEU; the error names it.
    try:
        scorer = BLEU(tokenize=tokenize, lowercase=lowercase, force=True)
    except RuntimeError as error:
        raise UserError(f"BLEU: tokenizer {tokenize!r} cannot be used: {' '.join(str(error).split())}") from error
    return _score("BLEU", scorer, hypotheses, references)


def chrf(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return chrF2: F-score, β = 2, of character 1- to 6-grams (Popović 2015, W15-3049).

    Args:
        hypotheses: N hypotheses.
        references: References of each hypothesis.
    """
    return _score("chrF2", CHRF(), hypotheses, references)


def ter(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> MetricResult:
    """Return TER: word edits and shifts over the mean reference length (Snover et al. 2006, 2006.amta-papers.25).

    Args:
        hypotheses: N hypotheses.
        references: References of each hypothesis.
    """
    return _score("TER", TER(), hypotheses, references)


def _score(
    name: str, scorer: SacreMetric, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> MetricResult:
    """Return the result of a sacreBLEU scorer, with its signature."""
    found, rows = counted(scorer, hypotheses, check(name, hypotheses, references))
    return MetricResult(found, f"{name}|{scorer.get_signature()}", rows)


def counted(
    scorer: SacreMetric, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, list[list[float]]]:
    """Return the score of a corpus and the counts of each sentence from which it follows, in one pass.

    Args:
        scorer: Scorer of sacreBLEU.
        hypotheses: N hypotheses.
        references: References of each hypothesis.

    Returns:
        The score, and N rows of counts.
    """
    # Collect the k-th references of all sentences, None for sentences that have fewer.
    streams = list(zip_longest(*references))
    rows = sentence_statistics(scorer, hypotheses, streams)
    return corpus_score(scorer, rows), [[float(x) for x in row] for row in rows]


def check(name: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the references that count (``present``) after a check of both lists.

    Args:
        name: Name of the metric, for messages.
        hypotheses: N hypotheses.
        references: References of each hypothesis.

    Raises:
        UserError: The numbers differ, there are no sentences, or a sentence has no reference.
    """
    if len(hypotheses) != len(references):
        raise UserError(f"{name}: {len(hypotheses)} hypotheses but references for {len(references)} sentences")
    if not hypotheses:
        raise UserError(f"{name}: no sentences to score")
    if empty := [place for place, reference_texts in enumerate(references, 1) if not reference_texts]:
        raise UserError(f"{name}: sentence {empty[0]} has no reference ({len(empty)} sentences have none)")
    return [present(reference_texts) for reference_texts in references]


def present(references: Sequence[str]) -> list[str]:
    """Return the references of one sentence without empty ones.

    An empty reference marks a missing one, where sentences have different numbers of references. If all references are
    empty, one of them is kept: the correct output is then empty.

    Args:
        references: References of one sentence.
    """
    return [text for text in references if text.strip()] or list(references[:1])


def bleu_from_sums(scorer: BLEU, sums: Array) -> Array:
    """Return BP exp(mean_n ln p_n) from summed counts.

    Smoothing is that of sacreBLEU: with ``exp``, the k-th order without a match counts as 1 / 2^k of a match; without
    smoothing, the score is then 0. The score is also 0 if an order is longer than all texts (sacreBLEU can leave out
    such orders, but this project never asks for it).

    Args:
        scorer: Scorer, which holds the number of orders and the smoothing method.
        sums: Summed counts (..., 2 + 2 orders): length of the system, length of the reference, matches, totals.

    Returns:
        Scores (...).
    """
    # Split the counts as sacreBLEU orders them.
    orders = scorer.max_ngram_order
    length, reference = sums[..., 0], sums[..., 1]
    matches, totals = sums[..., 2 : 2 + orders], sums[..., 2 + orders :]
    # Compute precisions and brevity penalty; divisions by 0 are masked below.
    with np.errstate(divide="ignore", invalid="ignore"):
        empty = (matches == 0) & (totals > 0)
        smooth = 0.5 ** np.cumsum(empty, -1) if scorer.smooth_method == "exp" else np.zeros_like(matches)
        precision = np.where(empty, smooth, matches) / totals
        mean = np.exp(np.log(precision).mean(-1))
        brevity = np.where(length < reference, np.exp(1 - reference / length), 1.0)

    # Without any match, or without n-grams of an order, the score is 0.
    scored = (matches.any(-1)) & (totals > 0).all(-1) & (length > 0)
    return np.where(scored, 100 * brevity * mean, 0.0)


def _from_counts(scorer: SacreMetric, sums: Array) -> Array:
    """Return the scores (...) of sacreBLEU from summed counts (..., K)."""
    # sacreBLEU scores one row of counts at a time.
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
