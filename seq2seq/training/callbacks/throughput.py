"""The figures of a run as it goes: losses, rates and speeds, read from the device at the logging interval only."""

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
    """Sends ``train/*`` every so many updates and ``validation/*`` to the loggers.

    ``tokens`` are real target tokens, ``seconds`` those of training; validation and what precedes training count in
    neither. Both go on in a resumed run.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.latest: dict[str, float] = {}  # the last figures of training
        self.tokens, self.seconds = 0.0, 0.0
        self._since = 0.0  # when the clock was last looked at
        self._window = 0.0  # seconds of training since the last figures
        self._restored: dict[str, Any] | None = None

    @property
    def speed(self) -> float:
        """Return target tokens per second, of the whole training."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock; what a broken-off run logged after its checkpoint is forgotten, as it comes again."""
        assert isinstance(pl_module, Training)
        for logger in trainer.loggers:
            if isinstance(logger, CSVLogger):
                logger.rewind(trainer.global_step)
        if self._restored is not None and trainer.is_global_zero:
            pl_module.update.sums.put(self._restored["sums"], pl_module.device)
        self._since = time.perf_counter()

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the figures, if it is time."""
        if trainer.global_step % self.every == 0 and ends_update(trainer):
            self._report(trainer, pl_module)

    @override
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the figures so far and stop the clock."""
        if not trainer.sanity_checking:
            self._report(trainer, pl_module)

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the scores and start the clock."""
        assert isinstance(pl_module, Training)
        if not trainer.sanity_checking:
            _send(trainer, {f"validation/{name}": value for name, value in pl_module.validation.scores.items()})
            self._since = time.perf_counter()

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the last figures."""
        self._report(trainer, pl_module)

    @override
    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write the counts of the run, and the sums of the next figures."""
        assert isinstance(pl_module, Training)
        checkpoint["curves"] = {
            "tokens": self.tokens,
            "seconds": self.seconds,
            "skipped": pl_module.update.guard.skipped,
            "sums": pl_module.update.sums.totals(),
        }

    @override
    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the counts: of a run that was stopped after its last update they are what its results say."""
        assert isinstance(pl_module, Training)
        self._restored = checkpoint["curves"]
        self.tokens, self.seconds = self._restored["tokens"], self._restored["seconds"]
        pl_module.update.guard.skipped = self._restored["skipped"]

    def _report(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, Training)
        module.update.guard.look()
        sums = module.update.sums.take()
        now = time.perf_counter()
        self._window += now - self._since
        self._since = now
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
        elif figures["skipped"] == self.latest.get("skipped", 0):
            return
        self.latest |= figures
        _send(trainer, {f"train/{name}": value for name, value in figures.items()})


def _send(trainer: L.Trainer, figures: dict[str, float]) -> None:
    for logger in trainer.loggers:
        logger.log_metrics({"epoch": trainer.current_epoch, **figures}, step=trainer.global_step)
