"""Undocumented behaviour of Python's standard library."""

from __future__ import annotations

import csv
from multiprocessing import resource_tracker


def start_resource_tracker() -> None:
    """Start the resource tracker, a process that ``multiprocessing`` otherwise starts with the first spawned process.

    Its start unblocks SIGINT in the current thread, even if a mask blocks the signal.
    """
    resource_tracker.ensure_running()


def is_overlong_cell(error: csv.Error) -> bool:
    """Return whether a cell is longer than ``csv.field_size_limit``. All errors of ``csv`` have the same type.

    Args:
        error: Error of ``csv``.
    """
    return "limit" in str(error)
