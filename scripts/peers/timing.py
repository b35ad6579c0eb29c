"""Measurements of a function: its time, and the memory that autograd keeps for backward."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, UntypedStorage

Work = Callable[[], Any]


def seconds(work: Work, repeats: int = 1) -> float:
    """Return the mean time of a call, in seconds.

    Args:
        work: The function.
        repeats: Number of calls.
    """
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - began) / repeats


def repeats(work: Work, least: float) -> int:
    """Return the number of calls that take at least about ``least`` seconds; one more call warms up before.

    Args:
        work: The function.
        least: Total time of the calls, in seconds.
    """
    work()
    return max(1, round(least / seconds(work)))


def saved(work: Work, beside: Iterable[Tensor] = ()) -> int:
    """Return the number of bytes that autograd keeps for the backward pass of a call.

    Args:
        work: The function.
        beside: Tensors that do not count, such as inputs and parameters.
    """
    kept: dict[int, UntypedStorage] = {}  # keep the storages, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = work()

    # Leave out the storages of `beside`.
    given = {tensor.untyped_storage().data_ptr() for tensor in beside}
    size = sum(storage.nbytes() for place, storage in kept.items() if place not in given)
    del result  # its graph had to live until the sizes were counted
    return size
