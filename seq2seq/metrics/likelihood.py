"""What a teacher-forced pass says: how surprised the model is, and how often its first choice is right."""

from __future__ import annotations

import math


def perplexity(nll: float, tokens: int) -> float:
    """exp(nll / tokens): ``nll`` in nats, summed over ``tokens`` target tokens (``</s>`` among them); inf if too large.

    A figure of one vocabulary: models of different tokenizers don't compare by it.
    """
    try:
        return math.exp(nll / tokens)
    except OverflowError:
        return math.inf


def token_accuracy(correct: int, tokens: int) -> float:
    """correct / tokens, 0-1: the share of target tokens that the model, given those before, ranks first."""
    return correct / tokens
