"""Where records come from: folders of parallel text, tables, the hub; row by row, so that all of them can stream."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, cast

import datasets

from seq2seq.data.records import EXTRAS, Record, Row
from seq2seq.data.tables import FORMATS
from seq2seq.errors import UserError

ALIASES = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "tst", "eval", "test_2016_flickr", "test2016"),
}


@dataclass(frozen=True)
class Location:
    """What the user says of where to read: a folder (of a local copy), and two languages or columns."""

    path: Path | None
    source: str
    target: str

    @property
    def folder(self) -> Path:
        """``path``, which has to be there."""
        if self.path is None:
            raise UserError("this dataset is read from a folder: say data.path=DIR")
        if not self.path.is_dir():
            raise UserError(f"{self.path}: no such folder (data.path)")
        return self.path


def canonical(split: str) -> str:
    """``valid`` for ``val``, ``validation`` and ``dev``, and so on; other names stay."""
    return next((name for name, names in ALIASES.items() if split in names), split)


class Reader(ABC):
    """Rows of named splits."""

    @abstractmethod
    def splits(self, at: Location) -> list[str]:
        """The names of the splits that there are."""

    @abstractmethod
    def rows(self, split: str, at: Location, *, streaming: bool = False) -> Iterator[Row]:
        """The rows of the split of that very name; ``streaming`` downloads as it goes."""

    @abstractmethod
    def fingerprint(self, split: str, at: Location) -> str:
        """Another one when the rows may be others."""

    def files(self, split: str, at: Location) -> str:
        """What a split of that name would be read from."""
        return f"split {split}"

    def find(self, split: str, at: Location) -> str:
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
class ParallelText(Reader):
    """A folder of ``SPLIT.LANGUAGE`` files: line i of one is the translation of line i of the other."""

    def splits(self, at: Location) -> list[str]:
        """Those with a file of both languages."""
        source, target = ({f.stem for f in at.folder.glob(f"*.{lang}")} for lang in (at.source, at.target))
        return sorted(source & target)

    def rows(self, split: str, at: Location, *, streaming: bool = False) -> Iterator[Row]:
        """One a line."""
        source, target = self._files(split, at)
        for number, (left, right) in enumerate(zip_longest(_lines(source), _lines(target)), 1):
            first, second = f"{source.name}:{number}", f"{target.name}:{number}"
            if left is None or right is None:
                yield Row(second if left is None else first, problem="without a counterpart")
            elif isinstance(left, bytes) or isinstance(right, bytes):
                yield Row(first if isinstance(left, bytes) else second, problem="not UTF-8")
            else:
                yield Row(second if left.strip() and not right.strip() else first, Record(source=left, target=right))

    def fingerprint(self, split: str, at: Location) -> str:
        """Of the files' content."""
        return digest(self._files(split, at))

    def files(self, split: str, at: Location) -> str:
        """Both."""
        return " with ".join(map(str, self._files(split, at)))

    def _files(self, split: str, at: Location) -> list[Path]:
        return [at.folder / f"{split}.{language}" for language in (at.source, at.target)]


@dataclass(frozen=True)
class Table(Reader):
    """A folder of ``SPLIT.FORMAT`` files (or ``SPLIT-00000-of-00002.FORMAT``), one record a row.

    ``column`` names the column of a language, which stands for ``{}``; dots lead into nested columns.
    """

    format: str
    column: str = "{}"

    def __post_init__(self) -> None:
        """Checks the format."""
        if self.format not in FORMATS:
            raise UserError(f"data.reader.format={self.format} is none of: {', '.join(FORMATS)}")

    def splits(self, at: Location) -> list[str]:
        """The names of the files of the format."""
        return sorted({_split_of(file) for file in at.folder.glob(f"*.{self.format}")})

    def rows(self, split: str, at: Location, *, streaming: bool = False) -> Iterator[Row]:
        """One a row of the file."""
        for file in self._files(split, at):
            for number, entry in FORMATS[self.format](file):
                yield _row(entry, f"{file.name}:{number}", self.column, at)

    def fingerprint(self, split: str, at: Location) -> str:
        """Of the files' content."""
        return digest(self._files(split, at)) + self.column

    def files(self, split: str, at: Location) -> str:
        """The file, or the first part of it."""
        return str(at.folder / f"{split}.{self.format}")

    def _files(self, split: str, at: Location) -> list[Path]:
        return sorted(file for file in at.folder.glob(f"*.{self.format}") if _split_of(file) == split)


@dataclass(frozen=True)
class Hub(Reader):
    """A dataset of the Hugging Face hub at a fixed revision, or a local copy of it at ``data.path``.

    The copy may be the repository's own files, or ``SPLIT.LANGUAGE`` files of text.
    """

    repository: str
    revision: str
    configuration: str | None = None
    column: str = "{}"
    parts: Mapping[str, str] = field(default_factory=lambda: {"train": "train", "valid": "validation", "test": "test"})

    def splits(self, at: Location) -> list[str]:
        """The names in ``parts``, or of a local copy's files."""
        return self._copy(at).splits(at) if at.path else list(self.parts)

    def rows(self, split: str, at: Location, *, streaming: bool = False) -> Iterator[Row]:
        """One an entry."""
        if at.path:
            yield from self._copy(at).rows(split, at)
            return
        for number, entry in enumerate(self._load(split, streaming)):
            yield _row(entry, f"{self.repository} {self.parts[split]}:{number}", self.column, at)

    def fingerprint(self, split: str, at: Location) -> str:
        """The revision stands for the content."""
        if at.path:
            return self._copy(at).fingerprint(split, at)
        return " ".join(map(str, (self.repository, self.revision, self.configuration, self.parts[split], self.column)))

    def _load(self, split: str, streaming: bool) -> Iterable[Mapping[str, Any]]:
        try:
            return datasets.load_dataset(
                self.repository,
                self.configuration,
                revision=self.revision,
                split=self.parts[split],
                streaming=streaming,
            )
        except (OSError, ValueError) as error:  # what datasets and its HTTP layer raise is one of these
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"cannot load {self.repository} from the hub ({reason}); download it where there is a network, "
                "and set data.path=DIR"
            ) from error

    def _copy(self, at: Location) -> Reader:
        if any(at.folder.glob(f"*.{at.source}")):
            return ParallelText()
        for name in FORMATS:
            if any(at.folder.glob(f"*.{name}")):
                return Table(name, self.column)
        raise UserError(
            f"{at.folder} has neither SPLIT.{at.source} and SPLIT.{at.target} nor SPLIT.{{{','.join(FORMATS)}}} files"
        )


def digest(files: Iterable[Path]) -> str:
    """SHA-256 of the content of ``files``."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _lines(path: Path) -> Iterator[str | bytes]:
    """Lines without their ends, cut at newlines only; bytes where a line is not UTF-8."""
    with path.open("rb") as file:
        for number, raw in enumerate(file):
            line = raw.rstrip(b"\r\n")
            try:
                yield line.decode("utf-8" if number else "utf-8-sig")
            except UnicodeDecodeError:
                yield line


def _split_of(file: Path) -> str:
    return re.sub(r"-\d+-of-\d+$", "", file.stem)


def _row(entry: Mapping[str, Any] | str, place: str, column: str, at: Location) -> Row:
    """A row from the columns of a table; a string instead of columns is what is wrong with them."""
    if isinstance(entry, str):
        return Row(place, problem="not UTF-8" if entry == "not UTF-8" else "malformed")
    source, target = (_cell(entry, column.format(name), place) for name in (at.source, at.target))
    if source is None or target is None:
        return Row(place, problem="empty")
    if not (isinstance(source, str) and isinstance(target, str)):
        return Row(place, problem="malformed")
    extras = {name: entry[name] for name in EXTRAS if entry.get(name) is not None}
    return Row(place, cast(Record, {"source": source, "target": target, **extras}))


def _cell(entry: Mapping[str, Any], column: str, place: str) -> Any:
    value: Any = entry
    for name in column.split("."):
        if not isinstance(value, Mapping) or name not in value:
            there = ", ".join(value) if isinstance(value, Mapping) else "nothing"
            raise UserError(f"{place} has no column {column!r}, but {there}: set data.source and data.target")
        value = value[name]
    return value
