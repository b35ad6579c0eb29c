"""What a mechanism requires of its source and its options; what can't be served is refused with the reason."""

from __future__ import annotations

import math

from seq2seq.attention.types import SourceSpec
from seq2seq.errors import UserError


def at_least_1(**counts: int | None) -> None:
    """Refuse sizes and counts below 1. None stands for a default that is chosen later."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UserError(f"{name}={count} must be at least 1")


def above_0(**factors: float | None) -> None:
    """Refuse factors that are not above 0, or not finite. None stands for a default that is chosen later."""
    for name, factor in factors.items():
        if factor is not None and not 0 < factor < math.inf:
            raise UserError(f"{name}={factor} must be above 0")


MEMORY = "attention that remembers where it looked needs a source that stays the same; it can't be self-attention"


def refuse_self(source: SourceSpec, reason: str = MEMORY) -> None:
    """Refuse self-attention, by default because the mechanism remembers where it looked."""
    if source.is_self or source.causal:
        raise UserError(reason)


def refuse_regions(source: SourceSpec) -> None:
    """Refuse image regions, for mechanisms that move from one position to the next."""
    if source.axes != 1:
        raise UserError("attention that moves along the source needs an order in time; image regions have none")
