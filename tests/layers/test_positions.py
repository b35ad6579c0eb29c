"""Tests of absolute positions: they equal their formula."""

from __future__ import annotations

import math

import pytest
import torch

from seq2seq.layers.positions import Learned, Sinusoidal


def test_sinusoidal_equals_the_formula() -> None:
    """sin and cos of t / 10000^(2i / D), alternately."""
    places = [0, 1, 2, 50, 4097]
    found = Sinusoidal(6)(torch.tensor(places), torch.float64)
    for row, t in zip(found.tolist(), places, strict=True):
        angles = [t / 10000 ** (2 * i / 6) for i in range(3)]
        assert row == pytest.approx([f(angle) for angle in angles for f in (math.sin, math.cos)], abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sinusoidal_is_exact_in_low_precision(dtype: torch.dtype) -> None:
    """Casting the model rounds the result, but not the angles."""
    places = torch.arange(1000, 1010)
    exact = Sinusoidal(8)(places, torch.float64)
    torch.testing.assert_close(Sinusoidal(8).to(dtype)(places, dtype), exact.to(dtype))


def test_sinusoidal_needs_an_even_width() -> None:
    with pytest.raises(ValueError, match="dim=7 must be even"):
        Sinusoidal(7)


def test_learned() -> None:
    """Positions are rows of the table."""
    positions = Learned(4, 10)
    assert torch.equal(positions(torch.tensor([3, 9]), torch.float32), positions.table.weight[[3, 9]])
