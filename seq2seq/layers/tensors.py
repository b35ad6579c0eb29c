"""Small tensor operations that layers and attention mechanisms share."""

from __future__ import annotations

import torch
from torch import Tensor


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type for sums, exponents and positions: the given type, but at least fp32.

    Args:
        dtype: Type of a tensor.
    """
    return torch.promote_types(dtype, torch.float32)


def widen(x: Tensor) -> Tensor:
    """Return x in at least fp32.

    Args:
        x: Tensor of any shape.
    """
    return x.to(wide_dtype(x.dtype))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Split the last dimension into heads.

    Args:
        x: Vectors (B, L, H D).
        heads: Number H of heads.

    Returns:
        Vectors of each head (B, H, L, D).
    """
    return torch.unflatten(x, -1, (heads, -1)).transpose(1, 2)
