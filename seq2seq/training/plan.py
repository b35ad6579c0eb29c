"""Plan of a training: batch size and number of epochs, from the size of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping

from omegaconf import DictConfig

from seq2seq.data.corpus import Corpus
from seq2seq.training.budget import processes

EPOCHS, MOST_EPOCHS = 30, 100
"""Epochs of a training: the default, and the largest number for small data."""
FEWEST, MOST = 2_000, 100_000
"""Updates of a training: fewer than the first get more epochs, more than the second get fewer."""


def planned_epochs(updates: int) -> int:
    """Return the number of epochs of a training.

    It is 30. If 30 epochs have fewer than 2,000 updates, there are more epochs, up to 100. If they have more than
    100,000 updates, there are fewer epochs.

    Args:
        updates: Number of updates in an epoch.
    """
    wanted = min(max(EPOCHS, math.ceil(FEWEST / updates)), MOST_EPOCHS)
    return max(1, min(wanted, MOST // updates))


def planned(config: DictConfig, corpus: Corpus) -> tuple[DictConfig, str]:
    """Return ``config`` with the batch size of ``corpus`` and with an end of training, and a line that describes both.

    ``trainer.max_epochs`` is planned if it is null and ``trainer.max_steps`` is -1. A budget sets max_steps.
    ``trainer.max_time`` may end training earlier.

    Args:
        config: The composed config of the run.
        corpus: The data.
    """
    # Plan the number of epochs, unless the config ends training.
    trainer, planned_config = config.trainer, config.copy()
    updates = None if corpus.streaming else updates_of(config, corpus)
    if trainer.get("max_epochs") is None and trainer.get("max_steps", -1) == -1:
        planned_config.trainer.max_epochs = EPOCHS if updates is None else planned_epochs(updates)
    # Record the batch size.
    planned_config.data.max_tokens = corpus.max_tokens
    line = summary(planned_config.trainer, corpus.max_tokens, updates)
    return config if planned_config == config else planned_config, line


def updates_of(config: DictConfig, corpus: Corpus) -> int:
    """Return the number of updates in an epoch.

    Args:
        config: The composed config of the run.
        corpus: The data; it must not be streamed.
    """
    batches = math.ceil(corpus.epoch()[0] / processes(config))
    # Lightning may use a part of the batches only.
    limit = config.trainer.get("limit_train_batches")
    if limit is not None:
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    return max(1, math.ceil(batches / int(config.trainer.get("accumulate_grad_batches") or 1)))


def summary(trainer: DictConfig, max_tokens: int, updates: int | None) -> str:
    """Return a line with the batch size and the end of training.

    Args:
        trainer: The ``trainer`` node of the config; each of its limits may be open.
        max_tokens: Number of tokens in a batch.
        updates: Number of updates in an epoch; None if unknown.
    """
    epochs, steps, time = trainer.get("max_epochs") or -1, trainer.get("max_steps", -1), trainer.get("max_time")
    line = f"batches of {max_tokens:,} tokens" + (f", {_counted(updates)} an epoch" if updates else "")
    total = epochs * updates if updates and epochs > 0 else math.inf
    # Report the limit that training reaches first.
    if 0 < steps < total:
        line += f"; {_counted(steps)} in all"
    elif total < math.inf:
        line += f"; {_counted(total)} in all, {_counted(epochs, 'epoch')}"
    elif epochs > 0:
        line += f"; {_counted(epochs, 'epoch')}"
    if time is not None:
        line += f"; at most {_duration(time)}"
    return line


def _counted(number: float, noun: str = "update") -> str:
    """Return a number with its noun, in the plural if needed."""
    return f"{number:,} {noun}" + "s" * (number != 1)


def _duration(time: str | Mapping[str, float]) -> str:
    """Return ``trainer.max_time`` as text: DD:HH:MM:SS, or each number with its unit."""
    return time if isinstance(time, str) else " ".join(f"{number:g} {unit}" for unit, number in time.items())
