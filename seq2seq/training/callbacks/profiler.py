"""Profile of training by ``debug=profile``: time of an update, by phase and by operation."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import Profiler
from torch.profiler import ProfilerActivity, profile
from typing_extensions import override

from seq2seq.compat.lightning import ends_update, phase_of
from seq2seq.files.writing import write_text

log = logging.getLogger(__name__)

WARM_UP = 5  # updates that are not measured
OPERATIONS = 15  # number of operations in the table
PHASES = {
    "data": "waiting for data",
    "transfer": "copy to the device",
    "forward": "forward and loss",
    "backward": "backward",
    "update": "clipping and optimiser",
}
"""Names of the phases in the table."""


class PhaseProfiler(Profiler):
    """Profiler that sums the seconds of Lightning's actions by phase; it waits for the work of a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = defaultdict(float)
        self._begun: dict[str, float] = {}

    @override
    def start(self, action_name: str) -> None:
        """Store the time at which an action starts."""
        self._begun[action_name] = self.now()

    @override
    def stop(self, action_name: str) -> None:
        """Add the time of an action to its phase."""
        if action_name in self._begun:
            seconds = self.now() - self._begun.pop(action_name)
            if (phase := phase_of(action_name)) is not None:
                self.seconds[phase] += seconds

    @staticmethod
    def now() -> float:
        """Return the current time in seconds, after the device has finished its work."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    @override
    def summary(self) -> str:
        """Return an empty text: ``Profile`` logs the table."""
        return ""


class Profile(Callback):
    """Callback that measures updates first by phase, then by operation, and ends training.

    The operations are measured in further updates, since measuring them makes an update slower.

    Args:
        updates: Number of updates for each of the two measurements.
        phases: Profiler that measures the phases.
        path: File of the table.
    """

    def __init__(self, updates: int, phases: PhaseProfiler, path: Path) -> None:
        self.updates, self.phases, self.path = updates, phases, path
        self._began = 0.0
        self._tokens = 0
        self._operations: profile | None = None
        self._lines: list[str] = []

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Start and stop the measurements."""
        self._tokens += batch.target_tokens
        if not ends_update(trainer):
            return
        step = trainer.global_step
        # Measure phases after the warm-up, then operations, then stop.
        if step == WARM_UP:
            self.phases.seconds.clear()
            self._began, self._tokens = self.phases.now(), 0
        elif step == WARM_UP + self.updates:
            self._lines += self._by_phase(self.phases.now() - self._began)
            activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
            self._operations = profile(activities=activities, acc_events=True)
            self._operations.start()
        elif step == WARM_UP + 2 * self.updates and self._operations is not None:
            self._operations.stop()
            self._lines += self._by_operation(self._operations)
            trainer.should_stop = True

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the table, and write it to the file."""
        text = "\n".join(self._lines) or f"too few updates to measure: at least {WARM_UP + 2 * self.updates} are needed"
        log.info("\n%s", text)
        if trainer.is_global_zero:
            write_text(self.path, text + "\n")

    def _by_phase(self, total: float) -> list[str]:
        """Return the part of the table about phases; ``total`` are the measured seconds."""
        spent = {words: self.phases.seconds[name] for name, words in PHASES.items()}
        # Lightning runs forward and backward inside the optimiser step.
        spent[PHASES["update"]] -= spent[PHASES["forward"]] + spent[PHASES["backward"]]
        spent["everything else"] = total - sum(spent.values())
        lines = [
            f"{self.updates} updates, {self._tokens / total:,.0f} target tokens/s",
            f"{'phase':28}{'ms/update':>10}{'share':>8}",
        ]
        return lines + [f"{name:28}{_ms(s, self.updates)}{s / total:8.1%}" for name, s in spent.items()]

    def _by_operation(self, measured: profile) -> list[str]:
        """Return the part of the table about operations, the slowest first."""
        on_device = torch.cuda.is_available()
        key = "self_device_time_total" if on_device else "self_cpu_time_total"
        rows = sorted(((getattr(row, key) / 1e6, row.count, row.key) for row in measured.key_averages()), reverse=True)
        total = sum(seconds for seconds, _, _ in rows) or 1.0
        lines = ["", f"{'operation':28}{'ms/update':>10}{'share':>8}{'calls/update':>14}"]
        # ``Optimizer.step`` includes forward and backward, so its own time is that of Python between operations.
        for seconds, count, name in rows[:OPERATIONS]:
            name = "Python in between" if name.startswith("Optimizer.step") else name
            lines.append(
                f"{name[:27]:28}{_ms(seconds, self.updates)}{seconds / total:8.1%}{count / self.updates:14.0f}"
            )
        return lines


def _ms(seconds: float, updates: int) -> str:
    """Return the milliseconds of an update as a column of the table."""
    return f"{1000 * seconds / updates:10.2f}"
