"""Exact sums over the paths of a Markov chain whose states are alignments: filtering and smoothing.

Shapes: B batch, T steps, J states.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seq2seq.layers.tensors import wide_dtype


def filtered(transitions: Tensor, evidence: Tensor | None, before: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distribution of each state given the words before it, by the forward algorithm.

        f_{t-1}(i) ~ p(a_{t-1} = i | y_<t-1) p(y_{t-1} | a_{t-1} = i)
        p(a_t = j | y_<t) = sum_i f_{t-1}(i) p(a_t = j | a_{t-1} = i)

    A step whose transitions are all 0 is left out of the chain.

    Args:
        transitions: p(a_t = j | a_{t-1} = i) (B, T, J, J), with i before j.
        evidence: log p(y_{t-1} | a_{t-1} = i) (B, T, J); None where no word is known.
        before: p(a_{t-1} = i) of the step before the first (B, J).

    Returns:
        p(a_t = j | y_<t) (B, T, J), and that of the last step in the chain (B, J).
    """
    predictions = []
    for t in range(transitions.shape[1]):
        # Learn from the last word, then make a step. (Autocast would round the result of a matrix product.)
        if evidence is not None:
            before = torch.softmax(log_weights(before) + evidence[:, t], -1)
        after = (before.unsqueeze(2) * transitions[:, t]).sum(1)
        before = torch.where(after.any(-1, keepdim=True), after, before)
        predictions.append(after)
    return torch.stack(predictions, 1), before


def smoothed(joint: Tensor, evidence: Tensor, transitions: Tensor | None, real: Tensor) -> Tensor:
    """Return the posterior of each state given all words, p(a_t = j | y), by the backward algorithm.

        p(a_t = i | y) ~ p(a_t = i, y_t | y_<t) b_t(i),  b_{t-1}(i) = sum_j p(a_t = j | a_{t-1} = i) p(y_t | j) b_t(j)

    Args:
        joint: log p(a_t = j, y_t | y_<t) (B, T, J).
        evidence: log p(y_t | a_t = j) (B, T, J).
        transitions: p(a_t = j | a_{t-1} = i) (B, T, J, J); None where alignments are independent, so that b = 1.
        real: Mask of the steps that are not padding (B, T) bool, with padding at the end.
    """
    rows, backward = [], torch.zeros_like(joint[:, 0])  # log b
    for t in reversed(range(joint.shape[1])):
        rows.append(torch.softmax(joint[:, t] + backward, -1))
        if transitions is None:
            continue
        # Pass the message to the step before. Padding, and steps that are not in the chain, change nothing.
        message = evidence[:, t] + backward
        message = (message - message.amax(-1, keepdim=True)).exp().unsqueeze(1)
        counts = real[:, t] & transitions[:, t].flatten(1).any(-1)
        backward = torch.where(counts.unsqueeze(-1), (transitions[:, t] * message).sum(2).log(), backward)
    return torch.stack(rows[::-1], 1)


def log_weights(weights: Tensor) -> Tensor:
    """Return log a (..., J) in at least fp32, -inf where a is 0.

    A row of zeros gets all its mass at the first position. Weights below the square root of the smallest number count
    as 0, so that 1/a stays finite, multiplied by anything. In fp16, so do weights below 4 divided by the largest
    number, because the gradient 1/a has the data type of a.

    Args:
        weights: Weights a (..., J).
    """
    exact = wide_dtype(weights.dtype)
    min_weight = max(torch.finfo(exact).tiny ** 0.5, 4.0 / torch.finfo(weights.dtype).max)
    weights = weights.to(exact)
    positive = weights > min_weight
    log = torch.where(positive, weights, 1.0).log().masked_fill(~positive, -torch.inf)
    empty = ~positive.any(-1, keepdim=True) & (torch.arange(weights.shape[-1], device=weights.device) == 0)
    return log.masked_fill(empty, 0.0)
