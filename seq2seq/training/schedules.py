"""Learning rates by optimiser step t = 1, 2, ...: lr_t = peak * min(1, t / warmup) * factor(t).

``optimizer.lr`` is the peak. All are pure functions of the step (``PlateauSchedule`` also of the validations), so a
resumed run goes on with the same numbers.
"""

from __future__ import annotations

import logging
import math
from abc import abstractmethod

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from seq2seq.errors import UserError

log = logging.getLogger(__name__)


class Schedule(LRScheduler):
    """Base: linear warm-up to the peak, then ``factor``."""

    progress: float = 0.0  # of a training that time ends, 0 to 1

    def __init__(self, optimizer: Optimizer, warmup_steps: int = 0) -> None:
        if warmup_steps < 0:
            raise UserError(f"warmup_steps={warmup_steps} must be 0 or more")
        self.warmup_steps = warmup_steps
        super().__init__(optimizer)

    @abstractmethod
    def factor(self, step: int) -> float:
        """What is left of the peak in the update ``step`` >= 1, warm-up aside."""

    def plan(self, total_steps: float, *, timed: bool = False) -> None:
        """Told once, before training, how many updates there will be (inf or -1 if unknown), and whether time says when
        it ends: then ``progress`` is told before each update.
        """
        if 0 < total_steps < self.warmup_steps:
            log.warning(
                "training ends after %d updates, in the warm-up (lr_scheduler.warmup_steps=%d)",
                total_steps,
                self.warmup_steps,
            )

    def observe(self, score: float) -> None:
        """Told after each validation the monitored score, signed so that higher is better."""

    def get_lr(self) -> list[float | Tensor]:
        """Rates of the update after ``last_epoch`` updates, a parameter group each."""
        step = self.last_epoch + 1
        warm = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        return [float(peak) * warm * self.factor(step) for peak in self.base_lrs]


class ConstantSchedule(Schedule):
    """A constant learning rate: factor = 1."""

    def factor(self, step: int) -> float:
        """Return 1 at every step."""
        return 1.0


class InverseSquareRootSchedule(Schedule):
    """factor = sqrt(warmup / t) after the warm-up (Vaswani et al. 2017, section 5.3, scaled to peak at ``lr``)."""

    def factor(self, step: int) -> float:
        """sqrt(w / max(t, w)), w at least 1."""
        start = max(1, self.warmup_steps)
        return math.sqrt(start / max(step, start))


class CosineSchedule(Schedule):
    """factor falls from 1 to ``final`` along half a cosine (Loshchilov and Hutter 2017, one cycle).

    ``total_steps`` null means the whole training, as planned when it began.
    """

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int = 0, total_steps: int | None = None, final: float = 0.0
    ) -> None:
        if not 0 <= final <= 1:
            raise UserError(f"final={final} must lie in 0..1")
        self.total_steps = total_steps
        self.final = final
        super().__init__(optimizer, warmup_steps)

    def plan(self, total_steps: float, *, timed: bool = False) -> None:
        """Take the length of training where none was given."""
        if self.total_steps is None and 0 < total_steps < math.inf:
            self.total_steps = int(total_steps)
        elif self.total_steps is None and not timed:
            raise UserError(
                "lr_scheduler=cosine needs an end: set trainer.max_steps or max_time, a budget, or "
                "lr_scheduler.total_steps"
            )
        super().plan(self.total_steps or total_steps)

    def factor(self, step: int) -> float:
        """final + (1 - final) (1 + cos(pi progress)) / 2."""
        if step <= self.warmup_steps:
            return 1.0
        progress = self.progress
        if self.total_steps is not None:
            progress = min(1.0, (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps))
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2


class HalvingSchedule(Schedule):
    """factor = 1 for the first ``after`` of ``epochs`` equal parts of the training, then halved once a part (Luong et
    al. 2015, section 4.1: 12 epochs, from the 8th on): 1/2 in the part that comes next, 1/4, ...
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int = 0, epochs: int = 12, after: int = 8) -> None:
        if not 0 <= after < epochs:
            raise UserError(f"after={after} must be 0 or more, and less than epochs={epochs}")
        self.epochs, self.after = epochs, after
        self.total_steps = 0.0
        super().__init__(optimizer, warmup_steps)

    def plan(self, total_steps: float, *, timed: bool = False) -> None:
        """Take the length of training."""
        if 0 < total_steps < math.inf:
            self.total_steps = total_steps
        elif not timed:
            raise UserError(
                "lr_scheduler=halving needs an end: set trainer.max_epochs, max_steps or max_time, or a budget"
            )
        super().plan(total_steps, timed=timed)

    def factor(self, step: int) -> float:
        """0.5^max(0, parts done - after + 1)."""
        progress = (step - 1) / self.total_steps if self.total_steps else self.progress
        return 0.5 ** max(0, math.floor(progress * self.epochs + 1e-9) - self.after + 1)


class PlateauSchedule(Schedule):
    """factor is multiplied by ``reduce`` after ``patience`` validations without a new best, down to ``final``."""

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

    def observe(self, score: float) -> None:
        """Count validations without a new best."""
        if score > self.best:
            self.best, self.waited = score, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.current, self.waited = max(self.final, self.current * self.reduce), 0

    def factor(self, step: int) -> float:
        """As the validations so far have it."""
        return self.current
