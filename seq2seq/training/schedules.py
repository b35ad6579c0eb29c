"""Learning-rate schedules by optimiser step t = 1, 2, ...: lr_t = peak * min(1, t / warmup) * factor(t).

``optimizer.lr`` is the peak. Every schedule is a pure function of the step, so a resumed run continues with the same
learning rates. ``PlateauSchedule`` also depends on the validations.
"""

from __future__ import annotations

import logging
import math
from abc import abstractmethod

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from typing_extensions import override

from seq2seq.errors import UserError

log = logging.getLogger(__name__)


class Schedule(LRScheduler):
    """Base of schedules: linear warm-up to the peak, then the peak times ``factor``.

    Args:
        optimizer: The optimiser; its learning rate is the peak.
        warmup_steps: Number of steps of the warm-up; 0 for none.

    Raises:
        UserError: An option is out of range.
    """

    progress: float = 0.0  # share of training that is done, 0 to 1, if time ends training

    def __init__(self, optimizer: Optimizer, warmup_steps: int = 0) -> None:
        if warmup_steps < 0:
            raise UserError(f"warmup_steps={warmup_steps} must be 0 or more")
        self.warmup_steps = warmup_steps
        super().__init__(optimizer)

    @abstractmethod
    def factor(self, step: int) -> float:
        """Return the share of the peak at a step, without the warm-up.

        Args:
            step: The optimiser step, >= 1.
        """

    def plan(self, total_steps: float, *, timed: bool = False) -> None:
        """Receive the length of training, once, before training starts.

        Args:
            total_steps: Number of updates of the training; inf or -1 if unknown.
            timed: Whether a time limit ends training. ``progress`` is then set before each update.

        Raises:
            UserError: The schedule needs an end of training, and there is none.
        """
        if 0 < total_steps < self.warmup_steps:
            log.warning(
                "training ends after %d updates, in the warm-up (lr_scheduler.warmup_steps=%d)",
                total_steps,
                self.warmup_steps,
            )

    def observe(self, score: float) -> None:
        """Receive the score of a validation.

        Args:
            score: Value of the monitored metric, with a sign such that higher is better.
        """

    @override
    def get_lr(self) -> list[float | Tensor]:
        """Return the learning rate of each parameter group for the update after ``last_epoch`` updates."""
        # ``last_epoch`` counts the updates so far, not epochs.
        step = self.last_epoch + 1
        warm = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        return [float(peak) * warm * self.factor(step) for peak in self.base_lrs]


class ConstantSchedule(Schedule):
    """Constant learning rate: factor = 1."""

    @override
    def factor(self, step: int) -> float:
        return 1.0


class InverseSquareRootSchedule(Schedule):
    """Inverse square root of the step: factor = sqrt(w / max(t, w)), w = max(1, ``warmup_steps``).

    It is sqrt(warmup / t) after the warm-up (Vaswani et al. 2017, section 5.3, scaled to peak at ``lr``).
    """

    @override
    def factor(self, step: int) -> float:
        start = max(1, self.warmup_steps)
        return math.sqrt(start / max(step, start))


class CosineSchedule(Schedule):
    """Half a cosine from 1 to ``final`` (Loshchilov and Hutter 2017, one cycle).

    factor = final + (1 - final) (1 + cos(pi progress)) / 2, with progress from 0 to 1 after the warm-up.

    Args:
        optimizer: The optimiser; its learning rate is the peak.
        warmup_steps: Number of steps of the warm-up; 0 for none.
        total_steps: Step at which the factor reaches ``final``; None = the planned end of training.
        final: Last factor, 0 to 1.
    """

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int = 0, total_steps: int | None = None, final: float = 0.0
    ) -> None:
        if not 0 <= final <= 1:
            raise UserError(f"final={final} must lie in 0..1")
        self.total_steps = total_steps
        self.final = final
        super().__init__(optimizer, warmup_steps)

    @override
    def plan(self, total_steps: float, *, timed: bool = False) -> None:
        if self.total_steps is None and 0 < total_steps < math.inf:
            self.total_steps = int(total_steps)
        elif self.total_steps is None and not timed:
            raise UserError(
                "lr_scheduler=cosine needs an end: set trainer.max_steps or max_time, a budget, or "
                "lr_scheduler.total_steps"
            )
        # The base warns if training ends in the warm-up.
        super().plan(self.total_steps or total_steps)

    @override
    def factor(self, step: int) -> float:
        if step <= self.warmup_steps:
            return 1.0
        # Take the share of time unless the number of steps is known.
        progress = self.progress
        if self.total_steps is not None:
            progress = min(1.0, (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps))
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2


class HalvingSchedule(Schedule):
    """Halving of the learning rate in the last parts of training (Luong et al. 2015, section 4.1).

    Training has ``epochs`` equal parts. factor = 0.5^max(0, parts done - after + 1): it is 1 in the first ``after``
    parts, then 1/2 in the next part, 1/4, ... The paper has 12 epochs and halves from the 8th on.

    Args:
        optimizer: The optimiser; its learning rate is the peak.
        warmup_steps: Number of steps of the warm-up; 0 for none.
        epochs: Number of parts.
        after: Number of parts with the full learning rate.
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int = 0, epochs: int = 12, after: int = 8) -> None:
        if not 0 <= after < epochs:
            raise UserError(f"after={after} must be 0 or more, and less than epochs={epochs}")
        self.epochs, self.after = epochs, after
        self.total_steps = 0.0
        super().__init__(optimizer, warmup_steps)

    @override
    def plan(self, total_steps: float, *, timed: bool = False) -> None:
        if 0 < total_steps < math.inf:
            self.total_steps = total_steps
        elif not timed:
            raise UserError(
                "lr_scheduler=halving needs an end: set trainer.max_epochs, max_steps or max_time, or a budget"
            )
        super().plan(total_steps, timed=timed)

    @override
    def factor(self, step: int) -> float:
        progress = (step - 1) / self.total_steps if self.total_steps else self.progress
        # The small number absorbs rounding errors of the division.
        return 0.5 ** max(0, math.floor(progress * self.epochs + 1e-9) - self.after + 1)


class PlateauSchedule(Schedule):
    """Reduction of the learning rate when the validation score stops improving.

    factor is multiplied by ``reduce`` after ``patience`` validations without a new best, down to ``final``.

    Args:
        optimizer: The optimiser; its learning rate is the peak.
        warmup_steps: Number of steps of the warm-up; 0 for none.
        reduce: Multiplier, between 0 and 1.
        patience: Number of validations without a new best.
        final: Smallest factor.
    """

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int = 0, reduce: float = 0.5, patience: int = 2, final: float = 0.01
    ) -> None:
        if not 0 < reduce < 1:
            raise UserError(f"reduce={reduce} must lie between 0 and 1")
        if patience < 1:
            raise UserError(f"patience={patience} must be at least 1")
        self.reduce, self.patience, self.final = reduce, patience, final
        self.current, self.best, self.waited = 1.0, -math.inf, 0
        super().__init__(optimizer, warmup_steps)

    @override
    def observe(self, score: float) -> None:
        # A new best restarts the count.
        if score > self.best:
            self.best, self.waited = score, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.current, self.waited = max(self.final, self.current * self.reduce), 0

    @override
    def factor(self, step: int) -> float:
        return self.current
