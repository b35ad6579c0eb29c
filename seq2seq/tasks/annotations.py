"""Gold annotations that are valid for one output of a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seq2seq.data.records import Record, regions_of
from seq2seq.metrics.gold import GoldLinks


@dataclass(frozen=True)
class Annotations:
    """Gold annotations of the words of an output. None stands for unknown annotations."""

    gold: GoldLinks | None = None  # links to source words
    origins: Sequence[int] | None = None  # source sentence of each word, -1 for none
    regions: Sequence[Sequence[float]] | None = None  # boxes of the objects that each word names
    reference: str | None = None  # the target of the record, valid for any output


NO_ANNOTATIONS = Annotations()


def gold_of(record: Record) -> GoldLinks:
    """Return the gold links between the words of a record.

    Args:
        record: Record with or without annotations.
    """
    source, target = record["source"].split(), record["target"].split()
    return GoldLinks.of(source, target, record.get("alignment", ()), record.get("possible", ()))


def annotations_of(record: Record, output: str) -> Annotations:
    """Return the annotations that are valid for an output.

    Links and origins belong to the words of the target. They are valid only for an output with the same words.

    Args:
        record: Record with or without annotations.
        output: Output for the record.
    """
    # Regions may also come from another reference that equals the output.
    regions = regions_of(record, output)
    if output.split() != record["target"].split():
        return Annotations(regions=regions, reference=record["target"])
    gold = gold_of(record) if record.get("alignment") else None
    return Annotations(gold, record.get("origins"), regions, record["target"])
