"""Checkpoints: when ``last.ckpt`` and the best model are saved, and how they stay consistent if a run is killed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from typing_extensions import override

from seq2seq.data.tokenizer import Tokenizer
from seq2seq.files.writing import sync
from seq2seq.stored import model_file, resume_file
from seq2seq.training import distributed
from seq2seq.training.interruption import Interrupted
from seq2seq.training.module import Training
from seq2seq.training.nonfinite import NonFiniteError
from seq2seq.training.options import TrainingOptions
from seq2seq.training.resume import ResumeState

MODEL = "model."  # prefix of the model's weights in the state of ``Training``


class RunFiles(TorchCheckpointIO):
    """Files of a run: ``last.ckpt`` and the best model, which are consistent at every moment.

    A new best model is first written under a temporary name. Then ``last.ckpt`` is written, which names the digest of
    the model. Then the model gets its final name. If a run is killed in between, ``settle`` finds the model file that
    ``last.ckpt`` names.

    Args:
        folder: Directory of the checkpoints.
        config: The stored config.
        tokenizers: Tokenizers by side.
        monitor: Metric that selects the best model.
    """

    def __init__(
        self, folder: Path, config: Mapping[str, Any], tokenizers: Mapping[str, Tokenizer], monitor: str
    ) -> None:
        self.folder, self.last, self.model = folder, folder / resume_file.NAME, folder / model_file.NAME
        self.config, self.tokenizers, self.monitor = config, tokenizers, monitor
        self.digest: str | None = None  # digest of the best model
        self.best: tuple[int, float | None] | None = None  # step and score, if the next save is a new best model
        self._resumed = False
        self._beside: dict[str, str] = {}

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write ``checkpoint``, and its weights as the best model if they are a new best."""
        # 1. Write a new best model under its temporary name.
        if self.best is not None:
            self.digest = self._write_model(model_file.NEXT, checkpoint["state_dict"], *self.best)
            self.best = None
        # 2. Write the checkpoint, which names the digest of the model.
        resume_file.write(Path(path), {**checkpoint, "model": self.digest})
        # 3. Give the model its final name.
        if (waiting := self.folder / model_file.NEXT).exists():
            waiting.replace(self.model)
            sync(self.folder)

    @override
    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the content of a checkpoint after verifying it."""
        content = resume_file.read(Path(path))
        self._resumed, self.digest = True, content.get("model")
        return content

    def finish(self, steps: int, has_best: bool) -> Path:
        """Return the file of the best model; without validation, write it from the last weights.

        Args:
            steps: Number of updates of the run.
            has_best: Whether a validation has selected a best model.

        Returns:
            Path of the model file.
        """
        old = self.folder / "best.ckpt"
        if has_best:
            return self.model if self.model.exists() else old  # a run that an earlier version started has the old file
        content = resume_file.read(self.last)
        self._write_model(self.model.name, content["state_dict"], steps, None)
        return self.model

    def _write_model(self, name: str, state: Mapping[str, Any], step: int, score: float | None) -> str:
        """Write a model file with what it needs beside it, and return its digest."""
        # Config and tokenizers do not change, so they are written once.
        if not self._beside:
            models = {side: tokenizer.model for side, tokenizer in self.tokenizers.items()}
            self._beside = model_file.write_beside(self.folder, self.config, models, keep=self._resumed)
        about = {
            "files": self._beside,
            "tokenizers": {side: tokenizer.type for side, tokenizer in self.tokenizers.items()},
            "step": step,
            "score": score,
            "monitor": self.monitor,
        }
        weights = {n.removeprefix(MODEL): weight for n, weight in state.items() if n.startswith(MODEL)}
        return model_file.write(self.folder / name, weights, about)


class Checkpoints(Checkpoint):
    """Callback that saves after each validation, at intervals between validations, and when training is interrupted.

    Lightning's ``ModelCheckpoint`` stores an absolute path, so a run that was moved would forget its best score. When
    it saves between validations, it would also lose a validation that is due at this step.

    Args:
        files: Files of the run.
        resume_state: State of training, which knows whether an update is complete.
        options: Options of training.
    """

    def __init__(self, files: RunFiles, resume_state: ResumeState, options: TrainingOptions) -> None:
        self.files, self.resume_state, self.options = files, resume_state, options
        self.best_score: float | None = None
        self.best_step = 0
        self._saved_step, self._saved_at = -1, time.monotonic()

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save, and keep the model if it is a new best."""
        if trainer.sanity_checking:
            return
        assert isinstance(pl_module, Training)
        score = pl_module.validation.scores[self.options.monitored]
        # Tell the files about a new best before they are written.
        if self.options.better(score, self.best_score):
            self.best_score, self.best_step = score, trainer.global_step
            self.files.best = (trainer.global_step, score)
        self._save(trainer)

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save the state after the last update and its validation, if it is due."""
        # Save complete updates only, and each only once.
        step, o = trainer.global_step, self.options
        if not self.resume_state.complete or step in (0, self._saved_step):
            return
        due = o.save_steps is not None and step % o.save_steps == 0
        if o.save_minutes is not None and not due:
            # Clocks differ, and saving needs all processes, so rank 0 decides.
            due = distributed.broadcast(time.monotonic() - self._saved_at >= 60 * o.save_minutes)
        if due:
            self._save(trainer)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the last updates if no validation has saved them."""
        if trainer.global_step != self._saved_step:
            self._save(trainer)

    @override
    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Save after a signal or a non-finite loss; after other errors, the update may be incomplete."""
        if isinstance(exception, Interrupted | NonFiniteError):
            self._save(trainer)

    @override
    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remember the step, so that it is not saved again before the next update."""
        self._saved_step = checkpoint["global_step"]

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return score and step of the best model."""
        return {"best_score": self.best_score, "best_step": self.best_step}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore score and step of the best model."""
        self.best_score, self.best_step = state_dict["best_score"], state_dict["best_step"]

    def _save(self, trainer: L.Trainer) -> None:
        """Write ``last.ckpt`` and restart the interval."""
        trainer.save_checkpoint(self.files.last)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
