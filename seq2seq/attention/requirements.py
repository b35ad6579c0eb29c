"""What the parts of a mechanism have in common, and what many of them do to tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seq2seq.errors import UserError


class AttentionComponent(nn.Module):
    """A score, window, normaliser or selection: it may have the terms and duties of a whole mechanism.

    ``terms`` names the loss terms that it can add; the check of ``loss.weights`` reads it.
    """

    terms: tuple[str, ...] = ()

    def regulariser(self) -> dict[str, Tensor]:
        """Loss terms in the parameters alone, {name: scalar}."""
        return {}

    def constrain(self) -> None:
        """Puts parameters back into their set; called after each optimiser step."""

    def anneal(self, progress: float) -> None:
        """Sets the buffers that change as training goes, ``progress`` from 0 to 1."""


def wide(dtype: torch.dtype) -> torch.dtype:
    """What sums, exponents and places are kept in: at least fp32."""
    return torch.promote_types(dtype, torch.float32)


def widened(x: Tensor) -> Tensor:
    """x in at least fp32."""
    return x.to(wide(x.dtype))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, L, H D) -> (B, H, L, D)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def at_least_1(**counts: int | None) -> None:
    """Refuse sizes and numbers of things below 1; None is a default that is found later."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UserError(f"{name}={count} must be at least 1")
