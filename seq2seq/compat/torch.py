"""PyTorch's operations on lists of tensors, optimisers that skip a step, its profiler, and errors of loader workers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.profiler import profile

ADVICE = ("treespec, LeafSpec", "broadcast_buffers", "Grad strides do not match")
"""Parts of the warnings that training under Lightning sets off, about which a user can do nothing."""


def multiply_(tensors: Sequence[Tensor], factor: Tensor) -> None:
    """Multiply each tensor by a scalar, in place. On a GPU one kernel does it for all, which no public name offers."""
    torch._foreach_mul_(list(tensors), factor)


def clamp_(tensors: Sequence[Tensor], low: float, high: float) -> None:
    """Put all elements into [low, high], in place, likewise."""
    torch._foreach_clamp_min_(list(tensors), low)
    torch._foreach_clamp_max_(list(tensors), high)


def interpolate_(tensors: Sequence[Tensor], ends: Sequence[Tensor], share: float) -> None:
    """Move each tensor by ``share`` of the way to its end, in place, likewise."""
    torch._foreach_lerp_(list(tensors), list(ends), share)


def can_skip_on_device(optimizer: Optimizer) -> bool:
    """Tell whether the optimiser's fused kernel leaves the weights alone where ``skip_if`` says so.

    The protocol is that of ``torch.amp.GradScaler``, which would scale the loss too and wait for the device.
    """
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def skip_if(optimizer: Optimizer, is_bad: Tensor) -> None:
    """Let the next step leave weights and moments alone if ``is_bad``, a boolean scalar on their device."""
    vars(optimizer).update(found_inf=is_bad.float(), grad_scale=None)


def memory_changes(profiler: profile) -> list[int]:
    """Return the bytes of each allocation of a profile with ``profile_memory``, in order, negative where it is freed.

    The public ``events()`` add them up by operation, so that the largest sum at any moment is lost.
    """
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    events: list[Any] = profiler.profiler.kineto_results.events()
    events = [event for event in events if event.name() == "[memory]"]
    return [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]


def worker_error(message: str) -> str | None:
    """Return what an error in a worker of a ``DataLoader`` says, or None where ``message`` is of no such error.

    The error arrives under its own type with the worker's traceback as its message, of which this is the last line.
    """
    lines = message.strip().splitlines()
    if not lines or "in DataLoader worker process" not in lines[0]:
        return None
    return re.sub(r"^[\w.]+: ", "", lines[-1])
