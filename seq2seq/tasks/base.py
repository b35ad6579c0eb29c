"""A task: all that depends on what the sources and the targets are, in one place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from omegaconf import DictConfig

from seq2seq.config.instantiate import locate
from seq2seq.data.codec import Codec
from seq2seq.data.corpus import Corpus
from seq2seq.data.records import Record
from seq2seq.encoders.base import Encoder
from seq2seq.errors import UserError
from seq2seq.generation.attention_map import AttentionMap
from seq2seq.generation.inputs import NamedInput, files_read, read_sentences
from seq2seq.metrics import MetricResult
from seq2seq.tasks.annotations import NO_ANNOTATIONS, Annotations

RecordChange = Callable[[Sequence[Record]], list[Record]]
"""What a control makes of the records that are scored."""


@dataclass(frozen=True)
class ScoredRecords:
    """Records with their outputs, as ``Task.scores`` reads them. All lists are of N records, in one order."""

    records: Sequence[Record]
    outputs: Sequence[str]
    references: Sequence[Sequence[str]]
    readable: Sequence[Record]  # those of the records whose source could be read when references were forced
    codec: Codec

    @property
    def sources(self) -> list[str]:
        """Return the source of each record."""
        return [record["source"] for record in self.records]


class Task(ABC):
    """How sources of one kind are read, how outputs are scored, and how attention is drawn.

    A task is a node of the config (``conf/task/NAME.yaml``). Its YAML may also hold defaults of other groups, which
    read them by interpolation (``${oc.select:task.max_length,1024}``); the task takes them and ignores them.

    Args:
        metrics: Names of the metrics of outputs (``seq2seq.metrics.score``), for the scores of a finished run.
        defaults: Options of the YAML that other groups read.
    """

    reads: ClassVar[Collection[str]] = ("text",)
    """What the sources may be: ``text``, ``image``, ``video``. Corpora, codecs and encoders declare theirs likewise."""
    source_name: ClassVar[str] = "text"
    """What messages call the sources."""
    encoders: ClassVar[str] = "rnn or transformer"
    """Choices of ``encoder=`` that read the sources, as messages name them."""
    documents: ClassVar[bool] = False
    """Whether a source is a document, with a sentence a line."""
    has_source_words: ClassVar[bool] = True
    """Whether there are source words that links between words can name."""
    suffixes: ClassVar[Collection[str]] = frozenset({".txt"})
    """Suffixes of the files of a folder that generation reads."""
    group_size: ClassVar[int] = 1024
    """Inputs that are generated together: enough to batch by length, few enough to watch."""
    controls: ClassVar[Mapping[str, RecordChange]] = {}
    """``evaluation.control``: {name: what it makes of the records}."""

    def __init__(self, metrics: Sequence[str] = (), **defaults: Any) -> None:
        self.metrics = metrics

    def check(self, corpus: Corpus, config: DictConfig) -> None:
        """Refuse data and an encoder that the task cannot use, before any data is read.

        Raises:
            UserError: One line that names the option and the remedy.
        """
        name = type(self).__name__
        encoder = cast(type[Encoder], locate(config.encoder._target_))
        if corpus.reads not in self.reads:
            raise UserError(
                f"task: {name} reads {self.source_name}, but data={corpus.name} is {corpus.reads}: leave task= out, "
                "each data= has its own"
            )
        if encoder.reads not in self.reads:
            raise UserError(
                f"encoder: {encoder.__name__} can't read data={corpus.name}, which is {self.source_name}: "
                f"choose encoder={self.encoders}"
            )
        if corpus.documents != self.documents:
            kind = "documents" if self.documents else "single texts"
            needed = f"data.documents={str(self.documents).lower()}"
            raise UserError(
                f"task: {name} reads {kind}, but data={corpus.name} has none: leave task= out, or set {needed}"
            )

    def inputs(self, path: str | None, data: DictConfig, *, interactive: bool = False) -> Iterator[NamedInput]:
        """Yield (name, source) of the new inputs in ``path``; None is stdin.

        Args:
            path: The option ``input`` of ``generate.py``.
            data: The ``data`` node of the run's config.
            interactive: Whether a person types the inputs, after a prompt.
        """
        return read_sentences(path, interactive=interactive)

    def input_files(self, path: str | None) -> Iterator[str | Path]:
        """Yield the files that ``inputs`` opens, so that no output is written over one of them."""
        return files_read(path, self.suffixes)

    def scores(self, scored: ScoredRecords) -> dict[str, MetricResult]:
        """Return figures of the outputs beside ``metrics``: baselines, and what no reference tells."""
        return {}

    @abstractmethod
    def plot(
        self,
        seen: AttentionMap,
        directory: str | Path,
        record: int,
        known: Annotations = NO_ANNOTATIONS,
    ) -> list[Path]:
        """Draw the attention of one output and return the paths of the drawings.

        Args:
            seen: The attention of the output.
            directory: Where the drawings go.
            record: The number of the record, which their names begin with.
            known: The gold annotations that hold for the output.
        """
