"""Rows and columns of a heat-map: the words of a text, or its pieces, named without the marks of a tokenizer.

Letters: T target pieces, S source pieces; U units.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seq2seq.metrics.words import merge
from seq2seq.plots.shading import words_of

Cell = tuple[int, int]  # (column, row): (source, target)
INSIDE = "·"  # stands before a piece that continues a word


@dataclass(frozen=True)
class Units:
    """Names of the units of a text, and the unit of each of its pieces."""

    names: list[str]  # (U,)
    places: list[int]  # unit of each piece

    @classmethod
    def of(cls, pieces: Sequence[str], words: Sequence[int], *, split: bool = False) -> Units:
        """Return the units of a text: its words, and each special token.

        In scripts without spaces, each piece is a unit.

        Args:
            pieces: Pieces of the text.
            words: Number of each piece's word; -1 for special tokens.
            split: Whether each piece is a unit of its own.
        """
        if split:
            inside = [word >= 0 and word == last for word, last in zip(words, [-1, *words[:-1]], strict=True)]
            bare = [piece.removeprefix("▁") or " " for piece in pieces]
            # Single letters need no mark.
            mark = INSIDE if any(word >= 0 and len(one) > 1 for one, word in zip(bare, words, strict=True)) else ""
            return cls([mark * joined + one for one, joined in zip(bare, inside, strict=True)], [*range(len(pieces))])
        shaded, word_indices = words_of(pieces, words)
        names: list[str] = []
        places: list[int] = []
        before_index = -1
        # A special token stands alone; pieces of a word share a unit.
        for piece, word_index in zip(pieces, word_indices, strict=True):
            if word_index < 0 or word_index != before_index:
                names.append(piece if word_index < 0 else shaded[word_index].text)
            places.append(len(names) - 1)
            before_index = word_index
        return cls(names, places)

    def with_column(self, name: str) -> Units:
        """Return the units with one more at the end.

        Args:
            name: Name of the unit.
        """
        return Units([*self.names, name], [*self.places, len(self.names)])


def between(weights: ArrayLike, rows: Units, columns: Units) -> NDArray[np.float64]:
    """Return the attention between units: the sum over source pieces, the mean over target pieces.

    Args:
        weights: Attention between pieces (..., T, S).
        rows: Units of the target.
        columns: Units of the source.

    Returns:
        Attention (..., U of the target, U of the source).
    """
    w = np.asarray(weights, dtype=np.float64)
    merged = [merge(one, columns.places, rows.places) for one in w.reshape(-1, *w.shape[-2:])]
    return np.stack(merged).reshape(*w.shape[:-2], len(rows.names), len(columns.names))


def cells_between(cells: Iterable[Cell], rows: Units, columns: Units) -> list[Cell]:
    """Return the cells of units in which some cell of pieces lies.

    Args:
        cells: Cells (source piece, target piece).
        rows: Units of the target.
        columns: Units of the source.
    """
    return sorted({(columns.places[column], rows.places[row]) for column, row in cells})


def cells_of_words(
    links: Collection[tuple[int, int]], source_words: Sequence[int], target_words: Sequence[int]
) -> list[Cell]:
    """Return the cells (source piece, target piece) whose words are linked, where the words of all pieces are known.

    Args:
        links: Links (source word, target word), numbered from 0.
        source_words: Number of each source piece's word (S,); -1 = special token.
        target_words: Number of each target piece's word (T,); -1 = special token.
    """
    linked = {tuple(link) for link in links}
    rows, columns = enumerate(target_words), list(enumerate(source_words))
    return [(column, row) for row, target in rows for column, source in columns if (source, target) in linked]
