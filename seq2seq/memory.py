"""Keeps the memory that a step frees, for the next step to use."""

from __future__ import annotations

import ctypes
import sys

# glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
GIBIBYTE, MEBIBYTE = 1 << 30, 1 << 20


def keep_freed() -> None:
    """From now on this process gives freed memory back to the system only at its end.

    glibc maps each large tensor anew and unmaps it when it is freed, so that every step on a CPU pays for the same
    pages again: a fifth of the time of a small model. No effect with other allocators, nor on a GPU.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not in musl
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, GIBIBYTE)
        mallopt(M_TOP_PAD, 64 * MEBIBYTE)
