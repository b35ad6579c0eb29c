"""Guard against updates whose loss or gradient is not finite."""

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
    """Loss or gradient that is not finite; raised before the weights change."""


class NonFiniteGuard:
    """Guard that keeps updates that are not finite away from the weights and reports their records.

    On the CPU each update is checked before its step. On a device the fused kernel of the optimiser skips the step
    (``found_inf``, the protocol of gradient scalers). The host reads the results later, so it does not have to wait.

    Args:
        policy: ``stop`` raises an error; ``skip`` skips the update.
    """

    def __init__(self, policy: str) -> None:
        self.stops = policy == "stop"
        self.skipped = 0
        self._unseen: list[tuple[int, Tensor, list[Tensor]]] = []  # step, whether it is not finite, its records

    def on_device(self, optimizer: Optimizer, device: torch.device) -> bool:
        """Return True if the device can do the check.

        Args:
            optimizer: The optimiser of the model.
            device: Device of the gradients.
        """
        return device.type != "cpu" and can_skip_on_device(optimizer)

    def mark(self, optimizer: Optimizer, bad: Tensor, step: int, records: list[Tensor]) -> None:
        """Let the device skip the update if it is not finite.

        Args:
            optimizer: The optimiser that steps next.
            bad: Whether loss or gradient is not finite, a bool scalar on the device.
            step: Number of the update, from 1.
            records: Record numbers of each micro-batch.
        """
        skip_if(optimizer, bad)
        self._unseen.append((step, bad, records))

    def look(self) -> None:
        """Read what the device has found since the last call.

        Raises:
            NonFiniteError: An update was not finite, and the policy is ``stop``.
        """
        unseen, self._unseen = self._unseen, []
        if unseen:
            # Read all results at once, since the host waits for the device.
            found = torch.stack([bad for _, bad, _ in unseen]).tolist()
            for (step, _, records), bad in zip(unseen, found, strict=True):
                if bad:
                    self.handle(step, records)

    def handle(self, step: int, records: list[Tensor]) -> None:
        """Raise an error, or count the update as skipped. Every process must call this.

        Args:
            step: Number of the update, from 1.
            records: Record numbers of each micro-batch; negative ones are padding.

        Raises:
            NonFiniteError: The policy is ``stop``.
        """
        # Collect the records of all processes, and show the first ones.
        mine = [place for tensor in records for place in tensor.tolist() if place >= 0]
        places = sorted(place for one in distributed.all_gather(mine) for place in one)
        shown = ", ".join(map(str, places[:20])) + (", ..." if len(places) > 20 else "")
        what = f"loss or gradient is not finite at step {step} (records {shown} of the training split, counted from 0)"
        if self.stops:
            raise NonFiniteError(
                f"{what}; the weights did not change in this step. Lower optimizer.lr, check these records, "
                "or skip such updates with training.nonfinite=skip"
            )
        self.skipped += 1
        log.warning("%s; update skipped, %d so far", what, self.skipped)
