"""Progress of training: one bar on stderr, or a few log lines if stderr is not a terminal."""

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
from seq2seq.training.callbacks.validation_report import ValidationReport
from seq2seq.training.extent import seconds_left, share_done, updates
from seq2seq.training.module import Training

log = logging.getLogger(__name__)

SECONDS = 30.0  # shortest time between two log lines
LINES = 8  # number of log lines in a run whose end is known, besides those of validations
GROWTH = 0.25  # time between two log lines of other runs, as a share of the time so far
REFRESH = 0.2  # seconds between two pictures of the bar
BAR = "{percentage:3.0f}%|{bar:20}| {desc}"


class Progress(ProgressBar):
    """Progress bar with the number of updates, the loss, tokens/s, and the remaining time including validations.

    Args:
        throughput: Callback that measures loss and speed.
        report: Callback that reports validations. In a log, its lines take the place of lines of progress.
    """

    def __init__(self, throughput: Throughput, report: ValidationReport) -> None:
        super().__init__()
        self.throughput, self.report = throughput, report
        self._shown = True
        self._bars = ExitStack()
        self._bar: tqdm[Any] | None = None
        self._first, self._began, self._logged_at, self._drawn = 0, 0.0, 0.0, 0.0
        self._validated = 0  # number of batches of the current validation

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
        self._first, self._began, self._logged_at = trainer.global_step, time.monotonic(), time.monotonic()
        if self._shown and sys.stderr.isatty():
            # Print log lines above the bar, which shows the share of training that is done.
            self._bars.enter_context(logging_redirect_tqdm())
            known = share_done(trainer) is not None
            self._bar = tqdm(
                total=1.0 if known else None,
                bar_format=BAR if known else "{desc}",
                dynamic_ncols=True,
                file=sys.stderr,
            )

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw the bar, or log a line, if it is due."""
        assert isinstance(pl_module, Training)
        if self._bar is not None:
            self._draw(trainer, pl_module)
        elif self._shown and self._due(trainer):
            self._logged_at = time.monotonic()
            log.info("%s", self._line(trainer, pl_module))

    @override
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to count the batches of a validation."""
        self._validated = 0

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
        """Show the number of validated batches beside the bar."""
        self._validated += 1
        if self._bar is not None:
            batches = trainer.num_val_batches
            total = sum(batches) if isinstance(batches, list) else batches
            of = "" if math.isinf(total) else f" of {int(total)}"
            self._bar.set_description_str(f"validating: batch {self._validated}{of}")

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the bar a last time, and leave it on the screen."""
        assert isinstance(pl_module, Training)
        if self._bar is not None:
            self._drawn = 0.0
            self._draw(trainer, pl_module)
        self._close()

    @override
    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar and leave it on the screen."""
        self._close()

    def _draw(self, trainer: L.Trainer, module: Training) -> None:
        """Draw the bar, unless it was drawn a moment ago."""
        if self._bar is not None and time.monotonic() - self._drawn >= REFRESH:
            self._drawn = time.monotonic()
            self._bar.n = share_done(trainer) or 0.0
            self._bar.set_description_str(self._line(trainer, module))

    def _close(self) -> None:
        """Close the bar, and let logs write to stderr directly again."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None
        self._bars.close()

    def _due(self, trainer: L.Trainer) -> bool:
        """Return True if the last line of the log is old enough."""
        now = time.monotonic()
        left, elapsed = self._left(trainer), now - self._began
        wait = GROWTH * elapsed if left is None else (elapsed + left) / LINES
        return now - max(self._logged_at, self.report.reported_at) >= max(SECONDS, wait)

    def _line(self, trainer: L.Trainer, module: Training) -> str:
        """Return a line of progress: step, loss, speed and remaining time."""
        step, total, figures = trainer.global_step, updates(trainer), dict(self.throughput.latest)
        # Show the mean loss of the updates since it was last logged, if there are any.
        sums = module.update.sums.here()
        if sums.get("tokens"):
            figures["loss"] = sums["loss"] / sums["tokens"]
        parts = [f"step {step:,}" + (f" of {total:,}" if total else "")]
        parts += [f"loss {figures['loss']:.3f}"] if "loss" in figures else []
        parts += [f"{figures['tokens_per_second']:,.0f} tokens/s"] if "tokens_per_second" in figures else []
        left = self._left(trainer)
        return ", ".join([*parts, *([f"{tqdm.format_interval(left)} left"] if left is not None else [])])

    def _left(self, trainer: L.Trainer) -> float | None:
        """Return the seconds to the end of training, by updates or by ``trainer.max_time``; None if it is unknown."""
        step, total, found = trainer.global_step, updates(trainer), []
        # Estimate the time from the updates of this process.
        if total and step > self._first:
            found.append((time.monotonic() - self._began) / (step - self._first) * (total - step))
        if (remaining := seconds_left(trainer)) is not None:
            found.append(remaining)
        return min(found, default=None)
