"""Absolute positions, added to embeddings. Relative ones act in the scores (``attention/components/ordering.py``).

Shapes: B batch, T positions, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Sinusoidal(nn.Module):
    """PE(t, 2i) = sin(t / 10000^(2i/D)), PE(t, 2i+1) = cos(t / 10000^(2i/D)) (Vaswani 2017, section 3.5).

    Angles are fp64's whatever the model's type: rates in a buffer would be cast with it.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"sinusoidal positions need an even width, got {dim}")
        self.dim = dim

    def forward(self, positions: Tensor, dtype: torch.dtype) -> Tensor:
        """(...,) -> (..., D)."""
        pair = torch.arange(0, self.dim, 2, device=positions.device, dtype=torch.float64)
        angle = positions.unsqueeze(-1) * 10000.0 ** (-pair / self.dim)
        return torch.stack((angle.sin(), angle.cos()), -1).flatten(-2).to(dtype)


class Learned(nn.Module):
    """One vector a position, up to ``max_length`` (Gehring 2017, section 3.1)."""

    def __init__(self, dim: int, max_length: int) -> None:
        super().__init__()
        self.table = nn.Embedding(max_length, dim)
        nn.init.normal_(self.table.weight, std=dim**-0.5)

    def forward(self, positions: Tensor, dtype: torch.dtype) -> Tensor:
        """(T,) -> (T, D)."""
        vectors: Tensor = self.table(positions)
        return vectors.to(dtype)
