"""Lightning's loops: where training stands, when it validates, and what a checkpoint says of both."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Timer

from seq2seq.compat import torch as torch_compat

NEVER = 2**62
"""A number of batches that no run reaches, where Lightning takes no None."""

PHASES = {
    "train_dataloader_next": "data",
    "batch_to_device": "transfer",
    "training_step": "forward",
    "backward": "backward",
    "optimizer_step": "update",
}
"""The phases of an update, by the last part of the names that Lightning gives its profiled actions."""

LOGGERS = ("lightning.pytorch", "lightning.fabric", "lightning")
ADVICE = (
    "does not have many workers",
    "smaller than the logging interval",
    "sync_dist=True",
    "dataloader is not resumable",
)
"""Parts of the warnings that do not hold here."""


def ends_update(trainer: L.Trainer) -> bool:
    """Tell whether the batch in training is the last one of an update. Holds in ``on_train_batch_end`` too.

    No public name says so: ``global_step`` is the same before and after an update that was skipped.
    """
    return not trainer.fit_loop.epoch_loop._should_accumulate()


def ends_epoch(trainer: L.Trainer) -> bool:
    """Tell whether the batch in training is the last one of its epoch, also where ``limit_train_batches`` ends it.

    The public ``trainer.is_last_batch`` knows only when the loader is at its end.
    """
    return trainer.fit_loop.epoch_loop._num_ready_batches_reached()


def epoch_batches(trainer: L.Trainer) -> int:
    """Count the batches of this epoch up to the one in training, those before a resumption included."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready


def total_batches(trainer: L.Trainer) -> int:
    """Count the batches of all epochs up to the one in training. Lightning publishes only updates (``global_step``)."""
    return trainer.fit_loop.epoch_loop.batch_progress.total.ready


def set_validation(trainer: L.Trainer, *, is_due: bool) -> None:
    """Make Lightning validate after the batch in training, or not.

    Lightning validates after a batch whose number over all epochs is a multiple of ``val_check_batch``, which it
    derives from the public ``val_check_interval`` once, when training starts. ``check_val_every_n_epoch`` must be None.
    """
    trainer.val_check_batch = total_batches(trainer) if is_due else NEVER


def time_limit(trainer: L.Trainer) -> Timer | None:
    """Return the callback that ends training by the clock, whether a user chose it or ``max_time`` made it.

    ``trainer.callbacks`` is documented, but set from outside the class, where type checkers do not see it.
    """
    return next((callback for callback in vars(trainer)["callbacks"] if isinstance(callback, Timer)), None)


def write_progress(
    checkpoint: dict[str, Any],
    *,
    epoch: int,
    batches: int,
    total_batches: int,
    updates: int,
    ends_epoch: bool,
    validating: bool,
) -> None:
    """Write into a checkpoint's loops where training stands, in place of where Lightning's loops are.

    Lightning counts a batch as begun when it is fetched, and has no public way to say from where a run goes on.

    Args:
        checkpoint: What ``on_save_checkpoint`` is given.
        epoch: The epoch in training, from 0.
        batches: Batches of it that were trained on.
        total_batches: Batches of all epochs that were trained on.
        updates: Optimiser steps of all epochs.
        ends_epoch: Whether the last batch was the epoch's last.
        validating: Whether the validation after it has not ended. Lightning then runs it anew.
    """
    fit = checkpoint["loops"]["fit_loop"]
    _count(fit["epoch_progress"], begun=epoch + 1, done=epoch)
    progress = fit["epoch_loop.batch_progress"]
    _count(progress, begun=batches, done=batches)
    _count({"total": progress["total"]}, begun=total_batches, done=total_batches)
    progress["is_last_batch"] = ends_epoch
    fit["epoch_loop.state_dict"]["_batches_that_stepped"] = updates
    _count(fit["epoch_loop.val_loop.batch_progress"], begun=1, done=1 - validating)


def _count(progress: dict[str, Any], *, begun: int, done: int) -> None:
    for tracker in progress.values():
        if isinstance(tracker, dict):
            tracker.update(ready=begun, started=begun, processed=done, completed=done)


def phase_of(action: str) -> str | None:
    """Return the phase of an update that a profiled action is, one of ``PHASES``, or None.

    Actions are called ``[Strategy]SingleDeviceStrategy.training_step``. Lightning documents no list of them.
    """
    return PHASES.get(action.rsplit(".", 1)[-1])


@contextmanager
def quiet() -> Iterator[None]:
    """Run a block without Lightning's advice. Its warnings have no categories of their own, so their texts are matched.

    What Lightning says of loaders, loggers and devices does not hold here: batches are made and counted otherwise.
    """
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for text in (*ADVICE, *torch_compat.ADVICE):
            warnings.filterwarnings("ignore", message=f".*{text}.*")
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
