"""Interfaces of the kinds of records (texts or images): how records are encoded, stored and read back."""

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
"""(seed, epoch): seeds of all random choices for the training examples of an epoch."""


class Examples(ABC):
    """Examples of each record of a split."""

    has_images: bool = False  # whether the sources are images

    @abstractmethod
    def of(self, index: int) -> Sequence[Example]:
        """Return the examples of a record: one, or several that share an image.

        Args:
            index: Number of the record in its split.
        """


class StoredSplit(ABC):
    """Encoded split on disk."""

    @abstractmethod
    def lengths(self, *, training: bool = False) -> tuple[Lengths, Lengths]:
        """Return the lengths by which records are put into batches.

        Args:
            training: Whether the lengths are those of training, where a record may have several targets.

        Returns:
            Tokens of each source (N,) and of each target (N,), with ``</s>``.
        """

    @abstractmethod
    def target_tokens(self) -> int:
        """Return the number of target tokens of an epoch of training."""

    @abstractmethod
    def examples(self, draw: Draw | None = None) -> Examples:
        """Return the examples of an epoch of training or of evaluation.

        Args:
            draw: Seed and epoch of training; None for evaluation.
        """


class Encoding(ABC):
    """Rules by which records become columns of a file, and the file becomes examples."""

    policy: Policy
    sides: tuple[Side, ...]  # sides that are text
    documents: bool = False  # whether each line of a source is a sentence
    images: Images | None = None  # options by which source images are opened

    @property
    @abstractmethod
    def form(self) -> tuple[object, ...]:
        """Options that encoded files depend on."""

    @abstractmethod
    def codec(self, tokenizers: Mapping[str, Tokenizer]) -> Codec:
        """Make the codec of some tokenizers.

        Args:
            tokenizers: Tokenizer of each of ``sides``.
        """

    @abstractmethod
    def texts(self, record: Record, sides: Sequence[Side]) -> list[str]:
        """Return the texts of a record from which a tokenizer learns.

        Args:
            record: Record of the training split.
            sides: Sides that share the tokenizer.
        """

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
        """Return the ids of a record as columns (``arrow.SCHEMA``), or None if the record is dropped.

        Args:
            codec: Codec that encodes the texts.
            record: Record to encode.
            place: Origin of the record for ``report``, such as ``FILE:LINE``.
            report: Report that counts records that are dropped or cut.
            unknown: Counter of ``<unk>`` for each side.
            training: Whether the split is trained on. The policy for long targets applies only then.
        """

    @abstractmethod
    def open(self, file: Path, codec: Codec) -> StoredSplit:
        """Open the file of an encoded split.

        Args:
            file: File of the split.
            codec: Codec that encoded the split.
        """

    def records(self, rows: Iterable[tuple[str, Record]], report: Report) -> Iterator[tuple[str, Record]]:
        """Yield (place, record) of the records to encode; by default, the rows as they are read.

        Args:
            rows: Places and records as they are read.
            report: Report that counts records that are dropped.
        """
        yield from rows

    def is_stale(self, report: Report, file: Path) -> bool:
        """Return whether a split must be encoded again although the files of its records are the same.

        Args:
            report: Report of the encoded split.
            file: File of the split.
        """
        return False

    def keep_first_targets(self) -> None:  # noqa: B027  most kinds of records have only one target
        """Train on the first target of each source only."""
