"""What a score owes to the source, or to attention: the same records or the same model with something taken away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from random import Random
from typing import cast

from torch import nn

from seq2seq.attention.interventions import INTERVENTIONS, intervened
from seq2seq.data.codec import Codec, ImageCodec
from seq2seq.data.records import Record
from seq2seq.errors import UserError


def shuffled_images(records: Sequence[Record], codec: Codec) -> list[Record]:
    """Each record with the picture of another, drawn once for all; what is left is what captions have in common.

    Regions stay those of the caption, so that pointing at them is what a guess at the place of such words would give.
    """
    if not isinstance(codec, ImageCodec):
        raise UserError("evaluation.control=shuffled_images is for models that caption pictures")
    if len(records) < 2:
        raise UserError("evaluation.control=shuffled_images needs two pictures or more")
    order = list(range(len(records)))
    Random(0).shuffle(order)  # one cycle, so that no picture stays in its place
    other = dict(zip(order, [*order[1:], order[0]], strict=True))
    return [cast(Record, {**record, "source": records[other[n]]["source"]}) for n, record in enumerate(records)]


OF_RECORDS: dict[str, Callable[[Sequence[Record], Codec], list[Record]]] = {"shuffled_images": shuffled_images}
OF_ATTENTION = {f"{name}_attention": change for name, change in INTERVENTIONS.items()}


@dataclass(frozen=True)
class Control:
    """What is changed before records are scored (``evaluation.control``): the records, or where attention looks."""

    control: str | None = None

    def __post_init__(self) -> None:
        known = [*OF_RECORDS, *OF_ATTENTION]
        if self.control is not None and self.control not in known:
            raise UserError(f"evaluation.control={self.control} is none of: {', '.join(known)}")

    def __call__(self, records: Sequence[Record], codec: Codec) -> Sequence[Record]:
        """The records to score."""
        change = OF_RECORDS.get(self.control or "")
        return records if change is None else change(records, codec)

    def around(self, model: nn.Module) -> AbstractContextManager[None]:
        """Within it, ``model`` attends as the control has it."""
        change = OF_ATTENTION.get(self.control or "")
        return nullcontext() if change is None else intervened(model, change)
