"""Which words of the references the outputs have, by place and by frequency.

Letters: N records, G groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

from seq2seq.metrics.words import spoken

Array = NDArray[np.float64]
PLACES = 5
"""Groups of words by their place in the reference."""
FREQUENCIES = (0, 1, 2, 5, 10, 100, 1000)
"""Least frequency of each group; a word that is as frequent or more, and less than the next."""


def words_found(reference: str, output: str) -> tuple[list[str], list[bool]]:
    """Return the words of a reference, and which of them the output has in the same order: those of the matching
    blocks of the two (Ratcliff & Obershelp 1988).
    """
    expected, words = spoken(reference), spoken(output)
    hit = [False] * len(expected)
    for block in SequenceMatcher(None, expected, words, autojunk=False).get_matching_blocks():
        hit[block.a : block.a + block.size] = [True] * block.size
    return expected, hit


def word_hits(pairs: Sequence[tuple[str, str]], frequencies: Mapping[str, int]) -> tuple[Array, Array]:
    """Return (N, G, 2) hits and words of each record, by place and by frequency.

    Args:
        pairs: The first reference and the output of each record.
        frequencies: How often words stand in the training targets.
    """
    places = np.zeros((len(pairs), PLACES, 2))
    counts = np.zeros((len(pairs), len(FREQUENCIES), 2))
    edges = np.array(FREQUENCIES)
    for n, pair in enumerate(pairs):
        words, hits = words_found(*pair)
        for place, (word, hit) in enumerate(zip(words, hits, strict=True)):
            places[n, place * PLACES // len(words)] += (hit, 1)
            group = int(np.searchsorted(edges, frequencies.get(word, 0), "right")) - 1
            counts[n, group] += (hit, 1)
    return places, counts
