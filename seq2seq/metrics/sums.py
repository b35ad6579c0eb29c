"""Corpus metrics as functions of sums over records, so that records can be drawn anew without scoring them again.

A metric has K numbers a record, N records make (N, K), and the score of any set of them, with repetition, is a function
of the sum of its rows: BLEU of counts and lengths, chrF of n-gram counts, TER of edits, others of (part, whole) alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from seq2seq.metrics import captions
from seq2seq.metrics.summarisation import ROUGE, rouge_values

Rows = list[list[float]]
Texts = Sequence[str]
References = Sequence[Sequence[str]]

ERRORS = ("aer",)  # what begins so is 1 - part / whole, and better when lower
LOWER = (*ERRORS, "ter", "perplexity")


def rows(names: Iterable[str], hypotheses: Texts, references: References) -> dict[str, Rows]:
    """{name: N rows} of the metrics among ``names`` that are such functions: not of METEOR and SPICE."""
    wanted = list(names)
    found = {name: _sacrebleu(name, hypotheses, references) for name in wanted if _counter(name) is not None}
    together = [name for name in wanted if name in ROUGE]
    if together:
        values = rouge_values(together, hypotheses, references)
        found |= {name: [[value, 1.0] for value in values[name]] for name in together}
    alone: dict[str, Callable[[Texts, References], list[float]]] = {
        "cider": captions.cider_values,
        "rougeL_coco": captions.rouge_l_coco_values,
    }
    return found | {name: [[v, 1.0] for v in alone[name](hypotheses, references)] for name in wanted if name in alone}


def score(name: str, sums: ArrayLike) -> NDArray[np.float64]:
    """(..., K) sums -> (...) scores of the metric ``name``; not-a-number where nothing was counted."""
    s = np.asarray(sums, np.float64)
    counter = _counter(name)
    if counter is None:
        with np.errstate(invalid="ignore", divide="ignore"):
            share = s[..., 0] / s[..., 1]
        return np.asarray(1 - share if name.startswith(ERRORS) else share)
    if isinstance(counter, BLEU):
        return _bleu(counter, s)
    flat = s.reshape(-1, s.shape[-1])
    return np.array([counter._compute_score_from_stats(list(row)).score for row in flat]).reshape(s.shape[:-1])


def lower_is_better(name: str) -> bool:
    """Whether less is better."""
    return name.startswith(LOWER)


@cache
def _counter(name: str) -> Any:
    """sacreBLEU's metric that counts for ``name``, if one does."""
    counters: dict[str, Callable[[], Metric]] = {
        "bleu": partial(BLEU, force=True),
        "chrf": CHRF,
        "ter": TER,
        **{
            f"bleu{n}": partial(BLEU, max_ngram_order=n, tokenize="none", smooth_method="none", force=True)
            for n in captions.ORDERS
        },
    }
    return counters[name]() if name in counters else None


def _sacrebleu(name: str, hypotheses: Texts, references: References) -> Rows:
    if name.startswith("bleu") and name != "bleu":  # on COCO's words
        hypotheses = [" ".join(captions.words(text)) for text in hypotheses]
        references = [[" ".join(captions.words(text)) for text in several] for several in references]
    streams = list(zip_longest(*references))
    return [[float(x) for x in row] for row in _counter(name)._extract_corpus_statistics(list(hypotheses), streams)]


def _bleu(counter: BLEU, s: NDArray[np.float64]) -> NDArray[np.float64]:
    """BP exp(mean_n ln p_n) of (..., 2 + 2 orders): lengths of system and reference, matches, totals.

    As sacreBLEU smooths: with ``exp``, the k-th order without a match counts as 1 / 2^k of one; without smoothing there
    is then no score. Orders longer than all texts are left out of the mean only where it says so, which is never here.
    """
    orders = counter.max_ngram_order
    length, reference = s[..., 0], s[..., 1]
    matches, totals = s[..., 2 : 2 + orders], s[..., 2 + orders :]
    with np.errstate(divide="ignore", invalid="ignore"):
        empty = (matches == 0) & (totals > 0)
        smooth = 0.5 ** np.cumsum(empty, -1) if counter.smooth_method == "exp" else np.zeros_like(matches)
        precision = np.where(empty, smooth, matches) / totals
        mean = np.exp(np.log(precision).mean(-1))
        brevity = np.where(length < reference, np.exp(1 - reference / length), 1.0)
    scored = (matches.any(-1)) & (totals > 0).all(-1) & (length > 0)
    return np.where(scored, 100 * brevity * mean, 0.0)
