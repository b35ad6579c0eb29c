"""What several training processes tell each other; of one process, nothing is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

T = TypeVar("T")


def several() -> bool:
    """Whether this process is one of a group."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather(mine: T) -> list[T]:
    """Every process' object, by rank, to every process. All must call."""
    if not several():
        return [mine]
    everyones: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyones, mine)
    return everyones


def from_first(value: T) -> T:
    """Rank 0's object, to every process. All must call."""
    if not several():
        return value
    holder: list[Any] = [value]
    dist.broadcast_object_list(holder, src=0)
    return holder[0]


def total(values: list[float], device: torch.device) -> list[float]:
    """Elementwise sum over the processes. All must call, with as many values."""
    if not several():
        return values
    summed: Tensor = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(summed)
    return summed.tolist()


def average(tensors: Sequence[Tensor]) -> None:
    """Each becomes its mean over the processes, in place. All must call, with as many."""
    if not several() or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, mean in zip(tensors, (flat / dist.get_world_size()).split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def rank() -> int:
    """This process' place in the group."""
    return dist.get_rank() if several() else 0
