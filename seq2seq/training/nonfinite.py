"""What happens to an update whose loss or gradient is not finite."""

from __future__ import annotations

import logging

import torch
from torch import Tensor
from torch.optim import Optimizer

from seq2seq.compat.torch import can_skip_on_device, skip_if
from seq2seq.errors import UserError
from seq2seq.training import distributed

log = logging.getLogger(__name__)


class NonFiniteError(UserError):
    """Raised before the weights have changed."""


class NonFiniteGuard:
    """Keeps non-finite updates from the weights, and says which records made them.

    Where the host computes, each update is looked at. On a device the optimiser's fused kernel leaves the weights
    alone (``found_inf``, the protocol of gradient scalers), and the host looks back every so often.
    """

    def __init__(self, policy: str) -> None:
        self.stops = policy == "stop"
        self.skipped = 0
        self._unseen: list[tuple[int, Tensor, list[Tensor]]] = []  # step, was it bad, its records

    def on_device(self, optimizer: Optimizer, device: torch.device) -> bool:
        """Whether the check can be left to the device."""
        return device.type != "cpu" and can_skip_on_device(optimizer)

    def mark(self, optimizer: Optimizer, bad: Tensor, step: int, records: list[Tensor]) -> None:
        """Let the device skip the update if ``bad`` (a bool scalar on it)."""
        skip_if(optimizer, bad)
        self._unseen.append((step, bad, records))

    def look(self) -> None:
        """Read what the device found since the last look."""
        unseen, self._unseen = self._unseen, []
        if unseen:
            found = torch.stack([bad for _, bad, _ in unseen]).tolist()
            for (step, _, records), bad in zip(unseen, found, strict=True):
                if bad:
                    self.handle(step, records)

    def handle(self, step: int, records: list[Tensor]) -> None:
        """Stop, or count the update as skipped. In several processes all must call."""
        mine = [place for tensor in records for place in tensor.tolist() if place >= 0]
        places = sorted(place for one in distributed.all_gather(mine) for place in one)
        shown = ", ".join(map(str, places[:20])) + (", ..." if len(places) > 20 else "")
        what = f"loss or gradient is not finite at step {step} (records {shown} of the training split, from 0)"
        if self.stops:
            raise NonFiniteError(
                f"{what}; the weights are as before that step. Lower optimizer.lr, look at these records, "
                "or leave such updates out with training.nonfinite=skip"
            )
        self.skipped += 1
        log.warning("%s; update skipped, %d so far", what, self.skipped)
