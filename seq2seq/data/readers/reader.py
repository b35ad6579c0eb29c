"""Base classes of readers, and the location of a dataset.

A reader yields the rows of named splits.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Literal

from seq2seq.data.readers import sentences
from seq2seq.data.readers.columns import Columns
from seq2seq.data.readers.rows import FORMATS
from seq2seq.data.records import Row
from seq2seq.errors import UserError

# Names that datasets use for the splits; the first one is ours.
ALIASES = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "tst", "eval", "test_2016_flickr", "test2016"),
}

Place = Literal["prefix", "suffix", "none"]
"""Place of features in a source: before the string, after it, or left out."""
MOST_LISTED = 12
"""Largest number of file names in a message."""


@dataclass(frozen=True)
class DataLocation:
    """Location of a dataset and names of its two sides, as the user gives them."""

    path: Path | None  # folder of the dataset or of a local copy, or a table; None = the reader needs no files
    source: str  # language or column of the source; a|b = the first of several columns that exists
    target: str  # language or column of the target, likewise
    group: str | None = None  # column whose equal values make records belong together; None = each stands for itself
    language: str | None = None  # language of the files, where there are files of several languages
    features: Place = "suffix"  # place of features in the source

    @property
    def folder(self) -> Path:
        """``path`` as an existing folder.

        Raises:
            UserError: There is no such folder.
        """
        if self.path is None:
            raise UserError(
                "data.path=null: this dataset is read from a folder; set data.path=DIR (or data.path=FILE for a table)"
            )
        if not self.path.is_dir():
            missing = f"no such {'file' if self.path.suffix[1:] in FORMATS else 'folder'}"
            problem = "it is a file, but this dataset is read from a folder" if self.path.is_file() else missing
            raise UserError(f"{self.path}: {problem} (data.path)")
        return self.path

    @property
    def table(self) -> Path | None:
        """``path`` if it is a table, else None.

        Raises:
            UserError: ``path`` is a file of another kind.
        """
        if self.path is None or not self.path.is_file():
            return None
        if self.path.suffix[1:] not in FORMATS:
            raise UserError(f"{self.path} is neither a folder nor a {', '.join(FORMATS)} file (data.path)")
        return self.path

    def listing(self) -> str:
        """Return what the folder has, for messages about missing files."""
        if self.path is None or not self.path.is_dir():
            return "there are no splits"
        names = sorted(path.name for path in self.path.iterdir() if not path.name.startswith("."))
        shown = ", ".join(names[:MOST_LISTED]) + (" ..." if len(names) > MOST_LISTED else "")
        return f"{self.path} has {shown}" if names else f"{self.path} is empty"

    @property
    def root(self) -> Path:
        """Folder to which relative paths in a table belong."""
        return self.folder if self.table is None else self.table.parent


def canonical(split: str) -> str:
    """Return our name of a split: ``valid`` for ``val``, ``validation`` or ``dev``; an unknown name stays as it is.

    Args:
        split: Name of a split in a dataset.
    """
    return next((name for name, names in ALIASES.items() if split in names), split)


class Reader(ABC):
    """Reader of the rows of named splits."""

    reads: ClassVar[Collection[str]] = ()
    """Options of the location that the reader reads beside the folder and the sides: group, language, features."""

    @abstractmethod
    def splits(self, at: DataLocation) -> list[str]:
        """Return the names of the existing splits.

        Args:
            at: Location of the dataset.
        """

    @abstractmethod
    def rows(self, split: str, at: DataLocation, *, streaming: bool = False) -> Iterator[Row]:
        """Yield the rows of a split, in a fixed order.

        Args:
            split: The dataset's own name of the split (``find``).
            at: Location of the dataset.
            streaming: Download the rows while they are read, if the reader downloads at all.
        """

    @abstractmethod
    def fingerprint(self, split: str, at: DataLocation) -> str:
        """Return a text that changes if the rows of a split may have changed.

        Args:
            split: The dataset's own name of the split (``find``).
            at: Location of the dataset.
        """

    def files(self, split: str, at: DataLocation) -> str:
        """Return the files that a split is read from, for messages. The split need not exist.

        Args:
            split: Name of the split.
            at: Location of the dataset.
        """
        return f"split {split}"

    def unread(self, at: DataLocation) -> dict[str, str]:
        """Return the options of ``data`` that have no effect at a location, each with the reason.

        Args:
            at: Location of the dataset.
        """
        return {}

    def find(self, split: str, at: DataLocation) -> str:
        """Return the dataset's own name of a split: the name itself, or an alias of it.

        Args:
            split: Name of the split.
            at: Location of the dataset.

        Raises:
            UserError: There is no such split.
        """
        # Try the name itself, then its aliases.
        existing = self.splits(at)
        for name in (split, *ALIASES.get(canonical(split), ())):
            if name in existing:
                return name
        there = f"the splits are: {', '.join(existing)}" if existing else at.listing()
        raise UserError(
            f"{self.files(split, at)} does not exist; {there} "
            f"(data.path={at.path or 'null'} data.source={at.source} data.target={at.target})"
        )


@dataclass(frozen=True)
class Tabular(Reader):
    """Reader of records that are the rows of a table.

    Args:
        column: Name of the column of a side; ``{}`` stands for the side's language. ``a|b`` is the first of two columns
            that exists, ``a|`` is a column that may be absent.
        references: Columns of further correct targets (see ``Columns``).
        language: Language by whose rules a source is split into sentences (see ``Columns``).
    """

    column: str = field(default="{}", kw_only=True)
    references: Sequence[str] = field(default=(), kw_only=True)
    language: str | None = field(default=None, kw_only=True)
    reads: ClassVar[Collection[str]] = ("group",)

    def __post_init__(self) -> None:
        """Check the language and the type of ``references``."""
        if self.language is not None:
            sentences.check(self.language)
        if isinstance(self.references, str):
            raise UserError(f"references={self.references} must be a list: [{self.references}]")

    def columns(self, at: DataLocation) -> Columns:
        """Return the columns of the sides and of the references.

        Args:
            at: Location of the dataset.
        """
        return columns_at(at, self.column, self.references, self.language)

    @property
    def options(self) -> str:
        """Values that the rows depend on, in addition to the content of the table."""
        splitter = f"{self.language} {version('sentencex')}" if self.language else ""
        return f"{self.column} {list(self.references)} {splitter}"


def columns_at(
    at: DataLocation, column: str = "{}", references: Sequence[str] = (), language: str | None = None
) -> Columns:
    """Return the columns of the sides and of the references, by the options of a ``Tabular`` reader.

    Args:
        at: Location of the dataset, with the names of its sides.
        column: Name of the column of a side; ``{}`` stands for the side's language.
        references: Columns of further correct targets.
        language: Language by whose rules a source is split into sentences.

    Raises:
        UserError: The language has no rules.
    """
    if language is not None:
        sentences.check(language)
    # Put the name of each side into the name of its column.
    source, target = ([column.replace("{}", name) for name in names.split("|")] for names in (at.source, at.target))
    return Columns(source, target, [names.split("|") for names in references], language, at.group)


def digest(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the names and contents of files.

    Args:
        files: Files in a fixed order.

    Raises:
        UserError: A file cannot be read.
    """
    total = hashlib.sha256()
    for path in files:
        # The suffix of the name tells how the content is read.
        total.update(f"{path.name}\n".encode(errors="surrogateescape"))
        try:
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}") from error
    return total.hexdigest()
