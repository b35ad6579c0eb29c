"""``debug=overfit``: a model that cannot learn one batch by heart has a bug."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import nn
from typing_extensions import override

from seq2seq.errors import UserError

log = logging.getLogger(__name__)


class Overfit(Callback):
    """Trains on one batch until its loss is below ``target`` nats a token, and fails if that never happens."""

    def __init__(self, target: float) -> None:
        self.target = target
        self.reached = float("inf")

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop once the loss before this update is below the target."""
        self.reached = float(outputs["loss"]) * trainer.accumulate_grad_batches / max(batch.target_tokens, 1)
        if self.reached < self.target:
            trainer.should_stop = True

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Fail unless the loss came below the target."""
        steps = trainer.global_step
        if not self.reached < self.target:
            raise UserError(
                f"debug=overfit: after {steps} updates one batch still costs {self.reached:.4f} nats a token, not less "
                f"than {self.target}: the model cannot learn it by heart (or give it more with trainer.max_steps=N)"
            )
        log.info("debug=overfit: one batch at %.4f nats a token after %d updates", self.reached, steps)


def without_dropout(model: nn.Module) -> None:
    """Turn every dropout off, whatever the config says: ``p`` of dropout modules, ``dropout`` of all others."""
    for module in model.modules():
        for name in ("p", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
