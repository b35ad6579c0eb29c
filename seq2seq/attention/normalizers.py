"""Normalisers: scores to weights."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from seq2seq.attention.parts import Part


class Normalizer(Part, ABC):
    """Scores (B, H, T, S) and what may be seen -> weights: zero where hidden, all zero where nothing is seen."""

    def __init__(self, heads: int) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, scores: Tensor, visible: Tensor) -> Tensor:
        """``visible`` is bool and broadcasts to ``scores``."""


class Softmax(Normalizer):
    """a = exp(e) / sum exp(e) over what is seen.

    Filled with the smallest number, not -inf: a row that sees nothing must not make NaN, not even on
    the way (its gradient would be NaN); ``where`` then puts exact zeros.
    """

    def forward(self, scores: Tensor, visible: Tensor) -> Tensor:
        """(B, H, T, S) -> (B, H, T, S)."""
        weights = torch.softmax(scores.masked_fill(~visible, torch.finfo(scores.dtype).min), -1)
        return weights.masked_fill(~visible, 0.0)
