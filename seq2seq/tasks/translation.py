"""Translation of sentences. A plot shows a heat map for each attention slot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from seq2seq.generation.attention_map import AttentionMap
from seq2seq.plots.sentence import save_sentence
from seq2seq.tasks.annotations import NO_ANNOTATIONS, Annotations
from seq2seq.tasks.base import Task


class Translation(Task):
    """Task that maps a sentence to a sentence of another language."""

    highlights: ClassVar[Sequence[str]] = (
        "bleu",
        "chrf",
        "ter",
        "perplexity",
        "loss_entmax{n}",
        "aer",
        "nll_increase_averaged",
        "loss_entmax{n}_increase_averaged",
    )
    has_heat_maps = True

    @override
    def plot(
        self,
        seen: AttentionMap,
        directory: str | Path,
        record: int,
        known: Annotations = NO_ANNOTATIONS,
    ) -> list[Path]:
        # Draw a heat map for each slot, and mark the gold links.
        return save_sentence(
            directory,
            record,
            seen.weights,
            seen.source,
            seen.target,
            seen.source_words,
            seen.target_words,
            gold=known.gold,
            model=seen.model,
            style=self.style,
        )
