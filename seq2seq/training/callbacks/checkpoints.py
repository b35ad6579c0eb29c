"""``last.ckpt`` and the best model: when they are written, and that a kill at any moment leaves them in agreement."""

from __future__ import annotations

import logging
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

MODEL = "model."  # what ``Training`` calls the model
log = logging.getLogger(__name__)


class RunFiles(TorchCheckpointIO):
    """Writes ``last.ckpt`` and, where it is the best, the model beside it, so that they agree at every moment.

    A new best is written under another name; then ``last.ckpt``, which names its digest; then the model gets its
    name. Whatever moment a run is killed at, ``settle`` finds which of the two model files ``last.ckpt`` means.
    """

    def __init__(
        self, folder: Path, config: Mapping[str, Any], tokenizers: Mapping[str, Tokenizer], monitor: str
    ) -> None:
        self.folder, self.last, self.model = folder, folder / resume_file.NAME, folder / model_file.NAME
        self.config, self.tokenizers, self.monitor = config, tokenizers, monitor
        self.digest: str | None = None  # of the best model
        self.best: tuple[int, float | None] | None = None  # step and score of a model that the next save is the best of
        self._resumed = False
        self._beside: dict[str, str] = {}

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write all of ``checkpoint``, and its weights as the best model if they are."""
        if self.best is not None:
            self.digest = self._write_model(model_file.NEXT, checkpoint["state_dict"], *self.best)
            self.best = None
        resume_file.write(Path(path), {**checkpoint, "model": self.digest})
        if (waiting := self.folder / model_file.NEXT).exists():
            waiting.replace(self.model)
            sync(self.folder)

    @override
    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the verified content of a checkpoint."""
        content = resume_file.read(Path(path))
        self._resumed, self.digest = True, content.get("model")
        return content

    def finish(self, steps: int, has_best: bool) -> Path:
        """Return the file of the best model; where no validation chose one, it is made of the last weights."""
        old = self.folder / "best.ckpt"
        if has_best:
            return self.model if self.model.exists() else old  # of a run that an earlier version began
        content = resume_file.read(self.last)
        self._write_model(self.model.name, content["state_dict"], steps, None)
        return self.model

    def _write_model(self, name: str, state: Mapping[str, Any], step: int, score: float | None) -> str:
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
    """Saves after each validation, every so often in between, and when training is broken off.

    (Lightning's ``ModelCheckpoint`` remembers an absolute path, so a run that was moved would forget its best score,
    and saving between validations it would lose those due at that very step.)
    """

    def __init__(self, files: RunFiles, resume_state: ResumeState, options: TrainingOptions) -> None:
        self.files, self.resume_state, self.options = files, resume_state, options
        self.best_score: float | None = None
        self.best_step = 0
        self._saved_step, self._saved_at = -1, time.monotonic()

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save, and keep it as the best if it is."""
        if trainer.sanity_checking:
            return
        assert isinstance(pl_module, Training)
        scores = pl_module.validation.scores
        score = scores[self.options.monitored]
        is_best = self.options.better(score, self.best_score)
        if is_best:
            self.best_score, self.best_step = score, trainer.global_step
            self.files.best = (trainer.global_step, score)
        self._save(trainer)
        if trainer.is_global_zero:
            text = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
            log.info("step %d: validation %s%s", trainer.global_step, text, " (best)" if is_best else "")

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save what the last update and its validation left, if it is time."""
        step, o = trainer.global_step, self.options
        if not self.resume_state.complete or step in (0, self._saved_step):
            return
        due = o.save_steps is not None and step % o.save_steps == 0
        if o.save_minutes is not None and not due:
            due = distributed.broadcast(time.monotonic() - self._saved_at >= 60 * o.save_minutes)
        if due:
            self._save(trainer)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the last updates, which no validation saved."""
        if trainer.global_step != self._saved_step:
            self._save(trainer)

    @override
    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Save after a signal or a non-finite loss, which leave a whole update; other errors may not."""
        if isinstance(exception, Interrupted | NonFiniteError):
            self._save(trainer)

    @override
    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note the step, so that nothing is saved again before the next update."""
        self._saved_step = checkpoint["global_step"]

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return what is best so far."""
        return {"best_score": self.best_score, "best_step": self.best_step}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what is best so far."""
        self.best_score, self.best_step = state_dict["best_score"], state_dict["best_step"]

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.files.last)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
