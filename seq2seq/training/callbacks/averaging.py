"""Averages of the weights, which are validated and kept instead of the weights that are trained.

(Lightning's own ``WeightAveraging`` reads a counter back from the device in each step, and validates initial weights
until its first update.)
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
    """Base: the average takes the model's place during validation and under ``state_dict`` in checkpoints.

    The trained weights are in a checkpoint as ``trained_state_dict``. Buffers are not averaged.
    """

    def __init__(self) -> None:
        self.average: Weights = []
        self._swapped = False

    @abstractmethod
    def update(self, weights: Weights, step: int) -> None:
        """Follow the weights after an update."""

    def refresh(self, weights: Weights, step: int) -> None:
        """Prepare the average for a validation; called again for a step whose validation was broken off."""

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Move the average to the device: a checkpoint's comes on the CPU."""
        self.average = [average.to(pl_module.device) for average in self.average]

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average after each update of the weights."""
        if ends_update(trainer):
            with torch.no_grad():
                self.update(list(pl_module.parameters()), trainer.global_step)

    @override
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the average in."""
        if not trainer.sanity_checking:
            with torch.no_grad():
                self.refresh(list(pl_module.parameters()), trainer.global_step)
            self._swap(pl_module)

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the trained weights back."""
        if self._swapped:
            self._swap(pl_module)

    @override
    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Put the trained weights back where a validation was broken off."""
        if self._swapped:
            self._swap(pl_module)

    @torch.no_grad()
    def _swap(self, module: L.LightningModule) -> None:
        for parameter, average in zip(module.parameters(), self.average, strict=False):
            trained = parameter.clone()
            parameter.copy_(average)
            average.copy_(trained)
        self._swapped = bool(self.average) and not self._swapped

    @override
    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: AveragingState) -> None:
        """Write both sets of weights; only called outside validation."""
        if self.average:
            of = {id(p): average for p, average in zip(pl_module.parameters(), self.average, strict=True)}
            averages = {name: of[id(p)] for name, p in pl_module.named_parameters(remove_duplicate=False)}
            checkpoint["trained_state_dict"] = checkpoint["state_dict"]
            checkpoint["state_dict"] = {**checkpoint["state_dict"], **averages}

    @override
    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: AveragingState) -> None:
        """Give the model its trained weights back."""
        if "trained_state_dict" in checkpoint:
            averages = checkpoint["state_dict"]
            self.average = [averages[name].clone() for name, _ in pl_module.named_parameters()]
            pl_module.load_state_dict(checkpoint["trained_state_dict"])


class MovingAverage(Averaging):
    """a <- d a + (1 - d) w after each update t, d = min(``decay``, (1 + t) / (10 + t)).

    The smaller d at the start keeps random weights from lingering. Weights that were ``trained`` before shall linger:
    the average starts with them, and d is ``decay``. Between what was learnt first and what was learnt then lie weights
    that do better than either (Wortsman 2022, arXiv:2109.01903).
    """

    def __init__(self, decay: float, trained: bool = False) -> None:
        super().__init__()
        self.decay, self.trained = decay, trained

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start with the weights as they are, unless training goes on."""
        super().on_train_start(trainer, pl_module)
        if self.trained and not self.average:
            self.average = [weight.detach().clone() for weight in pl_module.parameters()]

    @override
    def update(self, weights: Weights, step: int) -> None:
        """Take one step of the average."""
        if not self.average:
            self.average = [weight.detach().clone() for weight in weights]
        else:
            decay = self.decay if self.trained else min(self.decay, (1 + step) / (10 + step))
            interpolate_(self.average, weights, 1 - decay)


class LastAverage(Averaging):
    """The mean of the weights at the last ``count`` validations (Vaswani et al. 2017, section 6.1: of checkpoints)."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.snapshots: deque[Weights] = deque(maxlen=count)
        self.latest = -1  # the step of the last one

    @override
    def update(self, weights: Weights, step: int) -> None:
        """Do nothing: the average changes at validations only."""

    @override
    def refresh(self, weights: Weights, step: int) -> None:
        """Take the weights in."""
        if step != self.latest:
            self.snapshots.append([weight.detach().cpu().clone() for weight in weights])
            means = [torch.stack(several).mean(0) for several in zip(*self.snapshots, strict=True)]
            self.average = [mean.to(weight.device) for mean, weight in zip(means, weights, strict=True)]
            self.latest = step

    @override
    def state_dict(self) -> AveragingState:
        """Return the snapshots, and the step of the last one."""
        return {"snapshots": list(self.snapshots), "latest": self.latest}

    @override
    def load_state_dict(self, state_dict: AveragingState) -> None:
        """Restore the snapshots that a checkpoint holds."""
        self.snapshots.extend(state_dict["snapshots"])
        self.latest = state_dict["latest"]


def averaging(options: TrainingOptions) -> list[Callback]:
    """Return the callbacks that ``training.averaging`` asks for."""
    if options.averaging == "ema":
        return [MovingAverage(options.ema_decay, trained=options.init_from is not None)]
    return [LastAverage(options.average_last)] if options.averaging == "last" else []
