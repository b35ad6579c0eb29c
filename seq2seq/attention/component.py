"""Base of the parts of which attention mechanisms are composed."""

from __future__ import annotations

from torch import Tensor, nn


class AttentionComponent(nn.Module):
    """Base of scores, windows, normalisers, selections and feature maps.

    ``terms`` names the loss terms that a component can add; the check of ``loss.weights`` reads it.
    """

    terms: tuple[str, ...] = ()

    @property
    def passes_gradient(self) -> bool:
        """True if the gradient of a loss on the weights reaches the scores in every forward pass."""
        return True

    def regulariser(self) -> dict[str, Tensor]:
        """Return loss terms of the parameters alone, {name: scalar}."""
        return {}

    def constrain(self) -> None:
        """Project parameters onto their allowed set. Called after each optimiser step."""

    def set_progress(self, progress: float) -> None:
        """Update the buffers that depend on the progress of training. Called before each update.

        Args:
            progress: Share of training that is over, 0..1.
        """
