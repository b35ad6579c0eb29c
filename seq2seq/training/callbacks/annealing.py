"""Annealing: values that change during training, such as temperatures, probabilities and coefficients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import nn
from typing_extensions import override

from seq2seq.attention.base import Attention
from seq2seq.compat.lightning import time_limit
from seq2seq.errors import UserError
from seq2seq.training import distributed
from seq2seq.training.module import Training


class Annealing(Callback):
    """Callback that tells mechanisms, pretrained encoders and the criterion the progress of training, from 0 to 1.

    They store the annealed values in buffers, which checkpoints contain. If nothing ends the training, the progress
    stays 0. It is then an error if a value would change.
    """

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find out when training ends: by ``max_steps``, ``max_epochs`` or ``max_time``.

        Raises:
            UserError: A value would change, but nothing ends the training.
        """
        self.steps = float(trainer.estimated_stepping_batches)  # inf or -1 if unknown
        self.timer = time_limit(trainer)
        module = cast(Training, pl_module)
        # Find all modules whose values may change.
        self.mechanisms = [part for part in module.modules() if isinstance(part, Attention)]
        self.encoder, self.criterion = module.model.encoder, module.criterion
        # Check that nothing waits for an unknown end.
        if not 0 < self.steps < math.inf:
            self.steps = math.inf
            if self.timer is None:
                self._refuse(pl_module)

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the progress by updates or by time, whichever is nearer to its end."""
        progress = min(trainer.global_step / self.steps, 1.0)
        # Take the time of rank 0, since the clocks of the processes differ.
        if self.timer is not None:
            elapsed, left = self.timer.time_elapsed(), max(self.timer.time_remaining() or 0.0, 0.0)
            progress = distributed.broadcast(max(progress, elapsed / (elapsed + left)))
            if isinstance(pl_module, Training):
                pl_module.schedule.progress = progress
        # Pass the progress on.
        for mechanism in self.mechanisms:
            mechanism.set_progress(progress)
        self.encoder.set_progress(progress, trainer.global_step)
        self.criterion.set_progress(progress, trainer.global_step)

    def _refuse(self, pl_module: L.LightningModule) -> None:
        """Raise an error if a value would change; for terms of the loss, ``Criterion.check_terms`` does it."""
        self.criterion.has_no_end = True
        if (option := self.encoder.awaited_share) is not None:
            raise UserError(
                f"encoder.{option} is a share of training, but nothing says when this run ends; set trainer.max_steps "
                "or trainer.max_time, or set the option to a number of updates"
            )
        if names := sorted(set(_annealed(pl_module))):
            raise UserError(
                f"nothing says when this run ends, but {', '.join(names)} should change during training; set "
                "trainer.max_steps or trainer.max_time, or turn annealing off (selection.final_temperature equal to "
                "selection.temperature, selection.final_soft equal to selection.soft, attention.linear_start=0)"
            )


def _annealed(module: nn.Module) -> Iterator[str]:
    """Yield the names of buffers that change between start and end of training; reset them to the start."""
    for path, mechanism in module.named_modules():
        if isinstance(mechanism, Attention):
            mechanism.set_progress(1.0)
            end = {name: buffer.clone() for name, buffer in mechanism.named_buffers()}
            mechanism.set_progress(0.0)
            for name, buffer in mechanism.named_buffers():
                if not buffer.equal(end[name]):
                    yield f"{path}.{name}".removeprefix("model.")
