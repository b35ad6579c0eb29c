"""Onset of attention: the time when a model starts to attend to different places for different words."""

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
    """Callback that records the onset of attention.

    It is the first validation at which averaged attention costs at least ``ONSET`` nats per token.
    """

    def __init__(self) -> None:
        self.step: int | None = None  # number of updates at the onset; None: no onset yet
        self.increase: float | None = None  # nll_increase_averaged of the last validation; None: not measured

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the scores of this validation."""
        assert isinstance(pl_module, Training)
        increase = pl_module.validation.scores.get("nll_increase_averaged")
        if trainer.sanity_checking or increase is None:
            return
        self.increase = increase
        # Only the first validation above the threshold counts.
        if self.step is None and increase >= ONSET:
            self.step = trainer.global_step
            log.info(
                "onset of attention at step %d: averaged attention costs %.3g more nats per token", self.step, increase
            )

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return the onset and the last measurement."""
        return {"step": self.step, "increase": self.increase}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the onset and the last measurement."""
        self.step, self.increase = state_dict["step"], state_dict["increase"]
