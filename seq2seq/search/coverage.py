"""Coverage penalty of beam search (Wu 2016, section 7, equation 14).

Shapes: N rows of the decoder state, S source positions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seq2seq.search.beam_rows import Move

_FLOOR = 1e-6  # a position without attention costs log 1e-6, not infinity: windows give weights of exactly 0


class CoveragePenalty:
    """Coverage penalty cp = sum_j log min(1, sum_t a_tj) over the real source positions j.

    It is 0 if every position has a total attention of at least 1.

    Args:
        mask: Mask of the source (N, S) bool, True = real.
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask
        self.total = torch.zeros_like(mask, dtype=torch.float32)

    def add(self, weights: Tensor) -> Tensor:
        """Add the attention of one more token, and return the penalty so far.

        Args:
            weights: Attention weights of the token (N, S).

        Returns:
            Penalties cp (N,).
        """
        self.total = self.total + weights
        return (self.total.clamp(_FLOOR, 1.0).log() * self.mask).sum(1)

    def move(self, move: Move) -> None:
        """Move the rows as those of the decoder state.

        Args:
            move: Move of the decoder state.
        """
        self.mask, self.total = move.tensor(self.mask), move.tensor(self.total)
