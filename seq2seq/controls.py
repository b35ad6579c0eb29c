"""What a score owes to the source: the same records with something taken from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import cast

from seq2seq.data.captions import ImageCodec
from seq2seq.data.codec import Codec
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


CONTROLS: dict[str, Callable[[Sequence[Record], Codec], list[Record]]] = {"shuffled_images": shuffled_images}


@dataclass(frozen=True)
class Control:
    """What is taken from the records before they are scored (``evaluation.control``)."""

    control: str | None

    def __call__(self, records: Sequence[Record], codec: Codec) -> Sequence[Record]:
        """The records to score."""
        if self.control is None:
            return records
        if self.control not in CONTROLS:
            raise UserError(f"evaluation.control={self.control} is none of: {', '.join(CONTROLS)}")
        return CONTROLS[self.control](records, codec)
