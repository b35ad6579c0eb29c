"""What follows the data where the config leaves it open: the tokens of a batch, and when training ends."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from omegaconf import DictConfig

from seq2seq.data.corpus import Corpus
from seq2seq.training.budget import processes

log = logging.getLogger(__name__)

EPOCHS, MOST_EPOCHS = 30, 100
"""Passes over the training split: the usual number, and that of sets which have few updates an epoch."""
FEWEST, MOST = 2_000, 100_000
"""Updates: a training of fewer gets more epochs, one of more gets fewer."""


def planned_epochs(updates: int) -> int:
    """Return the epochs of a training with so many ``updates`` an epoch.

    They are 30; more where that is under 2,000 updates, up to 100; and fewer where it is over 100,000.
    """
    wanted = min(max(EPOCHS, math.ceil(FEWEST / updates)), MOST_EPOCHS)
    return max(1, min(wanted, MOST // updates))


def planned(config: DictConfig, corpus: Corpus) -> DictConfig:
    """Return ``config`` with the batch size that ``corpus`` has and with an end of training, and log both in one line.

    ``trainer.max_epochs`` is planned where it is null and ``trainer.max_steps``, which a budget sets, is -1.
    ``trainer.max_time`` may end training before.
    """
    trainer, planned_config = config.trainer, config.copy()
    updates = None if corpus.streaming else updates_of(config, corpus)
    if trainer.get("max_epochs") is None and trainer.get("max_steps", -1) == -1:
        planned_config.trainer.max_epochs = EPOCHS if updates is None else planned_epochs(updates)
    planned_config.data.max_tokens = corpus.max_tokens
    log.info("%s", summary(planned_config.trainer, corpus.max_tokens, updates))
    return config if planned_config == config else planned_config


def updates_of(config: DictConfig, corpus: Corpus) -> int:
    """Return the number of updates of an epoch; the training split must not be streamed."""
    batches = math.ceil(corpus.epoch()[0] / processes(config))
    limit = config.trainer.get("limit_train_batches")
    if limit is not None:
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    return max(1, math.ceil(batches / int(config.trainer.get("accumulate_grad_batches") or 1)))


def summary(trainer: DictConfig, max_tokens: int, updates: int | None) -> str:
    """Return the line that says how large batches are and when training ends.

    Args:
        trainer: The node of the config; each of its ends may be open.
        max_tokens: Of a batch.
        updates: Of an epoch; None where it is not known.
    """
    epochs, steps, time = trainer.get("max_epochs") or -1, trainer.get("max_steps", -1), trainer.get("max_time")
    line = f"batches of {max_tokens:,} tokens" + (f", {_counted(updates)} an epoch" if updates else "")
    total = epochs * updates if updates and epochs > 0 else math.inf
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
    """Return a number of things in words."""
    return f"{number:,} {noun}" + "s" * (number != 1)


def _duration(time: str | Mapping[str, float]) -> str:
    """Return ``trainer.max_time`` in words: DD:HH:MM:SS, or a number of each of several units."""
    return time if isinstance(time, str) else " ".join(f"{number:g} {unit}" for unit, number in time.items())
