"""Communication between the processes of a training; a single process gets its own values back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

T = TypeVar("T")


def is_distributed() -> bool:
    """Return True if this process belongs to a group of several."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def all_gather(item: T) -> list[T]:
    """Return the objects of all processes, by rank. Every process must call this.

    Args:
        item: Object of this process; it must be picklable.
    """
    if not is_distributed():
        return [item]
    items: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(items, item)
    return items


def broadcast(value: T) -> T:
    """Return the object of rank 0. Every process must call this.

    Args:
        value: Object of this process; only that of rank 0 is used.
    """
    if not is_distributed():
        return value
    holder: list[T] = [value]
    dist.broadcast_object_list(holder, src=0)
    return holder[0]


def all_reduce_sum(values: list[float], device: torch.device) -> list[float]:
    """Return the elementwise sum over the processes. Every process must call this, with the same number of values.

    Args:
        values: Values of this process.
        device: Device that the backend of the group communicates from.
    """
    if not is_distributed():
        return values
    # float64 keeps counts exact.
    sums: Tensor = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(sums)
    return sums.tolist()


def all_reduce_mean(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over the processes, in place.

    Every process must call this, with tensors of the same shapes.

    Args:
        tensors: Tensors of this process, all on one device.
    """
    if not is_distributed() or not tensors:
        return
    # Concatenate the tensors, so that a single reduction is enough.
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, mean in zip(tensors, (flat / dist.get_world_size()).split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def rank() -> int:
    """Return the rank of this process in its group."""
    return dist.get_rank() if is_distributed() else 0
