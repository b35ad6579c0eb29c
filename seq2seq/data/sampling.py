"""Subword regularisation as a pure function: the same generator state gives the same segmentation, everywhere.

Pieces never cross a space, so a sentence is sampled word by word. (SentencePiece's own sampling draws from a
generator hidden in the library, which cannot be set per sentence.)
"""

from __future__ import annotations

import math
from bisect import bisect
from functools import lru_cache
from itertools import accumulate, pairwise
from random import Random
from typing import Protocol

from sentencepiece import SentencePieceProcessor

SPACE = "▁"  # U+2581, how SentencePiece writes the space before a word


class Sampler(Protocol):
    """Segments one word (without its space), drawing from ``random``."""

    def __call__(self, word: str, random: Random) -> list[int]:
        """Piece ids of ``word``."""


class UnigramSampler:
    """Draws a segmentation x with P(x) ~ exp(rate * log P_unigram(x)) among a word's ``best`` likeliest.

    Kudo 2018, "Subword Regularization", section 3.1; his alpha is ``rate``: 0 is uniform, large is the best one.
    """

    def __init__(self, model: SentencePieceProcessor, rate: float, best: int = 16) -> None:
        self.model, self.rate, self.best = model, rate, best
        self._choices = lru_cache(maxsize=100_000)(self._segmentations)

    def __call__(self, word: str, random: Random) -> list[int]:
        """Piece ids of ``word``."""
        choices, cumulative = self._choices(word)
        return choices[min(bisect(cumulative, random.random() * cumulative[-1]), len(choices) - 1)]

    def _segmentations(self, word: str) -> tuple[list[list[int]], list[float]]:
        choices: list[list[int]] = self.model.nbest_encode_as_ids(word, self.best)
        scores = [self.rate * sum(self.model.get_score(i) for i in choice) for choice in choices]
        return choices, list(accumulate(math.exp(s - max(scores)) for s in scores))


class BPEDropout:
    """Byte-pair merges of which each one possible is left out of a step with probability ``rate``.

    Provilkov et al. 2020, "BPE-Dropout", algorithm 1; 0 is plain BPE, 1 is characters.
    """

    def __init__(self, model: SentencePieceProcessor, rate: float) -> None:
        self.model, self.rate = model, rate
        # A piece's score is minus the rank of the merge that made it.
        self._pieces = {model.id_to_piece(i): (model.get_score(i), i) for i in range(len(model))}

    def __call__(self, word: str, random: Random) -> list[int]:
        """Piece ids of ``word``."""
        symbols = list(SPACE + word)
        while True:
            merges = [
                (-self._pieces[left + right][0], place)
                for place, (left, right) in enumerate(pairwise(symbols))
                if left + right in self._pieces and random.random() >= self.rate
            ]
            if not merges:
                break
            _, place = min(merges)
            symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]
        unknown = self.model.unk_id()
        ids = [self._pieces[s][1] if s in self._pieces else unknown for s in symbols]
        # SentencePiece writes a run of unknown characters as one unknown piece.
        return [i for place, i in enumerate(ids) if not (i == unknown and place and ids[place - 1] == unknown)]


def sampler(model: SentencePieceProcessor, kind: str, rate: float) -> Sampler:
    """The regularisation that belongs to a type of model."""
    return {"unigram": UnigramSampler, "bpe": BPEDropout}[kind](model, rate)
