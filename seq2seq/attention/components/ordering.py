"""Relative positions inside the scores of self-attention: rotary and ALiBi.

Shapes: B batch, H heads, T queries, S memory positions, L vectors, D width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seq2seq.layers.tensors import wide_dtype


def rotate(x: Tensor, positions: Tensor, base: float = 10000.0) -> Tensor:
    """Apply rotary positions (RoFormer, Su 2021, section 3.2.2).

    Pair i of x at position m is rotated by the angle m base^(-2i/D), so that q . k depends only on the distance. A pair
    is two neighbouring elements: (x_0, x_1), (x_2, x_3) ... Angles are in at least fp32.

    Args:
        x: Queries or keys (B, H, L, D).
        positions: Positions (B, L).
        base: Base of the angles.

    Returns:
        Rotated vectors (B, H, L, D).
    """
    exact = wide_dtype(x.dtype)
    # Compute the angle of each pair.
    pair = torch.arange(0, x.shape[-1], 2, device=x.device, dtype=exact)
    angle = positions.to(exact)[:, None, :, None] * base ** (-pair / x.shape[-1])  # (B, 1, L, D/2)
    cos, sin = angle.cos(), angle.sin()
    # Rotate each pair.
    even, odd = x[..., 0::2].to(exact), x[..., 1::2].to(exact)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2).to(x.dtype)


def alibi(query_position: Tensor, memory_position: Tensor, heads: int) -> Tensor:
    """Return ALiBi's bias of the scores, (B, H, T, S).

    -m_h |i - j|, m_h = 2^(-8 h / H), h = 1..H (Press 2022, section 3).

    Args:
        query_position: Positions of the queries (B, T).
        memory_position: Positions of the memory (B, S).
        heads: H, number of heads.
    """
    head = torch.arange(1, heads + 1, device=query_position.device)
    # Give each head its own slope.
    slope = torch.exp2(-8.0 * head / heads)[None, :, None, None]
    distance = (query_position[:, None, :, None] - memory_position[:, None, None, :]).abs()
    return -slope * distance
