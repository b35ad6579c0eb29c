"""Averages of weights, which validation and the best model use instead of the trained weights.

Lightning's own ``WeightAveraging`` reads a counter from the device in each step, and before its first update it
validates the initial weights.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from typing_extensions import override

from seq2seq.compat.lightning import ends_update
from seq2seq.compat.torch import interpolate_
from seq2seq.training.options import TrainingOptions

AveragingState = dict[str, Any]
Weights = list[Tensor]


class Averaging(Callback):
    """Base of averages, which replace the weights during validation and under ``state_dict`` in checkpoints.

    A checkpoint contains the trained weights as ``trained_state_dict``. Buffers are not averaged.
    """

    def __init__(self) -> None:
        self.average: Weights = []
        self._swapped = False

    @abstractmethod
    def update(self, weights: Weights, step: int) -> None:
        """Update the average after an update of the weights.

        Args:
            weights: The trained weights.
            step: Number of updates so far.
        """

    def refresh(self, weights: Weights, step: int) -> None:
        """Prepare the average for a validation; after an interrupted validation, the same step comes again.

        Args:
            weights: The trained weights.
            step: Number of updates so far.
        """

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Move the average to the device; from a checkpoint it is on the CPU."""
        self.average = [average.to(pl_module.device) for average in self.average]

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average after each update."""
        if ends_update(trainer):
            with torch.no_grad():
                self.update(list(pl_module.parameters()), trainer.global_step)

    @override
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the average into the model."""
        if not trainer.sanity_checking:
            with torch.no_grad():
                self.refresh(list(pl_module.parameters()), trainer.global_step)
            self._swap(pl_module)

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the trained weights back into the model."""
        if self._swapped:
            self._swap(pl_module)

    @override
    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Put the trained weights back into the model after an interrupted validation."""
        if self._swapped:
            self._swap(pl_module)

    @torch.no_grad()
    def _swap(self, module: L.LightningModule) -> None:
        """Exchange the weights of the model and the average, in place."""
        # Before the first update there is no average, and nothing is exchanged.
        for parameter, average in zip(module.parameters(), self.average, strict=False):
            trained = parameter.clone()
            parameter.copy_(average)
            average.copy_(trained)
        self._swapped = bool(self.average) and not self._swapped

    @override
    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: AveragingState) -> None:
        """Save both the average and the trained weights; only called outside validation."""
        if self.average:
            # A shared parameter has several names in ``state_dict``.
            of = {id(p): average for p, average in zip(pl_module.parameters(), self.average, strict=True)}
            averages = {name: of[id(p)] for name, p in pl_module.named_parameters(remove_duplicate=False)}
            checkpoint["trained_state_dict"] = checkpoint["state_dict"]
            checkpoint["state_dict"] = {**checkpoint["state_dict"], **averages}

    @override
    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: AveragingState) -> None:
        """Load the average, and put the trained weights into the model."""
        if "trained_state_dict" in checkpoint:
            averages = checkpoint["state_dict"]
            self.average = [averages[name].clone() for name, _ in pl_module.named_parameters()]
            pl_module.load_state_dict(checkpoint["trained_state_dict"])


class MovingAverage(Averaging):
    """Exponential moving average: a <- d a + (1 - d) w after each update t, d = min(``decay``, (1 + t) / (10 + t)).

    The smaller d at the start makes the average forget the random weights soon. If the weights were trained before,
    the average starts with them and d is ``decay``, so that it remembers them: weights between those of the first
    training and those of the second do better than either (Wortsman 2022, arXiv:2109.01903).

    Args:
        decay: Decay d, between 0 and 1.
        trained: Whether the initial weights were trained before.
    """

    def __init__(self, decay: float, trained: bool = False) -> None:
        super().__init__()
        self.decay, self.trained = decay, trained

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start with the trained weights of an earlier training, unless this run is resumed."""
        super().on_train_start(trainer, pl_module)
        if self.trained and not self.average:
            self.average = [weight.detach().clone() for weight in pl_module.parameters()]

    @override
    def update(self, weights: Weights, step: int) -> None:
        if not self.average:
            self.average = [weight.detach().clone() for weight in weights]
        else:
            decay = self.decay if self.trained else min(self.decay, (1 + step) / (10 + step))
            interpolate_(self.average, weights, 1 - decay)


class LastAverage(Averaging):
    """Mean of the weights at the last ``count`` validations (Vaswani et al. 2017, section 6.1: of checkpoints).

    Args:
        count: Number of validations.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.snapshots: deque[Weights] = deque(maxlen=count)
        self.latest = -1  # step of the latest snapshot

    @override
    def update(self, weights: Weights, step: int) -> None:
        """Do nothing: the average changes only at validations."""

    @override
    def refresh(self, weights: Weights, step: int) -> None:
        """Add the weights as a snapshot, unless it exists already."""
        if step != self.latest:
            # Keep the snapshots on the CPU to save memory of the device.
            self.snapshots.append([weight.detach().cpu().clone() for weight in weights])
            means = [torch.stack(several).mean(0) for several in zip(*self.snapshots, strict=True)]
            self.average = [mean.to(weight.device) for mean, weight in zip(means, weights, strict=True)]
            self.latest = step

    @override
    def state_dict(self) -> AveragingState:
        """Return the snapshots, and the step of the latest one."""
        return {"snapshots": list(self.snapshots), "latest": self.latest}

    @override
    def load_state_dict(self, state_dict: AveragingState) -> None:
        """Restore the snapshots from a checkpoint."""
        self.snapshots.extend(state_dict["snapshots"])
        self.latest = state_dict["latest"]


def averaging(options: TrainingOptions) -> list[Callback]:
    """Return the callbacks for ``training.averaging``; none for ``none``.

    Args:
        options: Options of training.
    """
    # Weights from ``init_from`` were trained before.
    if options.averaging == "ema":
        return [MovingAverage(options.ema_decay, trained=options.init_from is not None)]
    return [LastAverage(options.average_last)] if options.averaging == "last" else []
