"""Normalisers: scores to weights.

Shapes: B batch, H heads, T queries, S memory positions.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from seq2seq.attention.component import AttentionComponent
from seq2seq.errors import UserError
from seq2seq.layers.tensors import widen


class Normalizer(AttentionComponent, ABC):
    """Scores (B, H, T, S) and what may be seen -> weights: zero where hidden, all zero where nothing is seen."""

    def __init__(self, heads: int) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, scores: Tensor, visible: Tensor) -> Tensor:
        """``visible`` is bool and broadcasts to ``scores``."""


class Softmax(Normalizer):
    """a = exp(e / temperature) / sum exp(e / temperature) over what is seen.

    A temperature below 1 sharpens (Chorowski 2015, section 2.3, where beta is its inverse), one above 1 flattens.
    """

    def __init__(self, heads: int, *, temperature: float = 1.0) -> None:
        super().__init__(heads)
        if temperature <= 0:
            raise UserError(f"temperature={temperature} must be above 0")
        self.temperature = temperature

    def forward(self, scores: Tensor, visible: Tensor) -> Tensor:
        """(B, H, T, S) -> (B, H, T, S)."""
        if self.temperature == 1.0:
            return _softmax(scores, visible)
        exact = widen(scores)
        top = exact.detach().masked_fill(~visible, torch.finfo(exact.dtype).min).amax(-1, keepdim=True)
        cooled = (exact - top) / self.temperature  # nothing seen is above 0: dividing can't overflow upwards
        return _softmax(cooled, visible).to(scores.dtype)


class Sigmoid(Normalizer):
    """a = sigma(e) / sum sigma(e) over what is seen: smoothing, so that many may be attended to (Chorowski 2015,
    section 2.3).

    Taken as the softmax of log sigma(e): where all sigma(e) underflow, their shares do not.
    """

    def forward(self, scores: Tensor, visible: Tensor) -> Tensor:
        """(B, H, T, S) -> (B, H, T, S)."""
        return _softmax(F.logsigmoid(scores), visible)


class Sparsemax(Normalizer):
    """The nearest point of the simplex, argmin_a |a - e|^2 = [e - tau]_+ (Martins & Astudillo 2016, section 2).

    alpha-entmax with alpha = 2. Far below the largest score weights are exactly 0.
    """

    def forward(self, scores: Tensor, visible: Tensor) -> Tensor:
        """(B, H, T, S) -> (B, H, T, S)."""
        return _entmax(scores, visible, 2.0, _by_sorting)


class Entmax15(Normalizer):
    """a = [e / 2 - tau]_+^2, alpha-entmax with alpha = 1.5, between softmax and sparsemax (Peters 2019, section 3)."""

    def forward(self, scores: Tensor, visible: Tensor) -> Tensor:
        """(B, H, T, S) -> (B, H, T, S)."""
        return _entmax(scores, visible, 1.5, _by_sorting)


class Entmax(Normalizer):
    """a = [(alpha - 1) e - tau]_+^(1 / (alpha - 1)), alpha learned, one a head (Correia 2019, sections 3 and 4).

    alpha = 1 + sigma(r), r a parameter that starts where alpha is ``alpha``; as in the released code alpha is not below
    1.01, since near 1 (softmax) the exponent explodes: r is put back there after each step, where it goes on learning.
    ``learn: false`` keeps alpha as it is.
    """

    def __init__(self, heads: int, *, alpha: float = 1.5, learn: bool = True) -> None:
        super().__init__(heads)
        if not MIN_ALPHA <= alpha < 2.0:
            raise UserError(f"alpha={alpha} must lie in [{MIN_ALPHA}, 2); 1 is the normalizer softmax, 2 is sparsemax")
        self.alpha = alpha
        self.shape = nn.Parameter(torch.full((heads,), _alpha_parameter(alpha))) if learn else None

    def forward(self, scores: Tensor, visible: Tensor) -> Tensor:
        """(B, H, T, S) -> (B, H, T, S)."""
        alpha: Tensor | float = self.alpha
        if self.shape is not None:
            alpha = (1.0 + torch.sigmoid(widen(self.shape)))[:, None, None]
        return _entmax(scores, visible, alpha, _by_newton)

    def constrain(self) -> None:
        """Keep alpha at ``MIN_ALPHA`` or more."""
        if self.shape is not None:
            with torch.no_grad():
                self.shape.clamp_(min=_alpha_parameter(MIN_ALPHA))


Solve = Callable[[Tensor, Any], Tensor]
"""(x, power) -> [x - tau]_+^power that sums to 1 up to rounding, the largest x being 0."""
MIN_ALPHA = 1.01
NEWTON_STEPS = 12  # rounding is reached in 4 to 7; made to be slow, 20 000 scores took 12


def _alpha_parameter(alpha: float) -> float:
    """r where 1 + sigma(r) = alpha."""
    return math.log((alpha - 1.0) / (2.0 - alpha))


def _softmax(scores: Tensor, visible: Tensor) -> Tensor:
    """Filled with the smallest number, not -inf: a row that sees nothing must not make NaN, not even on the way (its
    gradient would be NaN); ``masked_fill`` then puts exact zeros.
    """
    weights = torch.softmax(scores.masked_fill(~visible, torch.finfo(scores.dtype).min), -1)
    return weights.masked_fill(~visible, 0.0)


def _entmax(scores: Tensor, visible: Tensor, alpha: Tensor | float, solve: Solve) -> Tensor:
    """alpha-entmax over what is seen, alpha a number or (H, 1, 1)."""
    exact = widen(scores)
    weights = _Entmax.apply(exact.masked_fill(~visible, torch.finfo(exact.dtype).min), alpha, solve)
    return weights.masked_fill(~visible, 0.0).to(scores.dtype)


class _Entmax(torch.autograd.Function):
    """p = [(alpha - 1) z - tau]_+^(1 / (alpha - 1)) with sum p = 1, for 1 < alpha <= 2 (Peters 2019, equation 9).

    Backwards (Peters 2019, proposition 2; Correia 2019, proposition 1), with s_i = p_i^(2 - alpha), p^ = s / sum s and
    h = -p log p:
    dL/dz = s (g - p^ . g), dp/dalpha = (p - p^) / (alpha - 1)^2 + (h - p^ sum h) / (alpha - 1).
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, alpha: Tensor | float, solve: Solve) -> Tensor:
        x = (alpha - 1.0) * (scores - scores.amax(-1, keepdim=True))
        weights = solve(x.clamp_(min=-2.0), 1.0 / (alpha - 1.0))  # tau >= -1: what is further below has weight 0
        weights /= weights.sum(-1, keepdim=True)
        ctx.fixed = None if isinstance(alpha, Tensor) else alpha
        ctx.save_for_backward(weights, *([alpha] if isinstance(alpha, Tensor) else []))
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        weights, *learned = ctx.saved_tensors
        alpha = learned[0] if learned else ctx.fixed
        slope = torch.where(weights > 0, weights.pow(2.0 - alpha), 0.0)
        share = slope / slope.sum(-1, keepdim=True)
        of_scores = slope * (grad - (share * grad).sum(-1, keepdim=True))
        if not ctx.needs_input_grad[1]:
            return of_scores, None, None
        entropy = -torch.xlogy(weights, weights)
        change = (weights - share) / (alpha - 1.0) + entropy - share * entropy.sum(-1, keepdim=True)
        return of_scores, (grad * change / (alpha - 1.0)).sum_to_size(alpha.shape), None


def _by_sorting(x: Tensor, power: float) -> Tensor:
    """``Solve`` for power 1 and 2: tau in closed form for each number of largest x; right is the last that all of its
    own exceed (Martins & Astudillo 2016, algorithm 1; Peters 2019, algorithm 2).
    """
    ordered = x.sort(-1, descending=True).values
    count = torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=x.dtype)
    mean = ordered.cumsum(-1) / count
    below = 1.0 / count
    if power == 2.0:
        below = (below - ordered.square().cumsum(-1) / count + mean.square()).clamp_(min=0.0).sqrt()
    tau = mean - below
    support = (ordered > tau).sum(-1, keepdim=True)
    return (x - tau.gather(-1, support - 1)).clamp_(min=0.0).pow(power)


def _by_newton(x: Tensor, power: Tensor | float) -> Tensor:
    """``Solve`` for any power > 1.

    Newton's steps on |[x - tau]_+|_power = 1, a norm: convex in tau, so that from tau = -1 they rise to the root and
    do not pass it; a dozen do what takes Correia's bisection fifty.
    """
    tau = torch.full_like(x[..., :1], -1.0)
    for _ in range(NEWTON_STEPS):
        gap = (x - tau).clamp_(min=0.0)
        slope = gap.pow(power - 1.0)
        total = (slope * gap).sum(-1, keepdim=True)
        tau += (total - total.pow(1.0 - 1.0 / power)) / slope.sum(-1, keepdim=True)
    return (x - tau).clamp_(min=0.0).pow(power)
