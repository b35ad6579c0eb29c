"""Sums that stay on the device: reading them is the one moment at which the host waits for it."""

from __future__ import annotations

import torch
from torch import Tensor

from seq2seq.training.distributed import all_gather


class MetricAccumulator:
    """Named running sums of scalars; what the host knows anyway stays with the host."""

    def __init__(self) -> None:
        self._device: dict[str, Tensor] = {}
        self._host: dict[str, int] = {}

    def add(self, **values: Tensor | int) -> None:
        """Add to each of the named sums, in float64 where the device has it."""
        for name, value in values.items():
            if isinstance(value, Tensor):
                value = value.detach().to(_widest(value.device))
                self._device[name] = self._device[name] + value if name in self._device else value
            else:
                self._host[name] = self._host.get(name, 0) + value

    def totals(self) -> dict[str, float]:
        """The sums over all processes (each of which must call this)."""
        mine: dict[str, float] = dict(self._host)
        if self._device:
            mine |= zip(self._device, torch.stack(list(self._device.values())).tolist(), strict=True)
        found: dict[str, float] = {}
        for sums in all_gather(mine):
            for name, value in sums.items():
                found[name] = found.get(name, 0) + value
        return found

    def take(self) -> dict[str, float]:
        """``totals``, after which they start again from nothing."""
        found = self.totals()
        self._device, self._host = {}, {}
        return found

    def put(self, totals: dict[str, float], device: torch.device) -> None:
        """Go on from stored sums."""
        self._host = {name: value for name, value in totals.items() if isinstance(value, int)}
        floats = {name: value for name, value in totals.items() if name not in self._host}
        self._device = {name: torch.tensor(v, dtype=_widest(device), device=device) for name, v in floats.items()}


def _widest(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
