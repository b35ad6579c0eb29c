"""Tests of alpha-entmax of wide rows, of which only the largest scores are sorted (other rows: ``normalizers``)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seq2seq.layers.entmax import SORTED, entmax
from tests.catalogue import noise


def by_bisection(z: Tensor, alpha: float) -> Tensor:
    """Return alpha-entmax from its definition: halve an interval around tau until it is as short as the rounding."""
    x = (alpha - 1) * z.double()
    low, high = x.amax(-1, keepdim=True) - 1, x.amax(-1, keepdim=True)
    for _ in range(80):
        tau = (low + high) / 2
        total = (x - tau).clamp(min=0).pow(1 / (alpha - 1)).sum(-1, keepdim=True)
        low, high = torch.where(total >= 1, tau, low), torch.where(total >= 1, high, tau)
    return (x - low).clamp(min=0).pow(1 / (alpha - 1))


@pytest.mark.parametrize("alpha", [1.2, 1.5, 2.0])
@pytest.mark.parametrize("scale", [0.0, 1e-4, 0.3, 3.0])
def test_wide_rows_by_bisection(alpha: float, scale: float) -> None:
    """The support of a row may be larger than the part that is sorted first: at scale 0 it is the whole row."""
    z = scale * noise(4, 3, 4 * SORTED)
    z[1] *= 1e5 if scale == 1e-4 else 1  # in the same batch, rows with a small support
    p = entmax(z, alpha)
    torch.testing.assert_close(p, by_bisection(z, alpha), rtol=1e-7, atol=1e-9)
    if scale <= 1e-4:
        assert (p[0] > 0).sum(-1).min() > SORTED
    if scale:
        assert alpha == 1.2 or (p[1] > 0).sum(-1).max() < SORTED


def test_ties_share_their_probability() -> None:
    z = torch.full((1, 2 * SORTED), -9.0)
    z[0, :8] = 1.0
    for alpha in (1.3, 1.5, 2.0):
        assert entmax(z, alpha)[0, :9].tolist() == pytest.approx([1 / 8] * 8 + [0.0])


def test_gradient_of_wide_rows() -> None:
    z = (0.2 * noise(2, SORTED + 40)).requires_grad_()
    for alpha in (1.5, 2.0):
        torch.autograd.gradcheck(lambda x, alpha=alpha: entmax(x, alpha), z)
