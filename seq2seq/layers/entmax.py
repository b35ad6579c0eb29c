"""Alpha-entmax, a map from scores to probabilities of which some are exactly 0.

    p = [(alpha - 1) z - tau]_+^(1 / (alpha - 1)) with sum p = 1, for 1 < alpha <= 2   (Peters 2019, equation 9)

Its limit for alpha = 1 is softmax, and for alpha = 2 it is sparsemax (Martins & Astudillo 2016). Attention weights
(``attention/components/normalizers.py``) and output layers (``layers/sparse_output.py``) use it.

Shapes: V scores of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

MIN_ALPHA = 1.01
"""Smallest alpha, as in the code of Correia 2019: near 1 the exponent 1 / (alpha - 1) explodes."""
NEWTON_STEPS = 12  # usually 4 to 7 reach rounding error; 20 000 scores built to be slow took 12
SORTED = 256  # number of largest scores that are sorted first; few rows have a larger support

Solve = Callable[[Tensor, Any], Tensor]
"""Solver: (x, power) -> [x - tau]_+^power, which sums to 1 up to rounding; the largest x is 0."""


def entmax(scores: Tensor, alpha: Tensor | float) -> Tensor:
    """Return alpha-entmax of each row, with its analytic gradient.

    It is computed by sorting for alpha = 1.5 and 2, where tau has a closed form, else by Newton's method.

    Args:
        scores: Scores (..., V), in at least fp32.
        alpha: A number, or a tensor that broadcasts to the scores and may have a gradient.

    Returns:
        Probabilities (..., V).
    """
    solve = by_sorting if isinstance(alpha, float) and alpha in (1.5, 2.0) else by_newton
    weights: Tensor = _Entmax.apply(scores, alpha, solve)  # type: ignore[no-untyped-call]  # torch leaves it without types
    return weights


class _Entmax(torch.autograd.Function):
    """Alpha-entmax with its analytic gradient.

    Gradient (Peters 2019, proposition 2; Correia 2019, proposition 1), with s_i = p_i^(2 - alpha), p^ = s / sum s and
    h = -p log p:
    dL/dz = s (g - p^ . g), dp/dalpha = (p - p^) / (alpha - 1)^2 + (h - p^ sum h) / (alpha - 1).
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, alpha: Tensor | float, solve: Solve) -> Tensor:
        x = (alpha - 1.0) * (scores - scores.amax(-1, keepdim=True))
        # tau is at least -1, so that every x below -1 has weight 0.
        weights = solve(x.clamp_(min=-2.0), 1.0 / (alpha - 1.0))
        # Remove the rounding error of the solver.
        weights /= weights.sum(-1, keepdim=True)
        ctx.fixed = None if isinstance(alpha, Tensor) else alpha
        ctx.save_for_backward(weights, *([alpha] if isinstance(alpha, Tensor) else []))
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        weights, *learned = ctx.saved_tensors
        alpha = learned[0] if learned else ctx.fixed
        # Compute the gradient of the scores: s (g - p^ . g).
        slope = torch.where(weights > 0, weights.pow(2.0 - alpha), 0.0)
        share = slope / slope.sum(-1, keepdim=True)
        of_scores = slope * (grad - (share * grad).sum(-1, keepdim=True))
        if not ctx.needs_input_grad[1]:
            return of_scores, None, None
        # Compute the gradient of alpha.
        entropy = -torch.xlogy(weights, weights)
        change = (weights - share) / (alpha - 1.0) + entropy - share * entropy.sum(-1, keepdim=True)
        return of_scores, (grad * change / (alpha - 1.0)).sum_to_size(alpha.shape), None


def by_sorting(x: Tensor, power: float) -> Tensor:
    """Solve for power 1 and 2 by sorting (Martins & Astudillo 2016, algorithm 1; Peters 2019, algorithm 2).

    Only the ``SORTED`` largest x are sorted, and all of them in rows whose support may be larger.

    Args:
        x: Scaled scores (..., V), of which the largest of a row is 0.
        power: 1 / (alpha - 1).
    """
    if x.shape[-1] <= SORTED:
        return (x - _threshold(x.sort(-1, descending=True).values, power)[0]).clamp_(min=0.0).pow(power)
    tau, support = _threshold(x.topk(SORTED, -1).values, power)
    rows = (support == SORTED).squeeze(-1)
    if rows.any():
        tau[rows] = _threshold(x[rows].sort(-1, descending=True).values, power)[0]
    return (x - tau).clamp_(min=0.0).pow(power)


def _threshold(ordered: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """Return tau and the size of the support (..., 1), from the largest x of each row in falling order.

    For each number n of largest x there is a tau in closed form. The right n is the last one whose n largest x all
    exceed their tau.
    """
    # Compute a tau for each number of largest x.
    count = torch.arange(1, ordered.shape[-1] + 1, device=ordered.device, dtype=ordered.dtype)
    mean = ordered.cumsum(-1) / count
    below = 1.0 / count
    if power == 2.0:
        below = (below - ordered.square().cumsum(-1) / count + mean.square()).clamp_(min=0.0).sqrt()
    tau = mean - below
    # Choose the tau of the last number whose x exceed it.
    support = (ordered > tau).sum(-1, keepdim=True)
    return tau.gather(-1, support - 1), support


def by_newton(x: Tensor, power: Tensor | float) -> Tensor:
    """Solve for any power > 1 with Newton's method.

    Newton's steps solve |[x - tau]_+|_power = 1. The norm is convex in tau, so that the steps rise from tau = -1 to the
    root and do not pass it. Twelve steps do the work of fifty steps of Correia's bisection.

    Args:
        x: Scaled scores (..., V), of which the largest of a row is 0.
        power: 1 / (alpha - 1).
    """
    # Start below the root.
    tau = torch.full_like(x[..., :1], -1.0)
    for _ in range(NEWTON_STEPS):
        gap = (x - tau).clamp_(min=0.0)
        slope = gap.pow(power - 1.0)
        total = (slope * gap).sum(-1, keepdim=True)
        tau += (total - total.pow(1.0 - 1.0 / power)) / slope.sum(-1, keepdim=True)
    return (x - tau).clamp_(min=0.0).pow(power)
