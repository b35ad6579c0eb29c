"""What a mechanism requires of its source and its options; what can't be served is refused with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from seq2seq.attention.types import SourceSpec
from seq2seq.errors import UserError


def at_least_1(owner: str, **counts: int | None) -> None:
    """Refuse sizes and counts below 1. None stands for a default that is chosen later."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UserError(f"{owner}.{name} must be at least 1, got {count}")


MEMORY = "attention that remembers where it looked needs a source that stays the same; it can't be self-attention"


def refuse_self(source: SourceSpec, reason: str = MEMORY) -> None:
    """Refuse self-attention, by default because the mechanism remembers where it looked."""
    if source.is_self or source.causal:
        raise UserError(reason)


def refuse_regions(source: SourceSpec) -> None:
    """Refuse image regions, for mechanisms that move from one position to the next."""
    if source.axes != 1:
        raise UserError("attention that moves along the source needs an order in time; image regions have none")


@contextmanager
def score_at(key: str) -> Iterator[None]:
    """Where a score stands at another key than ``score``, its messages name that one."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace("score.", f"{key}.")) from error
