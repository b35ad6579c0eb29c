"""Tests of the additive score: the fused kernel equals the plain formula, which equals values worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from seq2seq.attention.components.additive import fused_additive, plain_additive
from seq2seq.attention.components.scores import Additive
from seq2seq.attention.types import SourceSpec
from seq2seq.layers.plain_kernels import plain_kernels
from tests.attention.walk import close
from tests.catalogue import memory, noise, randomise

B, H, T, S, A = 2, 3, 4, 5, 7


def test_plain_by_hand() -> None:
    """v^T tanh(q + k) of one query and two keys."""
    queries = torch.tensor([[[[1.0, 0.0]]]], dtype=torch.float64)
    keys = torch.tensor([[[[1.0, 2.0], [-1.0, 0.0]]]], dtype=torch.float64)
    found = plain_additive(queries, keys, torch.tensor([[3.0, -1.0]], dtype=torch.float64))
    close(found, torch.tensor([[[[3 * math.tanh(2) - math.tanh(2), 0.0]]]], dtype=torch.float64))


@pytest.mark.parametrize("length", [1, T])
def test_fused_equals_plain(length: int) -> None:
    """The fused kernel and the plain formula have the same values and gradients."""
    leaves = [
        noise(*shape, seed=n).requires_grad_() for n, shape in enumerate([(B, H, length, A), (B, H, S, A), (H, A)])
    ]
    fused, plain = fused_additive(*leaves), plain_additive(*leaves)
    close(fused, plain)
    weight = noise(B, H, length, S, seed=3)
    found, expected = (torch.autograd.grad((scores * weight).sum(), leaves) for scores in (fused, plain))
    for ours, theirs in zip(found, expected, strict=True):
        close(ours, theirs)


def test_score_is_equal_with_either_kernel() -> None:
    """Scores and the gradients of all parameters are equal with the fused kernel and with the plain formula."""
    score = randomise(Additive(4, 6, H, SourceSpec(6), dim=A, bias=True).double())
    queries, keys, weight = noise(B, H, T, 4), noise(B, H, S, 6, seed=1), noise(B, H, T, S, seed=2)

    def results() -> list[torch.Tensor]:
        """Return the scores and the gradients of the parameters."""
        scores = score(queries, score.keys(keys), memory(S, S))
        return [scores, *torch.autograd.grad((scores * weight).sum(), list(score.parameters()))]

    fused = results()
    with plain_kernels():
        plain = results()
    for ours, theirs in zip(fused, plain, strict=True):
        close(ours, theirs)
