"""One bar over the whole training, on stderr; on no terminal a line now and then."""

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

SECONDS = 30.0  # between two lines


class Progress(ProgressBar):
    """Updates done of all, loss, tokens/s, and the time that is left (validations included)."""

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
        """Begin the bar where the run stands."""
        self._first, self._began, self._told = trainer.global_step, time.monotonic(), time.monotonic()
        if self._shown and sys.stderr.isatty():
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
        """Move the bar on, or log a line now and then."""
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
        """Move the second bar on."""
        if self._validation is not None:
            self._validation.update()

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the second bar away."""
        if self._validation is not None:
            self._validation.close()
            self._validation = None

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the bar on the screen."""
        self._close()

    @override
    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leave the bar on the screen."""
        self._close()

    def _close(self) -> None:
        for bar in (self._validation, self._bar):
            if bar is not None:
                bar.close()
        self._validation = self._bar = None
        self._bars.close()

    def _line(self, trainer: L.Trainer) -> str:
        step, figures, total = trainer.global_step, self.throughput.latest, _updates(trainer)
        text = f"step {step}" + (f"/{total}" if total else "")
        text += f", loss {figures['loss']:.3f}, {figures['tokens_per_second']:,.0f} tokens/s"
        if total and step > self._first:
            left = (time.monotonic() - self._began) / (step - self._first) * (total - step)
            text += f", {tqdm.format_interval(left)} left"
        return text


def _updates(trainer: L.Trainer) -> int | None:
    """Return the number of updates of the run, or None where it is not known."""
    total = trainer.estimated_stepping_batches
    return int(total) if 0 < total < math.inf else None
