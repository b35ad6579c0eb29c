"""What one update is: a loss summed over tokens, divided by their number in all micro-batches and processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from seq2seq.attention.base import Attention
from seq2seq.batch import Batch
from seq2seq.compat.lightning import time_limit
from seq2seq.loss import Criterion
from seq2seq.model import Seq2Seq
from seq2seq.runtime.memory import give_back
from seq2seq.training import distributed
from seq2seq.training.gradients import regularise, rescale
from seq2seq.training.metric_accumulator import MetricAccumulator
from seq2seq.training.nonfinite import NonFiniteGuard
from seq2seq.training.optimization import OptimizerFactory, ScheduleFactory, parameter_groups
from seq2seq.training.options import TrainingOptions
from seq2seq.training.schedules import Schedule
from seq2seq.training.self_critical import SelfCritical
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
        self.mechanisms = [module for module in model.modules() if isinstance(module, Attention)]
        self.norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        self.self_critical = self_critical
        self.guard = NonFiniteGuard(options.nonfinite)
        self.sums = MetricAccumulator()  # since the curves were last drawn
        self.learning_rate = 0.0  # of the last update
        self.stop_wanted = False  # a signal reached this process
        self.stop_agreed = False  # and all know of it
        # of the update in the making, in this process
        self._figures: dict[str, Tensor] = {}
        self._tokens = 0
        self._costs: Tensor | None = None
        self._records: list[Tensor] = []

    @property
    def schedule(self) -> Schedule:
        """The learning-rate schedule of the run."""
        found = self.lr_schedulers()
        assert isinstance(found, Schedule)
        return found

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Built when the parameters stand on their device."""
        optimizer = self.make_optimizer(parameter_groups(self, self.options.weight_decay_on))
        schedule = self.make_schedule(optimizer)
        schedule.plan(self.trainer.estimated_stepping_batches, timed=time_limit(self.trainer) is not None)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Rewards are of the model with its norms' statistics as they are, and so is all that is learnt beside."""
        if self.self_critical is not None:
            for norm in self.norms:
                norm.eval()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The summed loss of one micro-batch; ``configure_gradient_clipping`` divides."""
        self._records.append(batch.index)
        total = torch.zeros((), device=self.device)
        figures: dict[str, Tensor] = {}
        if self.self_critical is None or self.options.reward_share < 1:
            losses = self.criterion(self.model, batch)
            total, tokens = losses.total, losses.tokens
            figures = {"nll": losses.nll, **losses.terms, **losses.figures}
            if losses.costs is not None:
                self._costs = losses.costs if self._costs is None else self._costs + losses.costs
        if self.self_critical is not None:
            share, number = self.options.reward_share, len(self._records) + (self.global_step << 8)
            gain = self.self_critical(self.model, batch, number)
            if share < 1:  # each counts by its mean
                gain = gain.over(tokens)
            total, tokens = share * gain.loss + (1 - share) * total, gain.tokens
            figures |= gain.figures
        for name, value in {"loss": total, **figures}.items():
            self._figures[name] = self._figures.get(name, 0) + value.detach()
        self._tokens += tokens
        return total

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """After the last backward pass of an update and before its step: the mean over tokens, then clipping.

        Lightning has divided the loss by the number of micro-batches, and several processes have averaged their
        gradients; both are undone, since what counts is the number of tokens.
        """
        world_size = self.trainer.world_size
        figures, mine, costs, records = self._figures, self._tokens, self._costs, self._records
        self._figures, self._tokens, self._costs, self._records = {}, 0, None, []
        bad_loss = ~torch.isfinite(figures["loss"])
        told = [] if costs is None or world_size == 1 else costs.tolist()  # one process does not wait for its device
        tokens, bad_losses, stops, *told = distributed.total(
            [mine, bool(bad_loss) if world_size > 1 else 0, self.stop_wanted, *told], self.device
        )
        self.stop_agreed = stops > 0
        scale = world_size * self.trainer.accumulate_grad_batches / max(tokens, 1)
        terms = regularise(self.parameters(), self.mechanisms, self.criterion.weights, scale)
        self.criterion.accept(terms)
        norm = rescale(self.parameters(), scale, gradient_clip_val, gradient_clip_algorithm)
        self.learning_rate = optimizer.param_groups[0]["lr"]

        bad = bad_loss | ~torch.isfinite(norm)
        if world_size == 1 and self.guard.on_device(optimizer, norm.device):
            self.guard.mark(optimizer, bad, self.global_step + 1, records)
        elif bad_losses > 0 or bool(bad):
            self.guard.handle(self.global_step + 1, records)
            optimizer.zero_grad()  # parameters without gradients stay as they are
            return
        good = ~bad
        if costs is not None:
            self.criterion.settle((costs.new_tensor(told) if told else costs).where(good, torch.nan))
        figures |= {"gradient_norm": norm, **terms}
        self.sums.add(updates=good, tokens=good * mine, **{name: v.where(good, 0) for name, v in figures.items()})

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """The step, after which mechanisms put their parameters back into their set, and batch norms have the same
        statistics in all processes.
        """
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        learning = [buffer for norm in self.norms if norm.training for buffer in norm.buffers()]
        distributed.average([buffer for buffer in learning if buffer.is_floating_point()])
        for mechanism in self.mechanisms:
            mechanism.constrain()

    def on_validation_start(self) -> None:
        """Begin to collect the sums of a validation."""
        give_back()
        self.validation.start()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Teacher-forced and generated."""
        self.validation.step(self.model, self.criterion, batch)

    def on_validation_epoch_end(self) -> None:
        """Scores, for early stopping, the schedule and the curves."""
        scores = self.validation.finish()
        give_back()
        self.log_dict({f"validation/{name}": score for name, score in scores.items()}, logger=False)
        if not self.trainer.sanity_checking:
            score = scores[self.options.monitored]
            self.schedule.observe(score if self.options.direction == "max" else -score)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Makes the checkpoint self-contained."""
        checkpoint.update(self.extra)
