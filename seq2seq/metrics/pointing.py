"""Pointing of attention at the objects that words name, and accuracy of the words, for images with known boxes.

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
"""Left, top, right and bottom of one box after the other, as shares of the sides of the image."""


class Pointing(NamedTuple):
    """Hits among the words of a caption that name something.

    A hit is a word whose most attended cell overlaps one of its boxes. A word that attends no cell is a miss.
    """

    words: int  # words that name something
    hits: int
    uniform: float  # expected hits of a random cell
    centre: int  # hits of the cell in the middle


def pointing(
    weights: ArrayLike, cells: ArrayLike, extent: Sequence[float], target: ArrayLike, regions: Sequence[Boxes]
) -> Pointing:
    """Return the number of words of a caption that attend the object they name, and the numbers of baselines.

    Args:
        weights: Attention between pieces and cells (T, S).
        cells: Row and column of each cell (S, 2).
        extent: Number of rows and of columns of the image, in cells; may be fractions.
        target: Word of each target piece, or shares in words (``words.merge``).
        regions: Boxes of each word (J,); empty for a word that names nothing.
    """
    places = np.asarray(cells)
    by_word = merge(weights, np.arange(len(places)), target)
    # The cell in the middle is the one whose centre is closest to the centre of the image.
    middle = int(np.abs((places + 0.5) / np.asarray(extent) - 0.5).sum(1).argmin())

    # Count hits among the words that name something.
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
    """Return which cells share some area with a box.

    Args:
        cells: Row and column of each cell (S, 2).
        extent: Number of rows and of columns of the image, in cells.
        boxes: Boxes, as shares of the sides of the image.

    Returns:
        Boolean of each cell (S,).
    """
    # Express the sides of cells as shares of the sides of the image.
    place, size = np.asarray(cells, np.float64), np.asarray(extent, np.float64)
    top, left = (place / size).T
    bottom, right = ((place + 1) / size).T

    # Boxes and cells that only touch do not overlap.
    found = np.zeros(len(place), bool)
    for x0, y0, x1, y1 in np.reshape(np.asarray(boxes, np.float64), (-1, 4)):
        found |= (left < x1) & (right > x0) & (top < y1) & (bottom > y0)
    return found


def exact(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """Return 1 for each output that equals one of its references word for word, else 0.

    Args:
        outputs: N outputs.
        references: References of each output.
    """
    return [
        float(text.split() in [reference.split() for reference in reference_texts])
        for text, reference_texts in zip(outputs, references, strict=True)
    ]


def attributes(
    outputs: Sequence[str], references: Sequence[Sequence[str]], naming: Iterable[str]
) -> list[tuple[int, int]]:
    """Count the words of a reference that name objects, and those of them that the output has at the same position.

    Of several references, the one with the largest share of such words counts.

    Args:
        outputs: N outputs.
        references: References of each output.
        naming: Words that name objects or their attributes.

    Returns:
        Pair (words at the right position, all words that name objects) of each output.
    """
    wanted, found = frozenset(naming), []
    for text, reference_texts in zip(outputs, references, strict=True):
        output_words, best = text.split(), (-1.0, 0, 0)
        for reference in reference_texts:
            places = [n for n, word in enumerate(reference.split()) if word in wanted]
            hits = sum(n < len(output_words) and output_words[n] == reference.split()[n] for n in places)
            # A reference without such words does not count.
            if places:
                best = max(best, (hits / len(places), hits, len(places)))
        found.append(best[1:])
    return found


METRICS = (
    Metric("exact", "outputs", "share of outputs that equal a reference word for word", needs="images, regions"),
    Metric(
        "attributes",
        "outputs",
        "share of words naming objects that the output has at the same position",
        needs="images, regions",
    ),
    Metric("pointing", "gold", "share of words whose most attended cell overlaps the gold region", needs="regions"),
    Metric("pointing_uniform", "gold", "baseline: expected pointing of a random cell", needs="regions", from_sums=None),
    Metric("pointing_centre", "gold", "baseline: pointing of the cell in the middle", needs="regions", from_sums=None),
)
