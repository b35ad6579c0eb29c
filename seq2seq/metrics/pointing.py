"""Does attention look at what a word names? Scored where the boxes of words are known, as drawn scenes know them.

Letters: J target words, T target pieces, S cells of a grid of (rows, columns).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seq2seq.metrics.metric import Metric
from seq2seq.metrics.words import merge

Boxes = Sequence[float]
"""left, top, right, bottom of one box after the other, as shares of the image's sides."""


class Pointing(NamedTuple):
    """Hits among the words of a caption that name something: the cell that a word attends most overlaps one of its
    boxes. A word that attends nothing is a miss.
    """

    words: int
    hits: int
    uniform: float  # expected, of a cell drawn at random
    centre: int  # of the cell in the middle


def pointing(
    weights: ArrayLike, cells: ArrayLike, extent: Sequence[float], target: ArrayLike, regions: Sequence[Boxes]
) -> Pointing:
    """A caption: ``weights`` (T, S), ``cells`` (S, 2) row and column of each, ``extent`` how many rows and columns the
    image has room for, ``target`` whose word each piece is (``words.merge``), ``regions`` (J,) the boxes of each
    word.
    """
    places = np.asarray(cells)
    by_word = merge(weights, np.arange(len(places)), target)
    middle = int(np.abs((places + 0.5) / np.asarray(extent) - 0.5).sum(1).argmin())
    words, hits, uniform, centre = 0, 0, 0.0, 0
    for row, boxes in zip(by_word, regions, strict=True):
        if len(boxes):
            inside = overlapping(places, extent, boxes)
            words += 1
            hits += bool(row.max(initial=0.0) > 0 and inside[row.argmax()])
            uniform += float(inside.mean())
            centre += bool(inside[middle])
    return Pointing(words, hits, uniform, centre)


def overlapping(cells: ArrayLike, extent: Sequence[float], boxes: Boxes) -> NDArray[np.bool_]:
    """(S,) bool: which cells share some area with a box."""
    place, size = np.asarray(cells, np.float64), np.asarray(extent, np.float64)
    top, left = (place / size).T
    bottom, right = ((place + 1) / size).T
    found = np.zeros(len(place), bool)
    for x0, y0, x1, y1 in np.reshape(np.asarray(boxes, np.float64), (-1, 4)):
        found |= (left < x1) & (right > x0) & (top < y1) & (bottom > y0)
    return found


def exact(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """1 for each output that is one of its references, word for word."""
    return [
        float(text.split() in [reference.split() for reference in several])
        for text, several in zip(outputs, references, strict=True)
    ]


def attributes(
    outputs: Sequence[str], references: Sequence[Sequence[str]], naming: Iterable[str]
) -> list[tuple[int, int]]:
    """(right, all) of each output: the words of a reference that are among ``naming``, and those of them that stand in
    the output at their place; by the reference that it agrees with most.
    """
    wanted, found = frozenset(naming), []
    for text, several in zip(outputs, references, strict=True):
        said, best = text.split(), (-1.0, 0, 0)
        for reference in several:
            places = [n for n, word in enumerate(reference.split()) if word in wanted]
            hits = sum(n < len(said) and said[n] == reference.split()[n] for n in places)
            if places:
                best = max(best, (hits / len(places), hits, len(places)))
        found.append(best[1:])
    return found


METRICS = (
    Metric("exact", "outputs", "share of outputs that are a reference, word for word", needs="images, regions"),
    Metric("attributes", "outputs", "share of words for objects that are said in their place", needs="images, regions"),
    Metric("pointing", "gold", "share of words whose most attended cell overlaps the gold region", needs="regions"),
    Metric("pointing_uniform", "gold", "baseline: pointing of a random cell", needs="regions", from_sums=None),
    Metric("pointing_centre", "gold", "baseline: pointing of the cell in the middle", needs="regions", from_sums=None),
)
