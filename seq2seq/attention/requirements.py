"""Checks of a mechanism's options and source. Each check raises ``UserError`` with the reason."""

from __future__ import annotations

import math

from seq2seq.attention.types import SourceSpec
from seq2seq.errors import UserError


def at_least_1(**counts: int | None) -> None:
    """Refuse sizes and counts below 1.

    Args:
        **counts: Values by option name; None, for a default that is chosen later, passes.

    Raises:
        UserError: A value is below 1.
    """
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UserError(f"{name}={count} must be at least 1")


def above_0(**factors: float | None) -> None:
    """Refuse factors that are not above 0 or not finite.

    Args:
        **factors: Values by option name; None, for a default that is chosen later, passes.

    Raises:
        UserError: A value is not above 0, or not finite.
    """
    for name, factor in factors.items():
        if factor is not None and not 0 < factor < math.inf:
            raise UserError(f"{name}={factor} must be above 0 and finite")


MEMORY = (
    "attention that remembers where it looked needs a source that stays the same; "
    "use it as attention, not as self-attention"
)


def refuse_self(source: SourceSpec, reason: str = MEMORY) -> None:
    """Refuse self-attention.

    Args:
        source: Source of the mechanism.
        reason: Message to the user; by default, that the mechanism remembers where it looked.

    Raises:
        UserError: The source is that of self-attention.
    """
    if source.is_self or source.causal:
        raise UserError(reason)


def refuse_regions(source: SourceSpec) -> None:
    """Refuse image regions, for mechanisms that move from one position to the next.

    Args:
        source: Source of the mechanism.

    Raises:
        UserError: The positions of the source have more than one axis.
    """
    if source.axes != 1:
        raise UserError("attention that moves along the source needs positions in time; image regions have none")


def refuse_copying(source: SourceSpec) -> None:
    """Refuse decoders that copy, for mechanisms whose likelihood does not include copying.

    Args:
        source: Source of the mechanism.

    Raises:
        UserError: The decoder copies source words by this attention.
    """
    if source.copied:
        raise UserError(
            "the likelihood of this attention does not include copying; set copy=false of the decoder, or use "
            "attention=hard_marginal"
        )
