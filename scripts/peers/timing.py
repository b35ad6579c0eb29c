"""What a piece of work costs: time, and the memory that it keeps for backward."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, UntypedStorage

Work = Callable[[], Any]


def seconds(work: Work, repeats: int = 1) -> float:
    """Of one call, the mean of ``repeats``."""
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - began) / repeats


def repeats(work: Work, least: float) -> int:
    """Calls that take ``least`` seconds together; the first of all is left out, which warms up."""
    work()
    return max(1, round(least / seconds(work)))


def saved(work: Work, beside: Iterable[Tensor] = ()) -> int:
    """Bytes that autograd keeps of ``work`` until its backward pass, but for ``beside`` (inputs, parameters)."""
    kept: dict[int, UntypedStorage] = {}  # held, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = work()
    given = {tensor.untyped_storage().data_ptr() for tensor in beside}
    size = sum(storage.nbytes() for place, storage in kept.items() if place not in given)
    del result  # what is freed with its graph was counted
    return size
