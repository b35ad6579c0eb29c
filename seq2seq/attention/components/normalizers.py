"""Normalisers: functions that turn scores into weights.

Shapes: B batch, H heads, T queries, S memory positions.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from seq2seq.attention.component import AttentionComponent
from seq2seq.errors import UserError
from seq2seq.layers.entmax import MIN_ALPHA, entmax
from seq2seq.layers.tensors import widen


class Normalizer(AttentionComponent, ABC):
    """Base of normalisers: weights are zero at hidden positions, and all zero where a query sees nothing.

    Args:
        heads: H, number of heads.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, scores: Tensor, visible: Tensor) -> Tensor:
        """Turn scores into weights.

        Args:
            scores: Scores (B, H, T, S).
            visible: Boolean mask that broadcasts to ``scores``, True = visible.

        Returns:
            Weights (B, H, T, S).
        """


class Softmax(Normalizer):
    """Softmax over the visible positions.

    a = exp(e / temperature) / sum exp(e / temperature).

    Args:
        heads: H, number of heads.
        temperature: Below 1 it sharpens the weights (Chorowski 2015, section 2.3, where beta is its inverse), above 1
            it flattens them.

    Raises:
        UserError: The temperature is not above 0.
    """

    def __init__(self, heads: int, *, temperature: float = 1.0) -> None:
        super().__init__(heads)
        if temperature <= 0:
            raise UserError(f"temperature={temperature} must be above 0")
        self.temperature = temperature

    @override
    def forward(self, scores: Tensor, visible: Tensor) -> Tensor:
        if self.temperature == 1.0:
            return _softmax(scores, visible)
        exact = widen(scores)
        top = exact.detach().masked_fill(~visible, torch.finfo(exact.dtype).min).amax(-1, keepdim=True)
        # No visible score is above 0 now, so the division cannot overflow to +inf.
        cooled = (exact - top) / self.temperature
        return _softmax(cooled, visible).to(scores.dtype)


class Sigmoid(Normalizer):
    """Sigmoid normaliser, which smooths the weights so that a query can attend to many positions.

    a = sigma(e) / sum sigma(e) over the visible positions (Chorowski 2015, section 2.3). It is computed as the softmax
    of log sigma(e): where all sigma(e) underflow, their ratios remain correct.
    """

    @override
    def forward(self, scores: Tensor, visible: Tensor) -> Tensor:
        return _softmax(F.logsigmoid(scores), visible)


class Sparsemax(Normalizer):
    """Sparsemax normaliser, which gives exactly 0 to positions far below the largest score.

    The weights are the point of the simplex that is nearest to the scores: argmin_a |a - e|^2 = [e - tau]_+ (Martins &
    Astudillo 2016, section 2). It is alpha-entmax with alpha = 2.
    """

    @override
    def forward(self, scores: Tensor, visible: Tensor) -> Tensor:
        return _entmax(scores, visible, 2.0)


class Entmax15(Normalizer):
    """Normaliser between softmax and sparsemax: alpha-entmax with alpha = 1.5.

    a = [e / 2 - tau]_+^2 (Peters 2019, section 3).
    """

    @override
    def forward(self, scores: Tensor, visible: Tensor) -> Tensor:
        return _entmax(scores, visible, 1.5)


class Entmax(Normalizer):
    """Alpha-entmax with a learned alpha for each head.

    a = [(alpha - 1) e - tau]_+^(1 / (alpha - 1)) (Correia 2019, sections 3 and 4), where alpha = 1 + sigma(r) and r is
    the parameter. As in the released code, alpha is at least 1.01, because near 1 (softmax) the exponent explodes.
    After each step ``constrain`` moves r back into this range, where it can still learn.

    Args:
        heads: H, number of heads.
        alpha: Initial alpha, in [1.01, 2).
        learn: Learn alpha; otherwise it stays at ``alpha``.

    Raises:
        UserError: ``alpha`` is out of range.
    """

    def __init__(self, heads: int, *, alpha: float = 1.5, learn: bool = True) -> None:
        super().__init__(heads)
        if not MIN_ALPHA <= alpha < 2.0:
            raise UserError(f"alpha={alpha} must lie in [{MIN_ALPHA}, 2); 1 is the normalizer softmax, 2 is sparsemax")
        self.alpha = alpha
        self.shape = nn.Parameter(torch.full((heads,), _alpha_parameter(alpha))) if learn else None

    @override
    def forward(self, scores: Tensor, visible: Tensor) -> Tensor:
        alpha: Tensor | float = self.alpha
        if self.shape is not None:
            alpha = (1.0 + torch.sigmoid(widen(self.shape)))[:, None, None]
        return _entmax(scores, visible, alpha)

    @override
    def constrain(self) -> None:
        """Keep alpha at ``MIN_ALPHA`` or more."""
        if self.shape is not None:
            with torch.no_grad():
                self.shape.clamp_(min=_alpha_parameter(MIN_ALPHA))


def _alpha_parameter(alpha: float) -> float:
    """Return r where 1 + sigma(r) = alpha."""
    return math.log((alpha - 1.0) / (2.0 - alpha))


def _softmax(scores: Tensor, visible: Tensor) -> Tensor:
    """Return the softmax over the visible positions, and exact zeros elsewhere.

    Hidden scores are the smallest number and not -inf: a row that sees nothing would otherwise produce NaN, and its
    gradient too.
    """
    # Hide positions before the softmax, and set them to exactly 0 after it.
    weights = torch.softmax(scores.masked_fill(~visible, torch.finfo(scores.dtype).min), -1)
    return weights.masked_fill(~visible, 0.0)


def _entmax(scores: Tensor, visible: Tensor, alpha: Tensor | float) -> Tensor:
    """Return alpha-entmax over the visible positions, where alpha is a number or (H, 1, 1)."""
    exact = widen(scores)
    exact = exact.masked_fill(~visible, torch.finfo(exact.dtype).min)
    return entmax(exact, alpha).masked_fill(~visible, 0.0).to(scores.dtype)
