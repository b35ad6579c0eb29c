"""Progress of training: one bar on stderr, or regular log lines if stderr is not a terminal."""

from __future__ import annotations

import logging
import math
import sys
import time
from contextlib import ExitStack
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm
from typing_extensions import override

from seq2seq.training.callbacks.throughput import Throughput

log = logging.getLogger(__name__)

SECONDS = 30.0  # time between two log lines


class Progress(ProgressBar):
    """Progress bar with the number of updates, the loss, tokens/s, and the remaining time including validations.

    Args:
        throughput: Callback that measures loss and speed.
    """

    def __init__(self, throughput: Throughput) -> None:
        super().__init__()
        self.throughput = throughput
        self._shown = True
        self._bars = ExitStack()
        self._bar: tqdm[Any] | None = None
        self._validation: tqdm[Any] | None = None
        self._first, self._began, self._told = 0, 0.0, 0.0

    @override
    def disable(self) -> None:
        """Hide the bar; Lightning calls it on all ranks but the first."""
        self._shown = False

    @override
    def enable(self) -> None:
        """Show the bar again; Lightning calls it."""
        self._shown = True

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the bar at the current update."""
        self._first, self._began, self._told = trainer.global_step, time.monotonic(), time.monotonic()
        if self._shown and sys.stderr.isatty():
            # Print log lines above the bar.
            self._bars.enter_context(logging_redirect_tqdm())
            self._bar = tqdm(
                total=_updates(trainer),
                initial=trainer.global_step,
                desc="training",
                unit="update",
                smoothing=0,
                dynamic_ncols=True,
                file=sys.stderr,
            )

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the bar, or log a line if the last one is old enough."""
        figures = self.throughput.latest
        if self._bar is not None:
            self._bar.update(trainer.global_step - self._bar.n)
            if "loss" in figures:
                speed = f"{figures['tokens_per_second']:,.0f}"
                self._bar.set_postfix({"loss": f"{figures['loss']:.3f}", "tokens/s": speed}, refresh=False)
        elif self._shown and "loss" in figures and time.monotonic() - self._told > SECONDS:
            self._told = time.monotonic()
            log.info("%s", self._line(trainer))

    @override
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show a second bar during validation."""
        if self._bar is not None:
            total = (
                sum(trainer.num_val_batches) if isinstance(trainer.num_val_batches, list) else trainer.num_val_batches
            )
            # A stream has an infinite number of batches.
            self._validation = tqdm(
                total=None if math.isinf(total) else int(total),
                desc="validating",
                unit="batch",
                leave=False,
                dynamic_ncols=True,
                file=sys.stderr,
            )

    @override
    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Update the second bar."""
        if self._validation is not None:
            self._validation.update()

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remove the second bar."""
        if self._validation is not None:
            self._validation.close()
            self._validation = None

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar and leave it on the screen."""
        self._close()

    @override
    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar and leave it on the screen."""
        self._close()

    def _close(self) -> None:
        """Close both bars, and let logs write to stderr directly again."""
        for bar in (self._validation, self._bar):
            if bar is not None:
                bar.close()
        self._validation = self._bar = None
        self._bars.close()

    def _line(self, trainer: L.Trainer) -> str:
        """Return the log line: step, loss, speed and remaining time."""
        step, figures, total = trainer.global_step, self.throughput.latest, _updates(trainer)
        text = f"step {step}" + (f"/{total}" if total else "")
        text += f", loss {figures['loss']:.3f}, {figures['tokens_per_second']:,.0f} tokens/s"
        # Estimate the remaining time from the updates of this process.
        if total and step > self._first:
            left = (time.monotonic() - self._began) / (step - self._first) * (total - step)
            text += f", {tqdm.format_interval(left)} left"
        return text


def _updates(trainer: L.Trainer) -> int | None:
    """Return the number of updates of the run, or None if it is unknown."""
    total = trainer.estimated_stepping_batches
    return int(total) if 0 < total < math.inf else None
