"""Subword regularisation as a pure function: the same generator state gives the same segmentation, everywhere.

Pieces never cross a space, so a sentence is sampled word by word. (SentencePiece's own sampling draws from a
generator hidden in the library, which cannot be set per sentence.)
"""

from __future__ import annotations

import math
import re
from bisect import bisect
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import accumulate, pairwise
from random import Random
from typing import Protocol

from seq2seq.batch import UNK
from seq2seq.data.piece_vocabulary import SPACE, PieceVocabulary

LONG = 200  # characters: the time that merging takes grows with the square of the length


class Sampler(Protocol):
    """Segments one word (with its space mark), drawing from ``random``."""

    def __call__(self, word: str, random: Random) -> list[int]:
        """Piece ids of ``word``."""


class UnigramSampler:
    """Draws a segmentation x with P(x) ~ exp(rate * log P_unigram(x)) among a word's ``best`` likeliest.

    Kudo 2018, "Subword Regularization", section 3.1; his alpha is ``rate``: 0 is uniform, large is the best one.
    User-defined symbols stay whole.
    """

    def __init__(self, pieces: PieceVocabulary, rate: float, best: int = 16) -> None:
        self.pieces, self.rate, self.best = pieces, rate, best
        self._symbols = set(map(pieces.id, pieces.symbols))
        self._choices = lru_cache(maxsize=100_000)(self._segmentations)

    def __call__(self, word: str, random: Random) -> list[int]:
        """Piece ids of ``word``."""
        choices, cumulative = self._choices(word)
        return choices[min(bisect(cumulative, random.random() * cumulative[-1]), len(choices) - 1)]

    def _segmentations(self, word: str) -> tuple[list[list[int]], list[float]]:
        text = word.replace(SPACE, "")  # the library adds the mark
        found = self.pieces.processor.nbest_encode_as_ids(text, self.best)
        choices = [self.pieces.numbered(ids) for ids in found]
        if self._symbols:  # the likeliest keeps them whole, the others may not
            whole = self._whole(choices[0])
            choices = [choice for choice in choices if self._whole(choice) == whole]
        scores = [self.rate * sum(map(self.pieces.score, choice)) for choice in choices]
        return choices, list(accumulate(math.exp(s - max(scores)) for s in scores))

    def _whole(self, ids: Iterable[int]) -> list[int]:
        return [i for i in ids if i in self._symbols]


class BPEDropout:
    """Byte-pair merges of which each one possible is left out of a step with probability ``rate``.

    Provilkov et al. 2020, "BPE-Dropout", algorithm 1; 0 is plain BPE, 1 is characters. User-defined symbols stay whole.
    A word of more than ``LONG`` characters is segmented in stretches of so many.
    """

    def __init__(self, pieces: PieceVocabulary, rate: float) -> None:
        self.pieces, self.rate = pieces, rate
        # A piece's score is minus the rank of the merge that made it.
        self._symbols = set(pieces.symbols)
        self._known = {
            piece: (pieces.score(i), i)
            for i, piece in enumerate(pieces.spelling)
            if not (i == UNK or i in pieces.bytes or pieces.surface[i] is None or piece in self._symbols)
        }
        self._split = re.compile(f"({'|'.join(map(re.escape, pieces.symbols))})") if pieces.symbols else None

    def __call__(self, word: str, random: Random) -> list[int]:
        """Piece ids of ``word``."""
        ids: list[int] = []
        for symbol in self._pieces_of(word, random):
            index = self.pieces.id(symbol)
            found = self.pieces.unknown(symbol) if index == UNK else [index]
            # SentencePiece writes a run of unknown characters as one unknown piece.
            ids += found if not (found == [UNK] and ids and ids[-1] == UNK) else []
        return ids

    def _pieces_of(self, word: str, random: Random) -> Iterator[str]:
        for part in self._split.split(word) if self._split else [word]:
            if part in self._symbols:
                yield part
                continue
            for start in range(0, len(part), LONG):
                yield from self._merged(part[start : start + LONG], random)

    def _merged(self, text: Iterable[str], random: Random) -> list[str]:
        symbols = list(text)
        while True:
            merges = [
                (-self._known[left + right][0], place)
                for place, (left, right) in enumerate(pairwise(symbols))
                if left + right in self._known and random.random() >= self.rate
            ]
            if not merges:
                return symbols
            _, place = min(merges)
            symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]


def sampler(pieces: PieceVocabulary, rate: float) -> Sampler:
    """The regularisation that belongs to a type of model."""
    return {"unigram": UnigramSampler, "bpe": BPEDropout}[pieces.type](pieces, rate)
