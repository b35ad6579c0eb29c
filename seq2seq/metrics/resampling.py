"""Corpus metrics as functions of sums over records, so that records can be drawn anew without scoring them again.

A metric has K numbers a record (``MetricResult.rows``), N records make (N, K), and the score of any set of them, with
repetition, is a function of the sum of its rows: BLEU of counts and lengths, chrF of n-gram counts, TER of edits,
others of (part, whole) alone: perplexity is exp(part / whole), what begins with ``ERRORS`` 1 - part / whole, and the
rest part / whole. A row of zeros adds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from seq2seq.compat.sacrebleu import score_of_sums
from seq2seq.metrics import captions
from seq2seq.metrics.translation import MetricResult

ERRORS = ("aer",)
LOWER = (*ERRORS, "ter", "perplexity")
"""What begins so is better when lower."""


def score(name: str, sums: ArrayLike) -> NDArray[np.float64]:
    """(..., K) sums -> (...) scores of the metric ``name``; not-a-number where nothing was counted."""
    s = np.asarray(sums, np.float64)
    counter = _counter(name)
    if counter is None:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            share = s[..., 0] / s[..., 1]
            if name == "perplexity":
                return np.asarray(np.exp(share))
        return np.asarray(1 - share if name.startswith(ERRORS) else share)
    if isinstance(counter, BLEU):
        return _bleu(counter, s)
    flat = s.reshape(-1, s.shape[-1])
    return np.array([score_of_sums(counter, row.tolist()) for row in flat]).reshape(s.shape[:-1])


def lower_is_better(name: str) -> bool:
    """Whether less is better."""
    return name.startswith(LOWER)


def by_record(metrics: Mapping[str, MetricResult], records: int) -> list[dict[str, Sequence[float]]]:
    """What each of the records adds to the figures; those that have fewer rows are of the first."""
    found: list[dict[str, Sequence[float]]] = [{} for _ in range(records)]
    for name, figure in metrics.items():
        for mine, row in zip(found, figure.rows or (), strict=False):
            if any(row):
                mine[name] = row
    return found


@cache
def _counter(name: str) -> Any:
    """sacreBLEU's metric that computes ``name`` from counts, if one does."""
    counters: dict[str, Callable[[], Metric]] = {
        "bleu": partial(BLEU, force=True),
        "chrf": CHRF,
        "ter": TER,
        **{f"bleu{n}": partial(captions.counter, n) for n in captions.ORDERS},
    }
    return counters[name]() if name in counters else None


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
