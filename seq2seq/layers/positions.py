"""Absolute positions that are added to embeddings.

Relative positions act in the attention scores (``attention/components/ordering.py``).

Shapes: T positions, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Sinusoidal(nn.Module):
    """Sinusoidal positions PE(t, 2i) = sin(t / 10000^(2i/D)), PE(t, 2i+1) = cos(t / 10000^(2i/D)).

    The formula is that of Vaswani 2017, section 3.5. Angles are computed in fp64 for every type of model. A buffer of
    frequencies would be converted together with the model and lose precision.

    Args:
        dim: Width D, an even number.

    Raises:
        ValueError: ``dim`` is odd.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"dim={dim} must be even for sinusoidal positions")
        self.dim = dim

    def forward(self, positions: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the encodings of positions.

        Args:
            positions: Positions of any shape (...).
            dtype: Type of the result.

        Returns:
            Encodings (..., D).
        """
        widest = torch.float32 if positions.device.type == "mps" else torch.float64  # the GPU of a Mac lacks float64
        pair = torch.arange(0, self.dim, 2, device=positions.device, dtype=widest)
        angle = positions.unsqueeze(-1) * 10000.0 ** (-pair / self.dim)
        return torch.stack((angle.sin(), angle.cos()), -1).flatten(-2).to(dtype)


class Learned(nn.Module):
    """Learned positions: one vector for each position (Gehring 2017, section 3.1).

    Args:
        dim: Width D.
        max_length: Number of positions.
    """

    def __init__(self, dim: int, max_length: int) -> None:
        super().__init__()
        self.table = nn.Embedding(max_length, dim)
        nn.init.normal_(self.table.weight, std=dim**-0.5)

    def forward(self, positions: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the vectors of positions.

        Args:
            positions: Positions (T,) long, each less than ``max_length``.
            dtype: Type of the result.

        Returns:
            Vectors (T, D).
        """
        vectors: Tensor = self.table(positions)
        return vectors.to(dtype)
