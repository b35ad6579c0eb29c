"""Check by ``debug=overfit``: a model that cannot learn a single batch by heart has a bug."""

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
    """Callback that trains on one batch until its loss is low, and fails if this does not happen.

    Args:
        target: Loss to reach per token, in nats unless the output layer is sparse.
    """

    def __init__(self, target: float) -> None:
        self.target = target
        self.reached = float("inf")  # loss of the last micro-batch per token

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop training once the loss is below the target."""
        # Lightning has divided the loss by the number of micro-batches.
        self.reached = float(outputs["loss"]) * trainer.accumulate_grad_batches / max(batch.target_tokens, 1)
        if self.reached < self.target:
            trainer.should_stop = True

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Raise an error unless the loss is below the target."""
        steps = trainer.global_step
        if not self.reached < self.target:
            raise UserError(
                f"debug=overfit: after {steps} updates one batch still costs {self.reached:.4f} per token, not "
                f"less than {self.target}; the model has a bug, or it needs more updates (trainer.max_steps=N)"
            )
        log.info("debug=overfit: one batch costs %.4f per token after %d updates", self.reached, steps)


def without_dropout(model: nn.Module) -> None:
    """Turn off all dropout of a model.

    Args:
        model: The model. ``p`` of its dropout modules and ``dropout`` of all other modules become 0.
    """
    for module in model.modules():
        for name in ("p", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
