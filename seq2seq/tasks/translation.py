"""Translation: sentences to sentences, a heat-map for each attention slot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seq2seq.generation.attention_map import AttentionMap
from seq2seq.metrics.gold import GoldLinks
from seq2seq.plots.sentence import save_sentence
from seq2seq.tasks.base import Task


class Translation(Task):
    """A sentence to a sentence of another language."""

    def plot(
        self,
        seen: AttentionMap,
        directory: str | Path,
        record: int,
        gold: GoldLinks | None = None,
        origins: Sequence[int] | None = None,
        regions: Sequence[Sequence[float]] | None = None,
    ) -> list[Path]:
        """Draw a heat-map for each slot, with the gold links in it."""
        return save_sentence(directory, record, seen.weights, seen.source, seen.target, gold=gold)
