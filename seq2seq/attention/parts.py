"""What the parts of a composed mechanism have in common."""

from __future__ import annotations

from torch import Tensor, nn


class Part(nn.Module):
    """A score, window, normaliser or selection: it may have the terms and duties of a whole mechanism."""

    def regulariser(self) -> dict[str, Tensor]:
        """Loss terms in the parameters alone, {name: scalar}."""
        return {}

    def constrain(self) -> None:
        """Puts parameters back into their set; called after each optimiser step."""

    def anneal(self, progress: float) -> None:
        """Sets the buffers that change as training goes, ``progress`` from 0 to 1."""
