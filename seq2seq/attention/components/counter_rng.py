"""Random numbers that are a function of where they are used, so that chunks draw what the whole would."""

from __future__ import annotations

import torch
from torch import Tensor

BITS = 23  # and the half between two numbers, which makes 24: as many as fp32 holds, so that none is rounded to 1


def seeds(count: int, device: torch.device) -> Tensor:
    """One seed a sequence (B,), from torch's generator (whose state checkpoints hold)."""
    return torch.randint(2**62, (count,), dtype=torch.int64).to(device)


def uniform(seed: Tensor, position: Tensor, heads: int, places: Tensor) -> Tensor:
    """u in (0, 1) for each sequence, head, query and memory position: fp32 (B, H, T, S).

    seed (B,), position (B, T) of the queries, places (B, S, P) of the memory. A hash (the finaliser of SplitMix64,
    Steele, Lea & Flood 2014, figure 17) of these numbers, not a stream: any split of T or S draws the same.
    """
    state = _mix(seed)[:, None, None, None]
    head = torch.arange(heads, device=seed.device)[None, :, None, None]
    for number in (position[:, None, :, None], head, *(axis[:, None, None, :] for axis in places.unbind(-1))):
        state = _mix(state + (number + 1) * -0x61C8864680B583EB)  # 2^64 / golden ratio, as a signed number
    return ((_shifted(state, 64 - BITS)).to(torch.float32) + 0.5) * 2.0**-BITS


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shifted(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """x >> bits as if x had no sign."""
    return (x >> bits) & (2 ** (64 - bits) - 1)
