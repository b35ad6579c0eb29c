"""Running sums on the device, which make the host wait only when it reads them."""

from __future__ import annotations

import torch
from torch import Tensor

from seq2seq.runtime.torch_kernels import widest
from seq2seq.training.distributed import all_gather


class MetricAccumulator:
    """Named running sums of scalars: tensors stay on their device, and integers stay on the host."""

    def __init__(self) -> None:
        self._device: dict[str, Tensor] = {}
        self._host: dict[str, int] = {}

    def add(self, **values: Tensor | int) -> None:
        """Add values to the named sums, in float64 if the device supports it.

        Args:
            values: Scalars by the name of their sum. A name must always have the same type of value.
        """
        for name, value in values.items():
            if isinstance(value, Tensor):
                value = value.detach().to(widest(value.device))
                self._device[name] = self._device[name] + value if name in self._device else value
            else:
                self._host[name] = self._host.get(name, 0) + value

    def here(self) -> dict[str, float]:
        """Return the sums of this process alone; this waits for the device."""
        found: dict[str, float] = dict(self._host)
        # One copy moves all sums to the host.
        if self._device:
            found |= zip(self._device, torch.stack(list(self._device.values())).tolist(), strict=True)
        return found

    def totals(self) -> dict[str, float]:
        """Return the sums over all processes; every process must call this."""
        found: dict[str, float] = {}
        for sums in all_gather(self.here()):
            for name, value in sums.items():
                found[name] = found.get(name, 0) + value
        return found

    def take(self) -> dict[str, float]:
        """Return the sums as ``totals`` does, then reset them."""
        found = self.totals()
        self._device, self._host = {}, {}
        return found

    def put(self, totals: dict[str, float], device: torch.device) -> None:
        """Replace the sums by stored ones.

        Args:
            totals: Sums by name.
            device: Device of the sums that are not integers.
        """
        self._host = {name: value for name, value in totals.items() if isinstance(value, int)}
        floats = {name: value for name, value in totals.items() if name not in self._host}
        self._device = {name: torch.tensor(v, dtype=widest(device), device=device) for name, v in floats.items()}
