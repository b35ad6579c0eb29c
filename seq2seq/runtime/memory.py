"""Memory of the process: keep freed memory for the next step, return it between phases, and measure the peak."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from seq2seq.compat.torch import memory_changes

# Constants from malloc.h of glibc.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
GIBIBYTE, MEBIBYTE = 1 << 30, 1 << 20


def keep_freed() -> None:
    """Let this process keep freed memory until ``give_back`` is called.

    glibc maps memory for each large tensor and unmaps it when the tensor is freed. Every step on a CPU then pays for
    the same pages again, which takes a fifth of the time of a small model. There is no effect with other allocators
    or on a GPU.
    """
    # Use the heap for large tensors too, shrink it late, and grow it in large steps.
    _glibc("mallopt", M_MMAP_MAX, 0)
    _glibc("mallopt", M_TRIM_THRESHOLD, GIBIBYTE)
    _glibc("mallopt", M_TOP_PAD, 64 * MEBIBYTE)


def give_back() -> None:
    """Return free memory to the system; steps of many shapes would otherwise spread over more and more pages."""
    _glibc("malloc_trim", 0)


def reset_peak() -> None:
    """Restart the measurement of ``peak``."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # only Linux has this file, and not in every container
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def peak() -> int | None:
    """Return the largest memory in use since ``reset_peak``, in bytes.

    It is the memory of tensors if a GPU was used, else the memory of the process; None if it is unknown.
    """
    if torch.cuda.is_available() and (used := torch.cuda.max_memory_allocated()):
        return used
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    # VmHWM is the peak of resident memory, in KiB.
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def allocated(work: Callable[[], object]) -> int:
    """Return the largest main memory that tensors of ``work`` use at once, in bytes.

    The profiler of torch counts the allocations. Other programs, freed pages, imports and earlier work have no
    influence.

    Args:
        work: Function to measure.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    return max(accumulate(memory_changes(profiler), initial=0))


def allocated_on_gpu(work: Callable[[], object]) -> int:
    """Return the largest memory of the current GPU that ``work`` uses at once, in bytes.

    Args:
        work: Function to measure.
    """
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated() - before


def _glibc(name: str, *args: int) -> None:
    """Call a function of glibc if the C library has it (musl does not)."""
    function = getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
    if function is not None:
        function(*args)
