"""Small operations on tensors that layers and mechanisms share."""

from __future__ import annotations

import torch
from torch import Tensor


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype for sums, exponents and positions: ``dtype``, but at least fp32."""
    return torch.promote_types(dtype, torch.float32)


def widen(x: Tensor) -> Tensor:
    """Return x in at least fp32."""
    return x.to(wide_dtype(x.dtype))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Split the last dimension into heads: (B, L, H D) -> (B, H, L, D)."""
    return torch.unflatten(x, -1, (heads, -1)).transpose(1, 2)
