"""Agreement of predicted links with gold links over a corpus (Och and Ney 2003, J03-1002).

Letters: A predicted links, S sure links, P possible links, S ⊆ P. |·| counts links over all sentences.
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
    """Alignment error rate, precision and recall of links, all 0-1."""

    aer: float  # lower is better
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
    """Return the word links of one sentence, from its attention between pieces.

    Only words can be linked: the weights of ``</s>`` and other special tokens do not count.

    Args:
        weights: Attention between pieces (T, S), without padding, with the row of ``</s>``.
        source: Word of each source piece, or shares in words (``words.merge``).
        target: Word of each target piece, or shares in words (``words.merge``).
        rows: Token to which a row belongs, ``predicted`` or ``input`` (``words.about_predicted``).
        method: Way to choose links (``links.links``).
        threshold: Weight that a link must exceed (``links.links``).
    """
    return links(merge(about_predicted(weights, rows), source, target), method, threshold=threshold)


def agreement(predicted: Sequence[Collection[Link]], gold: Sequence[GoldLinks]) -> LinkCounts:
    """Return alignment error rate, precision and recall of links.

    AER = 1 - (|A∩S| + |A∩P|) / (|A| + |S|), precision = |A∩P| / |A|, recall = |A∩S| / |S|.

    AER is 0 if there are neither predicted nor sure links, precision is 1 if there are no predicted links, and recall
    is 1 if there are no sure links.

    Args:
        predicted: Predicted links of each sentence.
        gold: Gold links of each sentence.
    """
    # Sum the counts over sentences; a corpus without sentences has counts of 0.
    rows = counts(predicted, gold)
    return _agreement(*(sum(column) for column in zip(*rows, strict=True))) if rows else _agreement(0, 0, 0, 0)


def counts(predicted: Sequence[Collection[Link]], gold: Sequence[GoldLinks]) -> list[tuple[int, int, int, int]]:
    """Return the counts |A|, |S|, |A∩S| and |A∩P| of each sentence.

    Args:
        predicted: Predicted links of each sentence.
        gold: Gold links of each sentence.

    Raises:
        ValueError: The numbers of sentences differ.
    """
    if len(predicted) != len(gold):
        raise ValueError(f"predicted links of {len(predicted)} sentences, but gold links of {len(gold)}")
    # Links that are predicted several times count once.
    pairs = [(frozenset(a), g) for a, g in zip(predicted, gold, strict=True)]
    return [(len(a), len(g.sure), len(a & g.sure), len(a & g.possible)) for a, g in pairs]


def diagonal(gold: Sequence[GoldLinks]) -> LinkCounts:
    """Return the agreement of a baseline that links target word j to source word ⌊(j + 1/2) I / J⌋.

    Args:
        gold: Gold links of each sentence; I source words and J target words.
    """
    return agreement([_diagonal(len(g.source), len(g.target)) for g in gold], gold)


def uniform(gold: Sequence[GoldLinks]) -> LinkCounts:
    """Return the expected agreement of a baseline that links each target word to a random source word.

    The source word is drawn uniformly. The expectation is exact, because |A| = J is fixed: E|A∩S| = |S| / I and
    E|A∩P| = |P| / I in each sentence. ``links`` of uniform weights is no such baseline: it always chooses the first
    word.

    Args:
        gold: Gold links of each sentence; I source words and J target words.
    """
    return _agreement(
        predicted=sum(len(g.target) for g in gold),
        sure=sum(len(g.sure) for g in gold),
        in_sure=sum(len(g.sure) / len(g.source) for g in gold),
        in_possible=sum(len(g.possible) / len(g.source) for g in gold),
    )


def _diagonal(source: int, target: int) -> set[Link]:
    """Return the links of the diagonal, for numbers of source and target words."""
    # Integer arithmetic avoids rounding errors in ⌊(j + 1/2) I / J⌋.
    return {((2 * j + 1) * source // (2 * target), j) for j in range(target)}


def _agreement(predicted: int, sure: int, in_sure: float, in_possible: float) -> LinkCounts:
    """Return the agreement from the counts |A|, |S|, |A∩S| and |A∩P|."""
    # Without links to count, the rates have the values of a perfect prediction.
    total = predicted + sure
    return LinkCounts(
        aer=1 - (in_sure + in_possible) / total if total else 0.0,
        precision=in_possible / predicted if predicted else 1.0,
        recall=in_sure / sure if sure else 1.0,
    )


def _error(sums: Array) -> Array:
    """Return 1 - part / whole (...) from sums (..., 2)."""
    return np.asarray(1 - share(sums))


_aer = partial(Metric, group="gold", needs="alignment", higher_is_better=False, from_sums=_error)
METRICS = (
    _aer("aer", description="alignment error rate of the last layer (Och and Ney 2003)"),
    _aer("aer_input", description="aer if the weights of a step belong to the word that it reads, not predicts"),
    _aer("aer_posterior", description="aer of the posterior of a latent alignment, given the whole reference"),
    _aer("aer_layer{n}", description="aer of layer n"),
    _aer("aer_layers", description="aer of the mean over layers"),
    _aer("aer_diagonal", description="baseline: aer of the diagonal", from_sums=None),
    _aer("aer_uniform", description="baseline: expected aer of a random source word", from_sums=None),
)
