"""Counts of reference words that the outputs contain, by position and by frequency.

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
"""Number of groups of words by their position in the reference."""
FREQUENCIES = (0, 1, 2, 5, 10, 100, 1000)
"""Smallest frequency in each group of words by frequency."""


def words_found(reference: str, output: str) -> tuple[list[str], list[bool]]:
    """Find the words of a reference that the output has in the same order.

    These are the words of the matching blocks (Ratcliff & Obershelp 1988).

    Args:
        reference: Text of the reference.
        output: Text of the output.

    Returns:
        The words of the reference, and for each word whether the output has it.
    """
    expected, words = spoken(reference), spoken(output)
    hit = [False] * len(expected)
    for block in SequenceMatcher(None, expected, words, autojunk=False).get_matching_blocks():
        hit[block.a : block.a + block.size] = [True] * block.size
    return expected, hit


def word_hits(pairs: Sequence[tuple[str, str]], frequencies: Mapping[str, int]) -> tuple[Array, Array]:
    """Count reference words and hits, the words among them that the output has.

    Args:
        pairs: The first reference and the output of each record.
        frequencies: Number of occurrences of each word in the training targets.

    Returns:
        (hits, words) of each record and group (N, G, 2), by position and by frequency.
    """
    # The last axis is (hits, words).
    places = np.zeros((len(pairs), PLACES, 2))
    counts = np.zeros((len(pairs), len(FREQUENCIES), 2))
    edges = np.array(FREQUENCIES)
    for n, pair in enumerate(pairs):
        words, hits = words_found(*pair)
        for place, (word, hit) in enumerate(zip(words, hits, strict=True)):
            # Count the word in its fifth and in its group of frequencies.
            places[n, place * PLACES // len(words)] += (hit, 1)
            group = int(np.searchsorted(edges, frequencies.get(word, 0), "right")) - 1
            counts[n, group] += (hit, 1)
    return places, counts
