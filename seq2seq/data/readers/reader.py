"""What every reader is: rows of named splits, and what a user says of where they lie."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from seq2seq.data.readers import sentences
from seq2seq.data.readers.columns import Columns
from seq2seq.data.readers.rows import FORMATS
from seq2seq.data.records import Row
from seq2seq.errors import UserError

ALIASES = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "tst", "eval", "test_2016_flickr", "test2016"),
}


@dataclass(frozen=True)
class DataLocation:
    """What the user says of where to read: a folder (of a local copy) or one table, and two languages or columns."""

    path: Path | None
    source: str
    target: str

    @property
    def folder(self) -> Path:
        """``path``, which has to be there."""
        if self.path is None:
            raise UserError("this dataset is read from a folder: say data.path=DIR (of tables also data.path=FILE)")
        if not self.path.is_dir():
            missing = f"no such {'file' if self.path.suffix[1:] in FORMATS else 'folder'}"
            there = "a file, and this dataset is read from a folder" if self.path.is_file() else missing
            raise UserError(f"{self.path}: {there} (data.path)")
        return self.path

    @property
    def table(self) -> Path | None:
        """``path``, where it is a table by itself.

        Raises:
            UserError: it is a file of another kind.
        """
        if self.path is None or not self.path.is_file():
            return None
        if self.path.suffix[1:] not in FORMATS:
            raise UserError(f"{self.path} is neither a folder nor a {', '.join(FORMATS)} file (data.path)")
        return self.path

    @property
    def root(self) -> Path:
        """Where paths in a table start from."""
        return self.folder if self.table is None else self.table.parent


def canonical(split: str) -> str:
    """``valid`` for ``val``, ``validation`` and ``dev``, and so on; other names stay."""
    return next((name for name, names in ALIASES.items() if split in names), split)


class Reader(ABC):
    """Rows of named splits."""

    @abstractmethod
    def splits(self, at: DataLocation) -> list[str]:
        """The names of the splits that there are."""

    @abstractmethod
    def rows(self, split: str, at: DataLocation, *, streaming: bool = False) -> Iterator[Row]:
        """The rows of the split of that very name; ``streaming`` downloads as it goes."""

    @abstractmethod
    def fingerprint(self, split: str, at: DataLocation) -> str:
        """Another one when the rows may be others."""

    def files(self, split: str, at: DataLocation) -> str:
        """What a split of that name would be read from."""
        return f"split {split}"

    def unread(self, at: DataLocation) -> dict[str, str]:
        """Options of ``data`` that change nothing where the records come from ``at``, each with the reason."""
        return {}

    def find(self, split: str, at: DataLocation) -> str:
        """This dataset's name for ``split``: that name itself, or an alias of it."""
        there = self.splits(at)
        for name in (split, *ALIASES.get(canonical(split), ())):
            if name in there:
                return name
        raise UserError(
            f"there is no {self.files(split, at)}, only the splits: {', '.join(there) or 'none'} "
            f"(data.path={at.path or 'null'} data.source={at.source} data.target={at.target})"
        )


@dataclass(frozen=True)
class Tabular(Reader):
    """Records that are rows of a table.

    ``column`` names the column of a language, which stands for ``{}``. ``a|b`` is whichever column there is, ``a|``
    one that need not be there. ``references`` and ``language`` as for ``Columns``.
    """

    column: str = field(default="{}", kw_only=True)
    references: Sequence[str] = field(default=(), kw_only=True)
    language: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Check that the language is a known one."""
        if self.language is not None:
            sentences.check(self.language)
        if isinstance(self.references, str):
            raise UserError(f"references={self.references} must be a list: [{self.references}]")

    def columns(self, at: DataLocation) -> Columns:
        """Where in a row to look."""
        return columns_at(at, self.column, self.references, self.language)

    @property
    def options(self) -> str:
        """What the rows depend on beside the table's content."""
        splitter = f"{self.language} {version('sentencex')}" if self.language else ""
        return f"{self.column} {list(self.references)} {splitter}"


def columns_at(
    at: DataLocation, column: str = "{}", references: Sequence[str] = (), language: str | None = None
) -> Columns:
    """Where in a row to look, by the options of a ``Tabular`` reader."""
    if language is not None:
        sentences.check(language)
    source, target = ([column.replace("{}", name) for name in names.split("|")] for names in (at.source, at.target))
    return Columns(source, target, [names.split("|") for names in references], language)


def digest(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the names and the content of ``files``: a name's suffix says how the content is read."""
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.name}\n".encode(errors="surrogateescape"))
        try:
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}") from error
    return total.hexdigest()
