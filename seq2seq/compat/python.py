"""What Python's own library does without saying so."""

from __future__ import annotations

import csv
from multiprocessing import resource_tracker


def start_resource_tracker() -> None:
    """Start the process that ``multiprocessing`` starts with the first spawned one.

    When it is started, it unblocks SIGINT in the thread that starts it, whatever mask was set.
    """
    resource_tracker.ensure_running()


def is_overlong_cell(error: csv.Error) -> bool:
    """Tell whether a cell was longer than ``csv.field_size_limit``. The errors of ``csv`` are all of one type."""
    return "limit" in str(error)
