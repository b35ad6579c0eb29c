"""How well links agree with gold ones (Och and Ney 2003, J03-1002), over a whole corpus.

A predicted, S sure and P possible links, S ⊆ P; |·| counts over all sentences.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from seq2seq.metrics.gold import GoldLinks
from seq2seq.metrics.links import Link, links
from seq2seq.metrics.metric import Array, Metric, share
from seq2seq.metrics.words import about_predicted, merge


@dataclass(frozen=True)
class LinkCounts:
    """``aer`` (lower is better), ``precision`` and ``recall``, all 0-1."""

    aer: float
    precision: float
    recall: float


def align(
    weights: ArrayLike,
    source: ArrayLike,
    target: ArrayLike,
    *,
    rows: str = "predicted",
    method: str = "target_to_source",
    threshold: float = 0.0,
) -> frozenset[Link]:
    """Word links of one sentence from its attention (T, S) between pieces, without padding, ``</s>`` rows included.

    ``source`` and ``target`` say whose word each piece is (``words.merge``), ``rows`` what a row is about
    (``words.about_predicted``), ``method`` and ``threshold`` how links are chosen (``links.links``).
    Links are chosen among words: mass on ``</s>`` and other specials neither wins nor counts.
    """
    return links(merge(about_predicted(weights, rows), source, target), method, threshold=threshold)


def agreement(predicted: Sequence[Collection[Link]], gold: Sequence[GoldLinks]) -> LinkCounts:
    """AER = 1 - (|A∩S| + |A∩P|) / (|A| + |S|), precision |A∩P| / |A|, recall |A∩S| / |S|.

    AER is 0 without predicted and sure links, precision is 1 without predictions, recall 1 without sure links.
    """
    rows = counts(predicted, gold)
    return _agreement(*(sum(column) for column in zip(*rows, strict=True))) if rows else _agreement(0, 0, 0, 0)


def counts(predicted: Sequence[Collection[Link]], gold: Sequence[GoldLinks]) -> list[tuple[int, int, int, int]]:
    """|A|, |S|, |A∩S| and |A∩P| of each sentence."""
    if len(predicted) != len(gold):
        raise ValueError(f"links of {len(predicted)} sentences, gold ones of {len(gold)}")
    pairs = [(frozenset(a), g) for a, g in zip(predicted, gold, strict=True)]
    return [(len(a), len(g.sure), len(a & g.sure), len(a & g.possible)) for a, g in pairs]


def diagonal(gold: Sequence[GoldLinks]) -> LinkCounts:
    """The baseline that knows only lengths: target word j goes to source word ⌊(j + 1/2) I / J⌋."""
    return agreement([_diagonal(len(g.source), len(g.target)) for g in gold], gold)


def uniform(gold: Sequence[GoldLinks]) -> LinkCounts:
    """The baseline that knows nothing: each target word goes to one source word, drawn uniformly.

    In expectation, which is exact as |A| = J is fixed: E|A∩S| = |S| / I and E|A∩P| = |P| / I in each sentence
    (uniform weights have no argmax; what ``links`` would make of the tie is an accident of word order).
    """
    return _agreement(
        predicted=sum(len(g.target) for g in gold),
        sure=sum(len(g.sure) for g in gold),
        in_sure=sum(len(g.sure) / len(g.source) for g in gold),
        in_possible=sum(len(g.possible) / len(g.source) for g in gold),
    )


def _diagonal(source: int, target: int) -> set[Link]:
    return {((2 * j + 1) * source // (2 * target), j) for j in range(target)}


def _agreement(predicted: int, sure: int, in_sure: float, in_possible: float) -> LinkCounts:
    total = predicted + sure
    return LinkCounts(
        aer=1 - (in_sure + in_possible) / total if total else 0.0,
        precision=in_possible / predicted if predicted else 1.0,
        recall=in_sure / sure if sure else 1.0,
    )


def _error(sums: Array) -> Array:
    """Return 1 - part / whole of sums (..., 2)."""
    return np.asarray(1 - share(sums))


_aer = partial(Metric, group="gold", needs="alignment", higher_is_better=False, from_sums=_error)
METRICS = (
    _aer("aer", description="alignment error rate of the last layer (Och and Ney 2003)"),
    _aer("aer_input", description="aer with weights taken as those of the word that is read, not predicted"),
    _aer("aer_layer{n}", description="aer of layer n"),
    _aer("aer_layers", description="aer of the mean over layers"),
    _aer("aer_diagonal", description="baseline: aer of the diagonal", from_sums=None),
    _aer("aer_uniform", description="baseline: expected aer of a random source word", from_sums=None),
)
