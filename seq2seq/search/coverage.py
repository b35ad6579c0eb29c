"""The coverage penalty of Wu 2016, section 7 (equation 14).

Shapes: N rows of the decoder's state, S source positions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seq2seq.search.beam_rows import Move

_FLOOR = 1e-6  # a position never attended to costs log 1e-6 and not everything: windows leave exact zeros


class CoveragePenalty:
    """cp = sum_j log min(1, sum_t a_tj) over the real source positions j: 0 where each was fully attended to."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask  # (N, S)
        self.total = torch.zeros_like(mask, dtype=torch.float32)

    def add(self, weights: Tensor) -> Tensor:
        """The weights (N, S) of one more token -> cp (N,) so far."""
        self.total = self.total + weights
        return (self.total.clamp(_FLOOR, 1.0).log() * self.mask).sum(1)

    def move(self, move: Move) -> None:
        """Follow the rows of the decoder's state."""
        self.mask, self.total = move.tensor(self.mask), move.tensor(self.total)
