"""Lightning's loops: the progress of training, the time of validation, and the records of both in a checkpoint."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Callback, Timer

from seq2seq.compat import torch as torch_compat

NEVER = 2**62
"""Number of batches that no run reaches, for options of Lightning that can't be None."""

PHASES = {
    "train_dataloader_next": "data",
    "batch_to_device": "transfer",
    "training_step": "forward",
    "backward": "backward",
    "optimizer_step": "update",
}
"""Phases of an update, by the last part of the names of Lightning's profiled actions."""

LOGGERS = ("lightning.pytorch", "lightning.fabric", "lightning")
ADVICE = (
    "does not have many workers",
    "smaller than the logging interval",
    "sync_dist=True",
    "dataloader is not resumable",
)
"""Parts of the warnings that do not apply to this project."""


def ends_update(trainer: L.Trainer) -> bool:
    """Return whether the current batch is the last one of an update, also in ``on_train_batch_end``.

    No public name tells it: ``global_step`` is the same before and after an update that was skipped.

    Args:
        trainer: Trainer that is training.
    """
    return not trainer.fit_loop.epoch_loop._should_accumulate()


def ends_epoch(trainer: L.Trainer) -> bool:
    """Return whether the current batch is the last one of its epoch, also if ``limit_train_batches`` ends the epoch.

    The public ``trainer.is_last_batch`` only tells when the loader is at its end.

    Args:
        trainer: Trainer that is training.
    """
    return trainer.fit_loop.epoch_loop._num_ready_batches_reached()


def epoch_batches(trainer: L.Trainer) -> int:
    """Return the number of batches of this epoch, with the current one and those before a resumption.

    Args:
        trainer: Trainer that is training.
    """
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready


def total_batches(trainer: L.Trainer) -> int:
    """Return the number of batches of all epochs, with the current one.

    The public ``global_step`` counts only updates.

    Args:
        trainer: Trainer that is training.
    """
    return trainer.fit_loop.epoch_loop.batch_progress.total.ready


def set_validation(trainer: L.Trainer, *, is_due: bool) -> None:
    """Make Lightning validate after the current batch, or not.

    Lightning validates after a batch whose number over all epochs is a multiple of ``val_check_batch``. It computes
    ``val_check_batch`` from the public ``val_check_interval`` only once, at the start of training.

    Args:
        trainer: Trainer that is training, with ``check_val_every_n_epoch=None``.
        is_due: Whether to validate.
    """
    trainer.val_check_batch = total_batches(trainer) if is_due else NEVER


def attach(
    trainer: L.Trainer, directory: Path, files: CheckpointIO, callbacks: Sequence[Callback], checkpoints: Callback
) -> None:
    """Give a trainer the directory, the callbacks and the checkpoints of a run.

    The trainer is built when a command is checked. At that time no directory may be made, but Lightning takes these
    options only in its constructor. The order of the callbacks becomes: ``callbacks``, those that the trainer made
    itself (``max_time``), ``checkpoints``.

    Args:
        trainer: Trainer that was built with ``logger=False`` and ``enable_checkpointing=False``.
        directory: New ``default_root_dir``.
        files: Object that writes and reads checkpoints.
        callbacks: Callbacks in the order in which they are called.
        checkpoints: Callback that is called last.
    """
    vars(trainer)["_default_root_dir"] = str(directory)
    trainer.strategy.checkpoint_io = files
    vars(trainer)["callbacks"] = [*callbacks, *vars(trainer)["callbacks"], checkpoints]


def time_limit(trainer: L.Trainer) -> Timer | None:
    """Return the callback that ends training after some time, made by a user or by ``max_time``; None without one.

    ``trainer.callbacks`` is documented, but type checkers do not see it, because it is set from outside the class.

    Args:
        trainer: Trainer.
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
    """Write the progress of training into the loops of a checkpoint, in place of Lightning's own counts.

    Lightning counts a batch as started when it is fetched, and has no public way to set where a run is resumed.

    Args:
        checkpoint: Argument of ``on_save_checkpoint``.
        epoch: Current epoch, from 0.
        batches: Batches of this epoch that were trained on.
        total_batches: Batches of all epochs that were trained on.
        updates: Optimiser steps of all epochs.
        ends_epoch: Whether the last batch was the last one of its epoch.
        validating: Whether the validation after the last batch has not ended; Lightning then repeats it.
    """
    fit = checkpoint["loops"]["fit_loop"]
    # Set the counts of epochs and batches.
    _count(fit["epoch_progress"], begun=epoch + 1, done=epoch)
    progress = fit["epoch_loop.batch_progress"]
    _count(progress, begun=batches, done=batches)
    _count({"total": progress["total"]}, begun=total_batches, done=total_batches)
    progress["is_last_batch"] = ends_epoch
    # Set the counts of updates and validations.
    fit["epoch_loop.state_dict"]["_batches_that_stepped"] = updates
    _count(fit["epoch_loop.val_loop.batch_progress"], begun=1, done=1 - validating)


def _count(progress: dict[str, Any], *, begun: int, done: int) -> None:
    """Set the counters of one loop: what has been started and what has been completed."""
    for tracker in progress.values():
        if isinstance(tracker, dict):
            tracker.update(ready=begun, started=begun, processed=done, completed=done)


def phase_of(action: str) -> str | None:
    """Return the phase of an update to which a profiled action belongs, or None.

    Args:
        action: Name of the action, such as ``[Strategy]SingleDeviceStrategy.training_step``. Lightning documents no
            list of these names.
    """
    return PHASES.get(action.rsplit(".", 1)[-1])


@contextmanager
def quiet() -> Iterator[None]:
    """Run a block without Lightning's advice on loaders, loggers and devices.

    The advice does not apply, because this project makes and counts batches differently. The warnings are recognised by
    their texts, because they have no categories of their own.
    """
    # Suppress advice both in logs and in warnings.
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
