"""REINFORCE: gradient of mechanisms that sample their attention weights, from the costs of the samples.

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
    """REINFORCE term of one batch, with statistics of its costs."""

    term: Tensor  # sum_b sum_t A_bt log a_bt[s_bt], A the advantage
    variance: Tensor  # of A over tokens; each sentence has the total weight 1
    costs: Tensor  # (2,): the sum over sentences of the mean credit of a sentence, and the number of sentences


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
        per_token: Cost of each token (B, T), with the smoothing of the minimised loss, without gradient.
        log_prob: Log-probability of the sample, log a_t[s_t] (B, T).
        mask: Mask (B, T), True at target tokens.
        baseline: Scalar b, subtracted from the credit.
        expected: Costs (B, T) whose credit is subtracted too; None = 0.
        credit: Which costs a sample is responsible for (``Estimator``).

    Returns:
        The term with its statistics.
    """
    # Subtract the baselines from the credit.
    credits = credited(per_token, credit, mask)
    advantage = credits - baseline if expected is None else credits - credited(expected, credit, mask) - baseline
    term = (advantage * log_prob * mask).sum()
    # Measure costs and variance; each sentence counts once, whatever its length.
    share = mask / mask.sum(1, keepdim=True).clamp(min=1)  # of a token in its sentence
    costs = torch.stack(((credits * share).sum(), mask.any(1).sum()))
    return Reinforce(term, _variance(advantage, share), costs)


def credited(costs: Tensor, credit: Credit, mask: Tensor) -> Tensor:
    """Return the costs that the sample of each token is responsible for.

    Args:
        costs: Cost of each token (B, T).
        credit: Which costs are summed for a sample (``Estimator``).
        mask: Mask (B, T), True at target tokens.

    Returns:
        Credit of each token (B, T).
    """
    costs = costs * mask
    if credit == "token":
        return costs
    if credit == "to_go":
        return costs.flip(1).cumsum(1).flip(1)
    # Give every token of a sentence the same credit.
    total = costs.sum(1, keepdim=True)
    if credit == "mean":
        total = total / mask.sum(1, keepdim=True).clamp(min=1)
    return total.expand_as(costs)


def baselines(costs: Sequence[Tensor], reference: Tensor | None, estimator: Estimator) -> list[Tensor | None]:
    """Return the costs that each draw is compared with.

    If the only pass is soft, it is compared with itself: another soft pass would have the same costs.

    Args:
        costs: Costs (B, T) of each draw.
        reference: Costs (B, T) of the pass that is the baseline; None if there is none.
        estimator: Its ``baseline`` selects the comparison: ``leave_one_out`` is the mean of the other draws.

    Returns:
        Costs (B, T) for each draw; None = 0.
    """
    if estimator.baseline == "leave_one_out" and len(costs) > 1:
        total = torch.stack(list(costs)).sum(0)
        return [(total - own) / (len(costs) - 1) for own in costs]
    if estimator.baseline in ("none", "moving"):
        return [None] * len(costs)
    # Without a reference pass, the only pass was soft.
    return list(costs) if reference is None else [reference] * len(costs)


def _variance(x: Tensor, share: Tensor) -> Tensor:
    """Return the variance of ``x`` (B, T), with ``share`` (B, T) as weights."""
    count = share.sum().clamp(min=1)
    mean = (x * share).sum() / count
    return ((x - mean).square() * share).sum() / count
