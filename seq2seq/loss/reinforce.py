"""REINFORCE: how a mechanism that draws its weights learns from the cost of what it drew.

Shapes: B batch, T target tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reinforce:
    """The term of one batch and what is known of its costs."""

    term: Tensor  # sum_b (C_b - b) sum_t log a_t[s_t]
    variance: Tensor  # of C_b - b over the sentences that have a target
    costs: Tensor  # (2,): sum_b C_b, and the number of sentences that have a target


def reinforce(per_token: Tensor, log_prob: Tensor, mask: Tensor, baseline: Tensor) -> Reinforce:
    """Return the term whose gradient is that of the expected cost (Xu 2015, equation 11; Williams 1992).

    Args:
        per_token: (B, T), the cost of each token, smoothed as what is minimised, without a gradient.
        log_prob: (B, T), log a_t[s_t] of what was drawn.
        mask: (B, T), where there is a target.
        baseline: The scalar b.
    """
    cost, has_target = per_token.sum(1), mask.any(1)
    term = ((cost - baseline) * (log_prob * mask).sum(1)).sum()
    costs = torch.stack((cost.sum(), has_target.sum()))
    return Reinforce(term, _variance(cost - baseline, has_target), costs)


def _variance(x: Tensor, real: Tensor) -> Tensor:
    """Return the variance of the values x (B,) where ``real``."""
    count = real.sum().clamp(min=1)
    mean = (x * real).sum() / count
    return ((x - mean).square() * real).sum() / count
