"""REINFORCE: how a mechanism that draws its weights learns from the cost of what it drew.

Shapes: B batch, T target tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seq2seq.attention.components.selections import Credit, Estimator


@dataclass(frozen=True)
class Reinforce:
    """The term of one batch and what is known of its costs."""

    term: Tensor  # sum_b sum_t A_bt log a_bt[s_bt], A the advantage
    variance: Tensor  # of A over tokens, those of a sentence together counting 1
    costs: Tensor  # (2,): the credit, summed over sentences of which each counts by its mean, and their number


def reinforce(
    per_token: Tensor,
    log_prob: Tensor,
    mask: Tensor,
    baseline: Tensor,
    expected: Tensor | None = None,
    credit: Credit = "sentence",
) -> Reinforce:
    """Return the term whose gradient is that of the expected cost (Xu 2015, equation 11; Williams 1992).

    Args:
        per_token: (B, T), the cost of each token, smoothed as what is minimised, without a gradient.
        log_prob: (B, T), log a_t[s_t] of what was drawn.
        mask: (B, T), where there is a target.
        baseline: The scalar b, taken off the credit.
        expected: (B, T), costs taken off ``per_token`` before they are credited; None = 0.
        credit: Which costs a draw answers for.
    """
    credits = credited(per_token, credit, mask)
    advantage = credits - baseline if expected is None else credits - credited(expected, credit, mask) - baseline
    term = (advantage * log_prob * mask).sum()
    share = mask / mask.sum(1, keepdim=True).clamp(min=1)  # of a token in its sentence
    costs = torch.stack(((credits * share).sum(), mask.any(1).sum()))
    return Reinforce(term, _variance(advantage, share), costs)


def credited(costs: Tensor, credit: Credit, mask: Tensor) -> Tensor:
    """Return what the draw of each token answers for (B, T), from the cost of each token (B, T)."""
    costs = costs * mask
    if credit == "token":
        return costs
    if credit == "to_go":
        return costs.flip(1).cumsum(1).flip(1)
    total = costs.sum(1, keepdim=True)
    if credit == "mean":
        total = total / mask.sum(1, keepdim=True).clamp(min=1)
    return total.expand_as(costs)


def baselines(costs: Sequence[Tensor], reference: Tensor | None, estimator: Estimator) -> list[Tensor | None]:
    """Return for each draw the costs (B, T) that it is compared with; None = 0.

    A pass that stayed alone because it is soft is compared with itself: another one would cost the same.

    Args:
        costs: (B, T) of each draw.
        reference: (B, T) of the pass that is the baseline, if there is one.
        estimator: ``leave_one_out`` compares a draw with the mean of the others.
    """
    if estimator.baseline == "leave_one_out" and len(costs) > 1:
        total = torch.stack(list(costs)).sum(0)
        return [(total - own) / (len(costs) - 1) for own in costs]
    if estimator.baseline in ("none", "moving"):
        return [None] * len(costs)
    return list(costs) if reference is None else [reference] * len(costs)


def _variance(x: Tensor, share: Tensor) -> Tensor:
    """Return the variance of x (B, T), each value counting by its ``share``."""
    count = share.sum().clamp(min=1)
    mean = (x * share).sum() / count
    return ((x - mean).square() * share).sum() / count
