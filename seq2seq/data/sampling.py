"""Subword regularisation as a pure function: the same generator state always gives the same segmentation.

Pieces never cross a space, so a sentence is sampled word by word. SentencePiece's own sampling uses a generator inside
the library, which cannot be set for each sentence.
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

LONG = 200  # characters that are merged at a time: the time of merging grows with the square of their number


class Sampler(Protocol):
    """Function that draws a segmentation of one word."""

    def __call__(self, word: str, random: Random) -> list[int]:
        """Return the piece ids of a word.

        Args:
            word: A word with its space mark.
            random: Generator of the random choices.
        """


class UnigramSampler:
    """Sampler of a segmentation x with P(x) ~ exp(rate * log P_unigram(x)) among the ``best`` likeliest of a word.

    Kudo 2018, "Subword Regularization", section 3.1; ``rate`` is its alpha. User-defined symbols stay whole.

    Args:
        pieces: Vocabulary of a unigram model.
        rate: Alpha; 0 draws uniformly, and a large value draws the likeliest.
        best: Number of segmentations to draw from.
    """

    def __init__(self, pieces: PieceVocabulary, rate: float, best: int = 16) -> None:
        self.pieces, self.rate, self.best = pieces, rate, best
        self._symbols = set(map(pieces.id, pieces.symbols))
        self._choices = lru_cache(maxsize=100_000)(self._segmentations)

    def __call__(self, word: str, random: Random) -> list[int]:
        """Return the piece ids of a word, as in ``Sampler``."""
        choices, cumulative = self._choices(word)
        # Find the random number among the cumulative weights.
        return choices[min(bisect(cumulative, random.random() * cumulative[-1]), len(choices) - 1)]

    def _segmentations(self, word: str) -> tuple[list[list[int]], list[float]]:
        """Return the segmentations of a word, and their cumulative weights."""
        text = word.replace(SPACE, "")  # the library adds the mark
        found = self.pieces.processor.nbest_encode_as_ids(text, self.best)
        choices = [self.pieces.numbered(ids) for ids in found]
        # The likeliest segmentation keeps user-defined symbols whole; drop others that do not.
        if self._symbols:
            whole = self._whole(choices[0])
            choices = [choice for choice in choices if self._whole(choice) == whole]
        scores = [self.rate * sum(map(self.pieces.score, choice)) for choice in choices]
        return choices, list(accumulate(math.exp(s - max(scores)) for s in scores))

    def _whole(self, ids: Iterable[int]) -> list[int]:
        """Return the user-defined symbols among the ids."""
        return [i for i in ids if i in self._symbols]


class BPEDropout:
    """Byte-pair merging where each step ignores each possible merge with probability ``rate``.

    Provilkov et al. 2020, "BPE-Dropout", algorithm 1. User-defined symbols stay whole. A word of more than ``LONG``
    characters is segmented in parts of that length.

    Args:
        pieces: Vocabulary of a BPE model.
        rate: Probability of ignoring a merge; 0 is plain BPE, 1 gives characters.
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
        """Return the piece ids of a word, as in ``Sampler``."""
        ids: list[int] = []
        for symbol in self._pieces_of(word, random):
            index = self.pieces.id(symbol)
            found = self.pieces.unknown(symbol) if index == UNK else [index]
            # SentencePiece writes a run of unknown characters as one unknown piece.
            ids += found if not (found == [UNK] and ids and ids[-1] == UNK) else []
        return ids

    def _pieces_of(self, word: str, random: Random) -> Iterator[str]:
        """Yield the pieces of a word."""
        for part in self._split.split(word) if self._split else [word]:
            if part in self._symbols:
                yield part
                continue
            for start in range(0, len(part), LONG):
                yield from self._merged(part[start : start + LONG], random)

    def _merged(self, text: Iterable[str], random: Random) -> list[str]:
        """Return the pieces of a text after all merges."""
        symbols = list(text)
        while True:
            # Collect the possible merges that are not dropped in this step.
            merges = [
                (-self._known[left + right][0], place)
                for place, (left, right) in enumerate(pairwise(symbols))
                if left + right in self._known and random.random() >= self.rate
            ]
            if not merges:
                return symbols
            # Do the first merge in the order of training.
            _, place = min(merges)
            symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]


def sampler(pieces: PieceVocabulary, rate: float) -> Sampler:
    """Return the sampler for the type of a model.

    Args:
        pieces: Vocabulary of a unigram or BPE model.
        rate: Alpha of unigram, or dropout of BPE.
    """
    made: Sampler = {"unigram": UnigramSampler, "bpe": BPEDropout}[pieces.type](pieces, rate)
    return made
