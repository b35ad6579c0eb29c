"""``last.ckpt`` and ``best.ckpt``: when they are written, and that they are never half written."""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from seq2seq.training import processes
from seq2seq.training.interruption import Interrupted
from seq2seq.training.module import Training
from seq2seq.training.nonfinite import NonFinite
from seq2seq.training.options import Options
from seq2seq.training.position import Position

log = logging.getLogger(__name__)


class AtomicIO(TorchCheckpointIO):
    """Writes beside the file and renames: whoever reads finds the old checkpoint or the new one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """All of ``checkpoint`` is on the disk before it takes the name."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".partial")
        with temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


class Checkpoints(Checkpoint):
    """Saves after each validation, every so often in between, and when training is broken off.

    (Lightning's ``ModelCheckpoint`` remembers an absolute path, so a run that was moved would forget its best score,
    and saving between validations it would lose those due at that very step.)
    """

    def __init__(self, directory: Path, position: Position, options: Options) -> None:
        self.last, self.best = directory / "last.ckpt", directory / "best.ckpt"
        self.position, self.options = position, options
        self.best_score: float | None = None
        self.best_step = 0
        self._saved_step, self._saved_at = -1, time.monotonic()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves, and keeps it as the best if it is."""
        if trainer.sanity_checking:
            return
        assert isinstance(pl_module, Training)
        scores = pl_module.validation.scores
        score = scores[self.options.monitored]
        is_best = self.options.better(score, self.best_score)
        if is_best:
            self.best_score, self.best_step = score, trainer.global_step
        self._save(trainer)
        if trainer.is_global_zero:
            if is_best:
                _link(self.last, self.best)
            text = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
            log.info("step %d: validation %s%s", trainer.global_step, text, " (best)" if is_best else "")

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Saves what the last update and its validation left, if it is time."""
        step, o = trainer.global_step, self.options
        if not self.position.complete or step in (0, self._saved_step):
            return
        due = o.save_steps is not None and step % o.save_steps == 0
        if o.save_minutes is not None and not due:
            due = processes.from_first(time.monotonic() - self._saved_at >= 60 * o.save_minutes)
        if due:
            self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Without validation nothing was saved at the end."""
        if trainer.global_step != self._saved_step:
            self._save(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """What a signal or a non-finite loss leaves is the last whole update; after other errors, who knows."""
        if isinstance(exception, Interrupted | NonFinite):
            self._save(trainer)

    def state_dict(self) -> dict[str, Any]:
        """What is best so far."""
        return {"best_score": self.best_score, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What is best so far."""
        self.best_score, self.best_step = state_dict["best_score"], state_dict["best_step"]

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.last)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()


def _link(source: Path, target: Path) -> None:
    """Makes ``target`` the same file as ``source``, which is only ever replaced, never written again."""
    temporary = target.with_suffix(".partial")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # the file system has no links
        shutil.copyfile(source, temporary)
    temporary.replace(target)
