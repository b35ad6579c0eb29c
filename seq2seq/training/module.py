"""Lightning module of training: loss, optimiser, schedule and validation of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

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
    """Lightning module that trains a model.

    Args:
        model: The model to train.
        criterion: The loss.
        optimizer: Makes the optimiser from parameter groups.
        schedule: Makes the learning-rate schedule from the optimiser.
        options: Options of training.
        validation: Computes the validation scores.
        extra: Further content of checkpoints: the config and the tokenizers.
        self_critical: Loss from rewards; None trains by likelihood alone.
    """

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

    @override
    def train(self, mode: bool = True) -> Training:
        """Set the mode of all modules; frozen batch norms keep their statistics."""
        super().train(mode)
        for norm in self.update.norms:
            if norm.weight is not None and not norm.weight.requires_grad:
                norm.eval()
        return self

    @property
    def schedule(self) -> Schedule:
        """Learning-rate schedule of the run."""
        found = self.lr_schedulers()
        assert isinstance(found, Schedule)
        return found

    @override
    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimiser and the schedule, once the parameters are on their device."""
        optimizer = self.make_optimizer(parameter_groups(self, self.options.weight_decay_on))
        schedule = self.make_schedule(optimizer)
        schedule.plan(self.trainer.estimated_stepping_batches, timed=time_limit(self.trainer) is not None)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @override
    def on_train_start(self) -> None:
        """Freeze batch-norm statistics if rewards train the model.

        The model that samples outputs is then the model whose likelihoods are trained.
        """
        if self.update.self_critical is not None:
            for norm in self.update.norms:
                norm.eval()

    @override
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one micro-batch, summed over its target tokens."""
        return self.update.loss(batch, self.global_step)

    @override
    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Prepare the gradients after the last backward pass of an update, before the optimiser step.

        Lightning has divided the loss by the number of micro-batches, and DDP has averaged the gradients over the
        processes. ``Update.prepare`` multiplies by both numbers again and divides by the number of tokens.
        """
        self.update.prepare(
            optimizer,
            self.global_step,
            averaged_over=self.trainer.world_size * self.trainer.accumulate_grad_batches,
            world_size=self.trainer.world_size,
            clip=gradient_clip_val,
            algorithm=gradient_clip_algorithm,
        )

    @override
    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Take the optimiser step, then apply the constraints of the model."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.update.constrain()

    @override
    def on_validation_start(self) -> None:
        """Start to collect the scores of a validation."""
        # Return the memory that training has freed to the system.
        give_back()
        self.validation.start()

    @override
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add the likelihood and the generated text of one batch to the validation."""
        self.validation.step(self.model, batch)

    @override
    def on_validation_epoch_end(self) -> None:
        """Compute the scores and pass them to early stopping and the schedule."""
        scores = self.validation.finish()
        give_back()
        # ``Throughput`` writes the scores to the loggers; Lightning only needs them for early stopping.
        self.log_dict({f"validation/{name}": score for name, score in scores.items()}, logger=False)
        if not self.trainer.sanity_checking:
            # The schedule expects that higher is better.
            score = scores[self.options.monitored]
            self.schedule.observe(score if self.options.direction == "max" else -score)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what makes the checkpoint self-contained: the config and the tokenizers."""
        checkpoint.update(self.extra)
