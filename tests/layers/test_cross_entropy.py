"""Tests of the cross-entropy: the fused kernel equals the plain formula, which equals PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seq2seq.batch import PAD
from seq2seq.layers.cross_entropy import fused_cross_entropy, plain_cross_entropy
from tests.catalogue import noise

D, V = 5, 11
TARGETS = torch.tensor([3, PAD, 10, 4, PAD, 1, V + 1])  # the last can only be copied
every_smoothing = pytest.mark.parametrize("smoothing", [0.0, 0.1])


def inputs(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return features, weight and bias."""
    shapes = [(len(TARGETS), D), (V, D), (V,)]
    return [noise(*shape, seed=seed, dtype=dtype).requires_grad_() for seed, shape in enumerate(shapes)]


def shares(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return the weight of generation and the copied probability of each target."""
    generated = noise(len(TARGETS), seed=3, dtype=dtype).sigmoid().detach()
    return [generated.requires_grad_(), (0.5 * (1 - generated)).detach().requires_grad_()]


@every_smoothing
def test_plain_equals_pytorch(smoothing: float) -> None:
    """The results equal those of ``F.cross_entropy``, and padding is not counted as correct."""
    features, weight, bias = inputs()
    targets = TARGETS.clamp(max=V - 1)
    found = plain_cross_entropy(features, weight, bias, targets, smoothing=smoothing)
    logits = F.linear(features, weight, bias)
    reduced = {"reduction": "none", "ignore_index": PAD}
    smoothed = F.cross_entropy(logits, targets, label_smoothing=smoothing, **reduced)
    torch.testing.assert_close(found[0], smoothed.sum())
    torch.testing.assert_close(found[1], F.cross_entropy(logits, targets, **reduced).sum().detach())
    assert torch.equal(found[2], (logits.argmax(1) == targets) & (targets != PAD))
    torch.testing.assert_close(found[3], smoothed.detach())


@every_smoothing
@pytest.mark.parametrize("copying", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_fused_equals_plain(dtype: torch.dtype, copying: bool, smoothing: float) -> None:
    """Losses, gradients and the correct predictions in evaluation equal those of the plain formula."""
    leaves = [*inputs(dtype), *(shares(dtype) if copying else [])]
    features, weight, bias, *parts = leaves
    targets = TARGETS if copying else TARGETS.clamp(max=V - 1)
    arguments = features, weight, bias, targets, *(parts or (None, None)), smoothing
    fused, plain = fused_cross_entropy(*arguments), plain_cross_entropy(*arguments)
    torch.testing.assert_close([fused[0], fused[1], fused[3]], [plain[0], plain[1], plain[3]])
    found, expected = (torch.autograd.grad(0.5 * loss, leaves) for loss in (fused[0], plain[0]))
    torch.testing.assert_close(found, expected)
    with torch.no_grad():
        assert torch.equal(fused_cross_entropy(*arguments)[2], plain[2])


def test_fused_equals_plain_under_autocast() -> None:
    """Losses and gradients in bfloat16 are near those of the plain formula."""
    leaves, targets = inputs(torch.float32), TARGETS.clamp(max=V - 1)
    with torch.autocast("cpu", torch.bfloat16):
        losses = [f(*leaves, targets, smoothing=0.1)[0] for f in (fused_cross_entropy, plain_cross_entropy)]
    torch.testing.assert_close(*losses, rtol=0.01, atol=0)
    found, expected = (torch.autograd.grad(loss, leaves) for loss in losses)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02)
