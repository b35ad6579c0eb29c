"""Extent of a training: its planned updates, and the share of it that is done."""

from __future__ import annotations

import math

import lightning as L

from seq2seq.compat.lightning import time_limit


def updates(trainer: L.Trainer) -> int | None:
    """Return the number of updates of the run, or None if it is unknown.

    Args:
        trainer: Trainer that is training.
    """
    total = trainer.estimated_stepping_batches
    return int(total) if 0 < total < math.inf else None


def seconds_left(trainer: L.Trainer) -> float | None:
    """Return the seconds until ``trainer.max_time`` ends training, at least 0; None without a limit.

    Args:
        trainer: Trainer that is training.
    """
    timer = time_limit(trainer)
    remaining = None if timer is None else timer.time_remaining()
    return None if remaining is None else max(0.0, remaining)


def share_done(trainer: L.Trainer) -> float | None:
    """Return the share of training that is done (0..1), by updates or by time; None if no end is known.

    Args:
        trainer: Trainer that is training.
    """
    shares = []
    if (total := updates(trainer)) is not None:
        shares.append(trainer.global_step / total)
    if (timer := time_limit(trainer)) is not None and (left := seconds_left(trainer)) is not None:
        elapsed = timer.time_elapsed()
        shares.append(elapsed / max(elapsed + left, 1e-9))
    return min(1.0, max(shares)) if shares else None
