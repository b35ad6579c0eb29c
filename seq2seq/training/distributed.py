"""Communication between the processes of a training; a single process communicates with nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

T = TypeVar("T")


def is_distributed() -> bool:
    """Tell whether this process is one of a group of several."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def all_gather(item: T) -> list[T]:
    """Return the objects of all processes, by rank. All must call."""
    if not is_distributed():
        return [item]
    items: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(items, item)
    return items


def broadcast(value: T) -> T:
    """Return the object of rank 0. All must call."""
    if not is_distributed():
        return value
    holder: list[Any] = [value]
    dist.broadcast_object_list(holder, src=0)
    return holder[0]


def all_reduce_sum(values: list[float], device: torch.device) -> list[float]:
    """Return the elementwise sum over the processes. All must call, with as many values."""
    if not is_distributed():
        return values
    sums: Tensor = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(sums)
    return sums.tolist()


def all_reduce_mean(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over the processes, in place. All must call, with as many tensors."""
    if not is_distributed() or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, mean in zip(tensors, (flat / dist.get_world_size()).split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def rank() -> int:
    """Return the rank of this process in its group."""
    return dist.get_rank() if is_distributed() else 0
