"""Logged values of training: losses, rates and speed, read from the device only when they are logged."""

from __future__ import annotations

import math
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from typing_extensions import override

from seq2seq.compat.lightning import ends_update
from seq2seq.training.csv_logger import CSVLogger
from seq2seq.training.module import Training


class Throughput(Callback):
    """Callback that sends ``train/*`` at regular updates and ``validation/*`` to the loggers.

    ``tokens`` counts real target tokens. ``seconds`` counts the time of training, without validation and without the
    time before training. A resumed run continues both.

    Args:
        every: Number of updates between two logs.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.latest: dict[str, float] = {}  # the last logged values of training
        self.tokens, self.seconds = 0.0, 0.0
        self._since = 0.0  # time of the last look at the clock
        self._window = 0.0  # seconds of training since the last log
        self._restored: dict[str, Any] | None = None

    @property
    def speed(self) -> float:
        """Target tokens per second, over the whole training."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock, and remove log rows after the checkpoint: the resumed run logs them again."""
        assert isinstance(pl_module, Training)
        for logger in trainer.loggers:
            if isinstance(logger, CSVLogger):
                logger.rewind(trainer.global_step)
        # The stored sums include all processes, so only one of them restores the sums.
        if self._restored is not None and trainer.is_global_zero:
            pl_module.update.sums.put(self._restored["sums"], pl_module.device)
        self._since = time.perf_counter()

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the values of training if they are due."""
        if trainer.global_step % self.every == 0 and ends_update(trainer):
            self._report(trainer, pl_module)

    @override
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the values so far, and stop the clock."""
        if not trainer.sanity_checking:
            self._report(trainer, pl_module)

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the scores, and start the clock."""
        assert isinstance(pl_module, Training)
        if not trainer.sanity_checking:
            _send(trainer, {f"validation/{name}": value for name, value in pl_module.validation.scores.items()})
            self._since = time.perf_counter()

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the last values."""
        self._report(trainer, pl_module)

    @override
    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the counts of the run and the sums that are not logged yet."""
        assert isinstance(pl_module, Training)
        checkpoint["curves"] = {
            "tokens": self.tokens,
            "seconds": self.seconds,
            "skipped": pl_module.update.guard.skipped,
            "sums": pl_module.update.sums.totals(),
        }

    @override
    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the counts; a run that is resumed after its last update reports them."""
        assert isinstance(pl_module, Training)
        self._restored = checkpoint["curves"]
        self.tokens, self.seconds = self._restored["tokens"], self._restored["seconds"]
        pl_module.update.guard.skipped = self._restored["skipped"]

    def _report(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Log the values of training since the last log."""
        # Read the sums from the device, and the clock.
        assert isinstance(module, Training)
        module.update.guard.look()
        sums = module.update.sums.take()
        now = time.perf_counter()
        self._window += now - self._since
        self._since = now
        # Divide by the numbers of tokens and updates.
        updates, tokens = sums.pop("updates", 0), sums.pop("tokens", 0)
        figures = {"skipped": float(module.update.guard.skipped)}
        if tokens:
            norm, means = sums.pop("gradient_norm") / updates, {name: value / tokens for name, value in sums.items()}
            perplexity = {"perplexity": math.exp(min(means["nll"], 700))} if "nll" in means else {}
            figures = {
                **means,
                **perplexity,
                "gradient_norm": norm,
                "learning_rate": module.update.learning_rate,
                "tokens_per_second": tokens / self._window,
                **figures,
            }
            self.tokens, self.seconds, self._window = self.tokens + tokens, self.seconds + self._window, 0.0
        # Without updates, log only a new number of skipped ones.
        elif figures["skipped"] == self.latest.get("skipped", 0):
            return
        self.latest |= figures
        _send(trainer, {f"train/{name}": value for name, value in figures.items()})


def _send(trainer: L.Trainer, figures: dict[str, float]) -> None:
    """Send values to all loggers."""
    for logger in trainer.loggers:
        logger.log_metrics({"epoch": trainer.current_epoch, **figures}, step=trainer.global_step)
