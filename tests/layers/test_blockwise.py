"""Test of the blockwise projection: its results and gradients equal those of one projection."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from seq2seq.layers.blockwise import BlockwiseLinear
from tests.catalogue import noise


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [0, 1, 7, 8])
def test_gradients_equal_autograd(rows: int, bias: bool) -> None:
    leaves = [noise(rows, 3).requires_grad_(), noise(4, 3, seed=1).requires_grad_()]
    leaves += [noise(4, seed=2).requires_grad_()] if bias else []
    x, w, *b = leaves
    projection = BlockwiseLinear(x.detach(), w.detach(), b[0].detach() if b else None, train=True)
    projection.rows = 3
    parts = []
    for block, result in projection.blocks():
        parts.append(result)
        projection.add(block, 2 * result)
    expected = F.linear(x, w, b[0] if b else None)
    torch.testing.assert_close(torch.cat(parts), expected.detach())
    gradients = [gradient for gradient in projection.gradients() if gradient is not None]
    torch.testing.assert_close(gradients, list(torch.autograd.grad(expected.square().sum(), leaves)))
