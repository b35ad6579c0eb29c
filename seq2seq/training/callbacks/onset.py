"""The onset of attention: when a model begins to look elsewhere for each word that it says."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from typing_extensions import override

from seq2seq.metrics.faithfulness import ONSET
from seq2seq.training.module import Training

log = logging.getLogger(__name__)


class Onset(Callback):
    """Notes the first validation at which averaged attention costs ``ONSET`` nats per token or more."""

    def __init__(self) -> None:
        self.step: int | None = None  # updates by then; None: attention has not begun
        self.increase: float | None = None  # nll_increase_averaged of the last validation; None: not measured

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Read the figures of this validation."""
        assert isinstance(pl_module, Training)
        increase = pl_module.validation.scores.get("nll_increase_averaged")
        if trainer.sanity_checking or increase is None:
            return
        self.increase = increase
        if self.step is None and increase >= ONSET:
            self.step = trainer.global_step
            log.info("attention begins: at step %d its averaged rows cost %.3g nats a token", self.step, increase)

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return what is known so far."""
        return {"step": self.step, "increase": self.increase}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what is known so far."""
        self.step, self.increase = state_dict["step"], state_dict["increase"]
