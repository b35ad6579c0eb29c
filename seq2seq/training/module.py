"""The update of a model as Lightning's hooks call it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer

from seq2seq.batch import Batch
from seq2seq.compat.lightning import time_limit
from seq2seq.loss import Criterion
from seq2seq.model import Seq2Seq
from seq2seq.runtime.memory import give_back
from seq2seq.training.optimization import OptimizerFactory, ScheduleFactory, parameter_groups
from seq2seq.training.options import TrainingOptions
from seq2seq.training.schedules import Schedule
from seq2seq.training.self_critical import SelfCritical
from seq2seq.training.update import Update
from seq2seq.training.validation import Validation


class Training(L.LightningModule):
    """The model with its loss and optimiser; ``extra`` is what checkpoints carry beside (config, tokenizers)."""

    def __init__(
        self,
        model: Seq2Seq,
        criterion: Criterion,
        optimizer: OptimizerFactory,
        schedule: ScheduleFactory,
        options: TrainingOptions,
        validation: Validation,
        extra: Mapping[str, Any],
        self_critical: SelfCritical | None = None,
    ) -> None:
        super().__init__()
        self.model, self.criterion = model, criterion
        self.make_optimizer, self.make_schedule = optimizer, schedule
        self.options, self.validation, self.extra = options, validation, dict(extra)
        self.update = Update(model, criterion, options, self_critical)

    @property
    def schedule(self) -> Schedule:
        """Return the learning-rate schedule of the run."""
        found = self.lr_schedulers()
        assert isinstance(found, Schedule)
        return found

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build optimiser and schedule, when the parameters are on their device."""
        optimizer = self.make_optimizer(parameter_groups(self, self.options.weight_decay_on))
        schedule = self.make_schedule(optimizer)
        schedule.plan(self.trainer.estimated_stepping_batches, timed=time_limit(self.trainer) is not None)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Freeze the statistics of batch norms where rewards train: samples and likelihood are of one model."""
        if self.update.self_critical is not None:
            for norm in self.update.norms:
                norm.eval()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the summed loss of one micro-batch."""
        return self.update.loss(batch, self.global_step)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Prepare the gradients, after the last backward pass of an update and before its step.

        Lightning has divided the loss by the number of micro-batches, and several processes have averaged their
        gradients; both are undone, since what counts is the number of tokens.
        """
        self.update.prepare(
            optimizer,
            self.global_step,
            averaged_over=self.trainer.world_size * self.trainer.accumulate_grad_batches,
            world_size=self.trainer.world_size,
            clip=gradient_clip_val,
            algorithm=gradient_clip_algorithm,
        )

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Take the step, after which the parameters are constrained."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.update.constrain()

    def on_validation_start(self) -> None:
        """Begin to collect the sums of a validation."""
        give_back()
        self.validation.start()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add the teacher-forced and the generated figures of one batch."""
        self.validation.step(self.model, batch)

    def on_validation_epoch_end(self) -> None:
        """Compute the scores, for early stopping, the schedule and the loggers."""
        scores = self.validation.finish()
        give_back()
        self.log_dict({f"validation/{name}": score for name, score in scores.items()}, logger=False)
        if not self.trainer.sanity_checking:
            score = scores[self.options.monitored]
            self.schedule.observe(score if self.options.direction == "max" else -score)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint self-contained."""
        checkpoint.update(self.extra)
