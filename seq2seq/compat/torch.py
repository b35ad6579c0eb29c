"""PyTorch: operations on lists of tensors, skipped steps of optimisers, the profiler, errors of loader workers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.profiler import profile

ADVICE = ("treespec, LeafSpec", "broadcast_buffers", "Grad strides do not match")
"""Parts of the warnings of training under Lightning about which a user can do nothing."""


def multiply_(tensors: Sequence[Tensor], factor: Tensor) -> None:
    """Multiply each tensor by a scalar in place.

    On a GPU one kernel multiplies all tensors. No public function does that.

    Args:
        tensors: Tensors of any shapes.
        factor: Scalar ().
    """
    torch._foreach_mul_(list(tensors), factor)


def clamp_(tensors: Sequence[Tensor], low: float, high: float) -> None:
    """Clamp all elements to [low, high] in place, on a GPU with one kernel for each bound.

    Args:
        tensors: Tensors of any shapes.
        low: Smallest value.
        high: Largest value.
    """
    torch._foreach_clamp_min_(list(tensors), low)
    torch._foreach_clamp_max_(list(tensors), high)


def interpolate_(tensors: Sequence[Tensor], ends: Sequence[Tensor], share: float) -> None:
    """Interpolate each tensor in place: tensor + share (end - tensor), on a GPU with one kernel.

    Args:
        tensors: Tensors of any shapes.
        ends: Tensors of the same shapes.
        share: Weight of ``ends``.
    """
    torch._foreach_lerp_(list(tensors), list(ends), share)


def can_skip_on_device(optimizer: Optimizer) -> bool:
    """Return whether the optimiser's fused kernel can skip a step on the device (``skip_if``).

    ``torch.amp.GradScaler`` uses the same protocol, but it also scales the loss, and it waits for the device.

    Args:
        optimizer: Optimiser.
    """
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def skip_if(optimizer: Optimizer, is_bad: Tensor) -> None:
    """Make the next step of the optimiser leave weights and moments unchanged if ``is_bad``.

    Args:
        optimizer: Optimiser for which ``can_skip_on_device`` is true.
        is_bad: Boolean scalar () on the device of the weights.
    """
    vars(optimizer).update(found_inf=is_bad.float(), grad_scale=None)


def memory_changes(profiler: profile) -> list[int]:
    """Return the bytes of each allocation in a profile, in order of time; a freed allocation is negative.

    The public ``events()`` sums allocations over each operation, and thus loses the largest sum at any moment.

    Args:
        profiler: Profiler that has run with ``profile_memory``.
    """
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    # Read the raw events, which have one entry for each allocation.
    events: list[Any] = profiler.profiler.kineto_results.events()
    events = [event for event in events if event.name() == "[memory]"]
    return [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]


def worker_error(message: str) -> str | None:
    """Return the message of an error in a worker of a ``DataLoader``, or None for another error.

    The error arrives with its own type. Its message is the traceback of the worker, with the original message as the
    last line.

    Args:
        message: Message of the error that arrived.
    """
    lines = message.strip().splitlines()
    if not lines or "in DataLoader worker process" not in lines[0]:
        return None
    return re.sub(r"^[\w.]+: ", "", lines[-1])
