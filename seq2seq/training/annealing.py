"""What changes as training goes: temperatures, shares, coefficients."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from seq2seq.attention.base import Attention
from seq2seq.loss import Criterion


class Annealing(Callback):
    """Tells every mechanism and the criterion before each batch how far training has come, from 0 to 1.

    They keep what follows from it in buffers, which checkpoints hold. A run without an end stays at 0.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Finds out when training will end."""
        self.steps = float(trainer.estimated_stepping_batches)
        self.told = [module for module in pl_module.modules() if isinstance(module, (Attention, Criterion))]

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Progress counts updates."""
        for module in self.told:
            module.anneal(min(trainer.global_step / self.steps, 1.0))
