"""Summarisation of documents, with baselines that copy sentences, and plots of attention to sentences and words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from omegaconf import DictConfig
from typing_extensions import override

from seq2seq.config.ranges import Count
from seq2seq.generation.attention_map import AttentionMap
from seq2seq.generation.inputs import NamedInput, columns_of, read_documents
from seq2seq.metrics import MetricResult, score
from seq2seq.metrics.abstractiveness import extraction
from seq2seq.metrics.extractive_baselines import baselines
from seq2seq.metrics.metric import Metric
from seq2seq.metrics.sentences import copied_words
from seq2seq.plots.document import save_document
from seq2seq.tasks.annotations import NO_ANNOTATIONS, Annotations
from seq2seq.tasks.base import ScoredRecords, Task


class Summarisation(Task):
    """Task that maps a document to a summary.

    Args:
        metrics: Names of the metrics of outputs (``Task``).
        lead_sentences: Number of sentences of the baselines that copy the first or random sentences; None for the
            median of the references.
        lead_words: Number of words of the baseline that copies the first words; None for the median of the references.
        defaults: Options of the YAML file that other groups read (``Task``).
    """

    documents = True
    highlights: ClassVar[Sequence[str]] = (
        "rouge1",
        "rouge2",
        "rougeL",
        "rougeL_lead_{n}",
        "perplexity",
        "loss_entmax{n}",
    )
    group_size: ClassVar[int] = 64

    def __init__(
        self,
        metrics: Sequence[str | Metric] = (),
        lead_sentences: Count | None = None,
        lead_words: Count | None = None,
        **defaults: Any,
    ) -> None:
        super().__init__(metrics, **defaults)
        self.lead_sentences, self.lead_words = lead_sentences, lead_words

    @override
    def inputs(self, path: str | None, data: DictConfig, *, interactive: bool = False) -> Iterator[NamedInput]:
        # A document is a text file or a row of a jsonl file.
        return read_documents(path, columns_of(data), interactive=interactive)

    @override
    def scores(self, scored: ScoredRecords) -> dict[str, MetricResult]:
        return {
            **extraction(scored.sources, scored.outputs, scored.references),
            **self._copied_words(scored),
            **self._copied_sentences(scored),
        }

    @override
    def plot(
        self,
        seen: AttentionMap,
        directory: str | Path,
        record: int,
        known: Annotations = NO_ANNOTATIONS,
    ) -> list[Path]:
        # Draw one image of sentences and words, and write a page.
        return save_document(
            directory,
            record,
            seen.alignment,
            seen.source,
            seen.target,
            seen.source_words,
            seen.target_words,
            sentences=seen.sentences,
            copied=seen.copied,
            origins=known.origins,
            weights=seen.weights,
            reference=known.reference,
            title=", ".join(filter(None, (seen.model, f"document {record}"))),
            style=self.style,
        )

    def _copied_words(self, scored: ScoredRecords) -> dict[str, MetricResult]:
        """Return the share of correct words among those that only copying can produce."""
        targets = [record["target"] for record in scored.records]
        rows = copied_words(scored.sources, targets, scored.outputs, scored.codec.target.knows)
        share = MetricResult.share(rows, "source words that the target vocabulary lacks")
        return {} if share is None else {"copy_accuracy": share}

    def _copied_sentences(self, scored: ScoredRecords) -> dict[str, MetricResult]:
        """Return ROUGE of the baselines that copy sentences, computed by the same code as that of outputs."""
        metrics = [name for name in self.metrics if name.startswith("rouge")]
        if not metrics:
            return {}
        copied = baselines(scored.sources, scored.references, sentences=self.lead_sentences, words=self.lead_words)
        return {
            f"{metric}_{name}": MetricResult(value.score, f"baseline|{value.signature}")
            for name, texts in copied.items()
            for metric, value in score(metrics, texts, scored.references).items()
        }
