"""Gold annotations of a record, as they hold for one output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seq2seq.data.records import Record, regions_of
from seq2seq.metrics.gold import GoldLinks


@dataclass(frozen=True)
class Annotations:
    """What is known of the words of an output."""

    gold: GoldLinks | None = None  # right links to source words
    origins: Sequence[int] | None = None  # the source sentence of each word; -1 is none
    regions: Sequence[Sequence[float]] | None = None  # the boxes that each word names


NO_ANNOTATIONS = Annotations()


def gold_of(record: Record) -> GoldLinks:
    """Return a record's own links, between its words."""
    source, target = record["source"].split(), record["target"].split()
    return GoldLinks.of(source, target, record.get("alignment", ()), record.get("possible", ()))


def annotations_of(record: Record, output: str) -> Annotations:
    """Return the annotations that hold for ``output``: they are of the reference's words, so it has to say the same."""
    regions = regions_of(record, output)
    if output.split() != record["target"].split():
        return Annotations(regions=regions)  # of another reference
    return Annotations(gold_of(record) if record.get("alignment") else None, record.get("origins"), regions)
