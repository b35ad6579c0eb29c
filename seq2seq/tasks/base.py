"""Interface of a task: the code that depends on the kind of sources and targets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

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
from seq2seq.metrics.metric import Metric
from seq2seq.metrics.table import find_metric
from seq2seq.metrics.text import names_in
from seq2seq.plots.saving import PLAIN, Style
from seq2seq.tasks.annotations import NO_ANNOTATIONS, Annotations

RecordChange = Callable[[Sequence[Record]], list[Record]]
"""Function that changes the records before they are scored, for a control."""


@dataclass(frozen=True)
class ScoredRecords:
    """N records with their outputs and references, in the same order, for ``Task.scores``."""

    records: Sequence[Record]
    outputs: Sequence[str]  # output for each record
    references: Sequence[Sequence[str]]  # references of each record
    readable: Sequence[Record]  # those records whose attention was measured with their target forced on the model
    codec: Codec  # codec of the model
    training: Callable[[], Sequence[Record]] = tuple  # reads the training records, for baselines that learn from them

    @property
    def sources(self) -> list[str]:
        """Source of each record."""
        return [record["source"] for record in self.records]


class Task(ABC):
    """Base class of tasks. A task reads inputs, adds metrics of outputs and draws attention.

    A task is a node of the config (``conf/task/NAME.yaml``). Its YAML file may also hold defaults of other groups. They
    read the defaults by interpolation (``${oc.select:task.max_length,1024}``), and the task ignores them.

    Args:
        metrics: Metrics of outputs in the results of a finished run: names (``seq2seq.metrics.score``), and metrics of
            the user (``seq2seq.metrics.text.names_in``).
        defaults: Options of the YAML file that other groups read.
    """

    reads: ClassVar[Collection[str]] = ("text",)
    """Kinds of sources: ``text``, ``image``, ``video``. Corpora, codecs and encoders also have a field ``reads``."""
    source_name: ClassVar[str] = "text"
    """Name of the sources in messages."""
    encoders: ClassVar[str] = "rnn or transformer"
    """Choices of ``encoder=`` that read the sources, for messages."""
    documents: ClassVar[bool] = False
    """True if a source is a document with one sentence on each line."""
    has_source_words: ClassVar[bool] = True
    """True if sources have words, so that word links are possible."""
    suffixes: ClassVar[Collection[str]] = frozenset({".txt"})
    """Suffixes of the files that generation reads from a folder."""
    group_size: ClassVar[int] = 1024
    """Number of inputs that are generated together. Larger groups give better batches, smaller ones earlier outputs."""
    highlights: ClassVar[Sequence[str]] = ()
    """Names of the metrics that matter most, as ``metrics/table.py`` has them (with ``{n}``), the first one first."""
    controls: ClassVar[Mapping[str, RecordChange]] = {}
    """Controls of records by their name in ``evaluation.control``."""
    has_heat_maps: ClassVar[bool] = False
    """True if the plots are heat-maps, which may show pieces of words."""
    style: Style = PLAIN
    """Style of the plots."""

    def __init__(self, metrics: Sequence[str | Metric] = (), **defaults: Any) -> None:
        self.metrics = names_in(metrics)

    def check(self, corpus: Corpus, config: DictConfig) -> None:
        """Refuse data or an encoder that the task cannot use, before any data is read.

        Args:
            corpus: Corpus of the run.
            config: Config of the run.

        Raises:
            UserError: The data, the encoder or an option does not fit the task. The message names the option and the
                remedy.
        """
        name = type(self).__name__
        encoder = cast(type[Encoder], locate(config.encoder._target_))
        # Check the data first: the right encoder depends on it.
        if corpus.reads not in self.reads:
            raise UserError(
                f"task: {name} reads {self.source_name}, but data={corpus.name} is {corpus.reads}; leave task= out, "
                "because each data= chooses its task"
            )
        if encoder.reads not in self.reads:
            raise UserError(
                f"encoder: {encoder.__name__} cannot read data={corpus.name}, which is {self.source_name}; "
                f"choose encoder={self.encoders}"
            )
        if corpus.documents != self.documents:
            kind = "documents" if self.documents else "single texts"
            needed = f"data.documents={str(self.documents).lower()}"
            raise UserError(
                f"task: {name} reads {kind}, but data={corpus.name} has none; leave task= out, or set {needed}"
            )

    def inputs(self, path: str | None, data: DictConfig, *, interactive: bool = False) -> Iterator[NamedInput]:
        """Return an iterator over pairs (name, source) of new inputs.

        Args:
            path: File or folder, the option ``input`` of ``generate.py``; None for standard input.
            data: Node ``data`` of the config of the run.
            interactive: Whether a person types the inputs after a prompt.
        """
        return ((name, self.as_read(line, data)) for name, line in read_sentences(path, interactive=interactive))

    def as_read(self, line: str, data: DictConfig) -> str:
        """Return a line of a file of sources or of references as the reader of the data would read it.

        Args:
            line: Line without its end.
            data: Node ``data`` of the config of the run.
        """
        return line

    def input_files(self, path: str | None) -> Iterator[str | Path]:
        """Return an iterator over the paths that an output must not overwrite: those that ``inputs`` reads.

        Args:
            path: File or folder, the option ``input`` of ``generate.py``; None for standard input.
        """
        return files_read(path, self.suffixes)

    def scores(self, scored: ScoredRecords) -> dict[str, MetricResult]:
        """Return metrics of the task, in addition to ``self.metrics``.

        These are baselines, and metrics that do not follow from outputs and references alone.

        Args:
            scored: Records with their outputs.

        Returns:
            Results by name of the metric.
        """
        return {}

    def main_metrics(self, names: Sequence[str], count: int = 5) -> list[str]:
        """Return the metrics that a command prints.

        These are up to three of ``self.metrics``, then the other ``highlights``, then more until there are enough.

        Args:
            names: Names of all metrics that were measured.
            count: Largest number of metrics to return.
        """
        patterns = {name: metric.name for name in names if (metric := find_metric(name)) is not None}
        first = [name for wanted in self.highlights for name in names if patterns.get(name) == wanted]
        own = [name for name in dict.fromkeys([*first, *self.metrics]) if name in self.metrics and name in names]
        return list(dict.fromkeys([*own[:3], *(name for name in first if name not in own), *names]))[:count]

    def draw_as(self, kind: Literal["png", "pdf", "svg"], *, pieces: bool) -> None:
        """Choose the style of the plots.

        Args:
            kind: Format; ``pdf`` and ``svg`` are written beside the PNG.
            pieces: Whether heat-maps show pieces of words.

        Raises:
            UserError: The task draws no heat-maps.
        """
        if pieces and not self.has_heat_maps:
            raise UserError(f"plot_pieces=true has no effect: {type(self).__name__} draws words; leave it out")
        self.style = Style(kind, pieces or self.style.pieces)

    @abstractmethod
    def plot(
        self,
        seen: AttentionMap,
        directory: str | Path,
        record: int,
        known: Annotations = NO_ANNOTATIONS,
    ) -> list[Path]:
        """Draw the attention of one output.

        Args:
            seen: Attention of the output.
            directory: Directory of the plots.
            record: Index of the record, with which the names of the plots begin.
            known: Gold annotations that are valid for the output.

        Returns:
            Paths of the plots.
        """
