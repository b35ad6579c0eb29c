"""Tests of the residual network: it equals its formulas."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seq2seq.encoders.cnn import ResidualBlock
from tests.catalogue import noise


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(3, 3, 1), (3, 5, 1), (3, 5, 2)])
def test_residual_block_equals_its_formula(inputs: int, outputs: int, stride: int) -> None:
    """x + f(x) if the sizes stay; else shortcut and convolutions read the same activation (He 2016, figure 1b)."""
    block = ResidualBlock(inputs, outputs, stride, lambda width: nn.GroupNorm(1, width)).double().eval()
    x = noise(2, inputs, 8, 8)
    activated = torch.relu(block.norms[0](x))
    first, second = block.convolutions
    residual = second(torch.relu(block.norms[1](first(activated))))
    shortcut = x if (inputs, stride) == (outputs, 1) else block.shortcut(activated)
    torch.testing.assert_close(block(x, nn.Identity(), nn.Identity()), shortcut + residual)
