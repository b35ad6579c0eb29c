"""Baseline of pronunciation and transliteration without a network: aligned symbols, chosen by the longest context.

Each training pair is aligned in chunks: one source symbol with up to two target symbols, or two source symbols with one
(many-to-many alignment; Jiampojamarn et al. 2007, N07-1047). Hard EM counts the chunks and aligns again. A new source
is read symbol by symbol. The widest window around a symbol that training has seen tells the target symbols, by
majority.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

Symbols = tuple[str, ...]
Chunk = tuple[Symbols, Symbols]
"""Source symbols, and the target symbols that are aligned with them."""
SIZES = ((1, 1), (1, 0), (1, 2), (2, 1))
"""Numbers of source and target symbols of a chunk, the simplest first."""
ROUNDS = 5  # rounds of EM
CLOSE = 0.25  # largest distance from the diagonal, as a share, of the chunks that the first round counts
UNSEEN = -20.0  # log-probability of a chunk without a count
WINDOWS = ((3, 3), (2, 3), (3, 2), (2, 2), (1, 2), (2, 1), (1, 1), (0, 2), (0, 1), (1, 0), (0, 0))
"""Numbers of source symbols before and after a symbol in its window, the widest first."""
EDGE = ""  # stands for the places before the first and after the last symbol


class AlignedRules:
    """Rules that were learnt from aligned pairs of strings.

    Args:
        pairs: Source and target of each training record, as sequences of symbols.
    """

    def __init__(self, pairs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> None:
        known = [(tuple(source), tuple(target)) for source, target in pairs]
        # Count the chunks near the diagonal, then align and count again.
        counts = Counter(chunk for source, target in known for chunk in _near_diagonal(source, target))
        aligned: list[list[Chunk]] = []
        for _ in range(ROUNDS):
            total = math.log(max(counts.total(), 1))
            scores = {chunk: math.log(count) - total for chunk, count in counts.items()}
            aligned = [align(source, target, scores) for source, target in known]
            counts = Counter(chunk for chunks in aligned for chunk in chunks)
        # Count what each symbol becomes in each window; the first symbol of a chunk becomes all of its target.
        self.rules: defaultdict[tuple[int, Symbols], Counter[Symbols]] = defaultdict(Counter)
        for (source, _), chunks in zip(known, aligned, strict=True):
            results = [part for left, right in chunks for part in (right, *((),) * (len(left) - 1))]
            for place, result in enumerate(results):
                for window in range(len(WINDOWS)):
                    self.rules[window, _context(source, place, window)][result] += 1

    def __call__(self, source: Sequence[str]) -> list[str]:
        """Return the target of a source; a new symbol becomes nothing.

        Args:
            source: Symbols of the source.
        """
        target: list[str] = []
        for place in range(len(source)):
            known = (self.rules.get((n, _context(source, place, n))) for n in range(len(WINDOWS)))
            if results := next(filter(None, known), None):
                target += results.most_common(1)[0][0]
        return target


def align(source: Symbols, target: Symbols, scores: Mapping[Chunk, float]) -> list[Chunk]:
    """Return the chunks of the best alignment; none if the lengths allow no alignment.

    Args:
        source: I source symbols.
        target: J target symbols.
        scores: Log-probability of each known chunk.
    """
    # Each entry is the best score of a prefix of both sides, with the size of its last chunk.
    best: dict[tuple[int, int], tuple[float, tuple[int, int]]] = {(0, 0): (0.0, (0, 0))}
    for i in range(1, len(source) + 1):
        for j in range(len(target) + 1):
            found = [
                (best[i - a, j - b][0] + scores.get((source[i - a : i], target[j - b : j]), UNSEEN), (a, b))
                for a, b in SIZES
                if (i - a, j - b) in best
            ]
            if found:
                best[i, j] = max(found, key=lambda one: one[0])
    # Walk back from the end.
    place, chunks = (len(source), len(target)), list[Chunk]()
    while place in best and place != (0, 0):
        (i, j), (_, (a, b)) = place, best[place]
        chunks.append((source[i - a : i], target[j - b : j]))
        place = i - a, j - b
    return chunks[::-1]


def _near_diagonal(source: Symbols, target: Symbols) -> Iterable[Chunk]:
    """Yield the chunks whose two sides begin at about the same part of their string."""
    for i in range(len(source)):
        for j in range(len(target) + 1):
            if abs(i / len(source) - j / max(len(target), 1)) <= CLOSE:
                for a, b in SIZES:
                    if i + a <= len(source) and j + b <= len(target):
                        yield source[i : i + a], target[j : j + b]


def _context(source: Sequence[str], place: int, window: int) -> Symbols:
    """Return the symbols of a window around a place."""
    before, after = WINDOWS[window]
    places = range(place - before, place + after + 1)
    return tuple(source[n] if 0 <= n < len(source) else EDGE for n in places)
