"""Tests of Fenchel-Young losses: against their definition, and the fused kernel against the plain formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seq2seq.batch import PAD
from seq2seq.layers.entmax import entmax
from seq2seq.layers.fenchel_young import fenchel_young, fused_fenchel_young, plain_fenchel_young
from tests.catalogue import noise

D, V = 5, 11
TARGETS = torch.tensor([3, PAD, 10, 4, PAD, 1, 7])
every_alpha = pytest.mark.parametrize("alpha", [1.05, 1.3, 1.5, 2.0])


def scores(scale: float = 2.0) -> tuple[Tensor, Tensor]:
    """Return scores of 40 tokens, with targets inside and outside the support."""
    return (scale * noise(40, V)).requires_grad_(), torch.arange(40) % V


def negative_entropy(p: Tensor, alpha: float) -> Tensor:
    """Return Omega(p) = (sum p^alpha - 1) / (alpha (alpha - 1)), minus the entropy of Tsallis."""
    return (p.pow(alpha).sum(-1) - 1) / (alpha * (alpha - 1))


@every_alpha
def test_loss_is_its_definition(alpha: float) -> None:
    """L = max_p (p^T z - Omega(p)) + Omega(e_y) - z_y: no other p gives more than alpha-entmax."""
    z, y = scores()
    loss, p = fenchel_young(z, y, alpha)
    value = (p * z).sum(-1) - negative_entropy(p, alpha)
    torch.testing.assert_close(loss, value - z.gather(1, y[:, None]).squeeze(1))
    others = torch.distributions.Dirichlet(torch.full((V,), 0.3, dtype=z.dtype)).sample((500, 1))
    others = torch.cat((others.expand(-1, 40, -1), 0.999 * p + 0.001 * others))
    assert ((others * z).sum(-1) - negative_entropy(others, alpha) <= value + 1e-12).all()


@every_alpha
def test_gradient_is_p_minus_target(alpha: float) -> None:
    z, y = scores()
    (gradient,) = torch.autograd.grad(fenchel_young(z, y, alpha)[0].sum(), z)
    torch.testing.assert_close(gradient, entmax(z, alpha) - F.one_hot(y, V), rtol=1e-12, atol=1e-12)
    if alpha >= 1.3:  # near 1, differences of losses are rounded
        torch.autograd.gradcheck(lambda x: fenchel_young(x, y, alpha)[0], z)


@every_alpha
def test_loss_is_zero_only_at_the_target(alpha: float) -> None:
    """The loss is 0 where the target leads by 1 / (alpha - 1), and positive elsewhere."""
    z, y = scores()
    loss, p = fenchel_young(z, y, alpha)
    sure = p.gather(1, y[:, None]).squeeze(1) == 1
    assert (loss[~sure] > 0).all() and loss[sure].abs().max() < 1e-12 if sure.any() else (loss > 0).all()
    ahead = torch.zeros(1, V, dtype=z.dtype)
    for lead, zero in ((1.001, True), (0.99, False)):
        ahead[0, 4] = lead / (alpha - 1)
        value = fenchel_young(ahead, torch.tensor([4]), alpha)[0].item()
        assert (abs(value) < 1e-12) is (zero or alpha == 1.05)  # with alpha 1.05, p^20 is below rounding


def test_limit_is_cross_entropy() -> None:
    z, y = scores(1.0)
    near, nearer = ((fenchel_young(z, y, alpha)[0] - F.cross_entropy(z, y, reduction="none")) for alpha in (1.02, 1.01))
    assert nearer.abs().max() < 0.06
    torch.testing.assert_close(near / nearer, torch.full_like(near, 2.0), rtol=0.05, atol=0)


@pytest.mark.parametrize(("alpha", "name"), [(1.5, "entmax15_loss"), (2.0, "sparsemax_loss")])
def test_equals_the_entmax_package(alpha: float, name: str) -> None:
    package = pytest.importorskip("entmax")
    z, y = scores()
    torch.testing.assert_close(fenchel_young(z, y, alpha)[0], getattr(package, name)(z, y))


def inputs(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return features, weight and bias."""
    shapes = [(len(TARGETS), D), (V, D), (V,)]
    return [noise(*shape, seed=seed, dtype=dtype).requires_grad_() for seed, shape in enumerate(shapes)]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@every_alpha
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_fused_equals_plain(dtype: torch.dtype, alpha: float, smoothing: float) -> None:
    leaves = inputs(dtype)
    fused, plain = (f(*leaves, TARGETS, alpha, smoothing) for f in (fused_fenchel_young, plain_fenchel_young))
    torch.testing.assert_close(fused[1:], plain[1:])
    torch.testing.assert_close(fused.total, plain.total)
    gradients = [torch.autograd.grad(0.5 * found.total, leaves) for found in (fused, plain)]
    torch.testing.assert_close(*gradients)
    assert fused.unsmoothed[1] == fused.support[4] == 0 and not fused.unsmoothed.requires_grad


def test_fused_over_several_blocks() -> None:
    """The vocabulary is so large that a block contains only four tokens."""
    features, weight = noise(5, 2).requires_grad_(), noise(2**20, 2, seed=1).requires_grad_()
    targets = torch.tensor([5, 2**20 - 1, PAD, 9, 123456])
    fused, plain = (f(features, weight, None, targets, 1.5) for f in (fused_fenchel_young, plain_fenchel_young))
    torch.testing.assert_close(fused.smoothed, plain.smoothed)
    gradients = [torch.autograd.grad(found.total, [features, weight]) for found in (fused, plain)]
    torch.testing.assert_close(*gradients)


def test_smoothed_loss_is_that_of_the_smoothed_target() -> None:
    """Up to the constant Omega(q), the loss is max_p (p^T z - Omega(p)) + Omega(q) - q^T z, q = (1 - e) e_y + e / V."""
    features, weight, bias = (leaf.detach() for leaf in inputs())
    found = plain_fenchel_young(features, weight, bias, TARGETS, 1.5, 0.2)
    z = F.linear(features, weight, bias)
    p, q = entmax(z, 1.5), 0.8 * F.one_hot(TARGETS, V) + 0.2 / V
    expected = (p * z).sum(-1) - negative_entropy(p, 1.5) - (q * z).sum(-1)
    torch.testing.assert_close(found.smoothed, expected * (TARGETS != PAD))


def test_no_tokens() -> None:
    features = torch.zeros(0, D, requires_grad=True)
    found = fused_fenchel_young(features, torch.ones(V, D), None, TARGETS[:0], 1.5)
    assert found.total == 0 and len(found.support) == 0


def test_half_precision_under_autocast() -> None:
    """Products are in bf16, but entmax, sums and gradients are in fp32."""
    leaves = inputs(torch.float32)
    expected = plain_fenchel_young(*leaves, TARGETS, 1.5)
    with torch.autocast("cpu", torch.bfloat16):
        found = fused_fenchel_young(*leaves, TARGETS, 1.5)
    assert found.total.dtype == found.unsmoothed.dtype == torch.float32
    torch.testing.assert_close(found.total, expected.total, rtol=0.02, atol=0)
    gradients = [torch.autograd.grad(one.total, leaves) for one in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=0.05, atol=0.05)
