"""What differs between corpora of texts and of images: how a record is encoded, stored, and read back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from seq2seq.data.batching import Lengths
from seq2seq.data.codec import Codec
from seq2seq.data.example import Example
from seq2seq.data.images import Images
from seq2seq.data.record_policy import Policy, Report
from seq2seq.data.records import Record
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.data.vocabulary import UnknownTokens

Side = Literal["source", "target"]
Draw = tuple[int, int]
"""(seed, epoch): what seeds all that is drawn for the training examples of an epoch."""


class Examples(ABC):
    """The examples of each record of a split, by the record's number."""

    has_images: bool = False  # whether their sources are images

    @abstractmethod
    def of(self, index: int) -> Sequence[Example]:
        """Return what a record adds to a batch: one example, or several of one image."""


class StoredSplit(ABC):
    """An encoded split on disk."""

    @abstractmethod
    def lengths(self, *, training: bool = False) -> tuple[Lengths, Lengths]:
        """Return what each record counts as in a batch: tokens of its source and target, with ``</s>``."""

    @abstractmethod
    def target_tokens(self) -> int:
        """Return how many target tokens an epoch of training has."""

    @abstractmethod
    def examples(self, draw: Draw | None = None) -> Examples:
        """Return the examples of an epoch of training; without ``draw``, those of evaluation."""


class Encoding(ABC):
    """How the records of a corpus become columns of a file, and the file becomes examples."""

    policy: Policy
    sides: tuple[Side, ...]  # that are text
    documents: bool = False  # whether a line of the source is a sentence
    images: Images | None = None  # how source images are opened

    @property
    @abstractmethod
    def form(self) -> tuple[object, ...]:
        """Return the options that encoded files depend on."""

    @abstractmethod
    def codec(self, tokenizers: Mapping[str, Tokenizer]) -> Codec:
        """Make the codec of ``tokenizers``, one for each of ``sides``."""

    @abstractmethod
    def texts(self, record: Record, sides: Sequence[Side]) -> list[str]:
        """Return what of a record the tokenizer of ``sides`` learns from."""

    @abstractmethod
    def columns(
        self,
        codec: Codec,
        record: Record,
        place: str,
        report: Report,
        unknown: Mapping[str, UnknownTokens],
        *,
        training: bool,
    ) -> dict[str, Any] | None:
        """Return the ids of a record by their columns (``arrow.SCHEMA``), or None where it is dropped.

        Args:
            codec: What encodes the texts.
            record: The record.
            place: Where the record comes from, for ``report``.
            report: What counts the records that are dropped or cut.
            unknown: The count of ``<unk>`` for each side.
            training: Whether the split is trained on, so that the policy for long targets holds.
        """

    @abstractmethod
    def open(self, file: Path, codec: Codec) -> StoredSplit:
        """Open the file of an encoded split."""

    def records(self, rows: Iterable[tuple[str, Record]], report: Report) -> Iterator[tuple[str, Record]]:
        """Yield (place, record) of what is encoded; here the rows as they are read."""
        yield from rows

    def is_stale(self, report: Report, file: Path) -> bool:
        """Whether the split in ``file`` has to be encoded anew, though what it was made from is the same."""
        return False

    def keep_first_targets(self) -> None:  # noqa: B027  most kinds of records have one target only
        """Train on the first target of each source alone."""
