"""Random numbers that depend only on where they are used, so that parts of a sequence draw the numbers of the whole."""

from __future__ import annotations

import torch
from torch import Tensor

BITS = 23  # plus 0.5 makes 24 bits, as many as fp32 holds, so that no number is rounded to 1


def seeds(count: int, device: torch.device) -> Tensor:
    """Draw one seed for each sequence from torch's generator, whose state checkpoints hold.

    Args:
        count: B, number of sequences.
        device: Device of the seeds.

    Returns:
        Seeds (B,), int64.
    """
    return torch.randint(2**62, (count,), dtype=torch.int64).to(device)


def uniform(seed: Tensor, position: Tensor, heads: int, places: Tensor) -> Tensor:
    """Return a number u in (0, 1) for each sequence, head, query and memory position.

    The numbers are a hash of these indices (the finaliser of SplitMix64, Steele, Lea & Flood 2014, figure 17), not a
    stream: any split of T or S gives the same numbers.

    Args:
        seed: Seed of each sequence (B,).
        position: Positions of the queries (B, T).
        heads: H, number of heads.
        places: Positions of the memory (B, S, P).

    Returns:
        Numbers (B, H, T, S), fp32.
    """
    # Mix the seed, the query, the head and the memory position into one hash.
    state = _mix(seed)[:, None, None, None]
    head = torch.arange(heads, device=seed.device)[None, :, None, None]
    for number in (position[:, None, :, None], head, *(axis[:, None, None, :] for axis in places.unbind(-1))):
        state = _mix(state + (number + 1) * -0x61C8864680B583EB)  # 2^64 / golden ratio, as a signed number
    # Turn the upper bits into a number in (0, 1).
    return ((_shifted(state, 64 - BITS)).to(torch.float32) + 0.5) * 2.0**-BITS


def _mix(x: Tensor) -> Tensor:
    """Mix the bits of x: the finaliser of SplitMix64."""
    x = (x ^ _shifted(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shifted(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Return x >> bits for x as an unsigned number."""
    # The shift copies the sign bit, and the mask removes the copies.
    return (x >> bits) & ((1 << (64 - bits)) - 1)
