"""Where records come from: folders of parallel text, tables, the hub; row by row, so that all of them can stream."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from seq2seq.data.readers.one_table import OneTable
from seq2seq.data.readers.reader import DataLocation, Reader, Tabular, digest
from seq2seq.data.readers.tables import FORMATS, NOT_UTF8, UNIFORM, RowOrFault
from seq2seq.data.records import Record, Row
from seq2seq.errors import UserError
from seq2seq.files.text import open_lines, without_end


@dataclass(frozen=True)
class ParallelTextReader(Reader):
    """A folder of ``SPLIT.LANGUAGE`` files: line i of one is the translation of line i of the other."""

    def splits(self, at: DataLocation) -> list[str]:
        """Those with a file of both languages."""
        source, target = ({f.stem for f in at.folder.glob(f"*.{lang}")} for lang in (at.source, at.target))
        return sorted(source & target)

    def rows(self, split: str, at: DataLocation, *, streaming: bool = False) -> Iterator[Row]:
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

    def fingerprint(self, split: str, at: DataLocation) -> str:
        """Of the files' content."""
        return digest(self._files(split, at))

    def files(self, split: str, at: DataLocation) -> str:
        """Both."""
        return " with ".join(map(str, self._files(split, at)))

    def _files(self, split: str, at: DataLocation) -> list[Path]:
        return [at.folder / f"{split}.{language}" for language in (at.source, at.target)]


@dataclass(frozen=True)
class TableReader(Tabular):
    """A folder of ``SPLIT.FORMAT`` files (or ``SPLIT-00000-of-00002.FORMAT``), one record a row; or ``OneTable``
    by itself.
    """

    format: str = "any"  # jsonl | csv | tsv | parquet; any = the first of these that there is of a split

    def __post_init__(self) -> None:
        """Checks the format."""
        super().__post_init__()
        if self.format not in ("any", *FORMATS):
            raise UserError(f"format={self.format} is none of: any, {', '.join(FORMATS)}")

    def splits(self, at: DataLocation) -> list[str]:
        """The names of the files of the format."""
        if (one := self._one(at)) is not None:
            return one.splits(at)
        found = {_split_of(file) for form in self._formats for file in at.folder.glob(f"*.{form}")}
        if not found:
            raise UserError(f"{at.folder} has no SPLIT.{{{','.join(self._formats)}}} files (data.path)")
        return sorted(found)

    def rows(self, split: str, at: DataLocation, *, streaming: bool = False) -> Iterator[Row]:
        """One a row of the file."""
        if (one := self._one(at)) is not None:
            yield from one.rows(split, at)
            return
        files = self._files(split, at)
        uniform = all(file.suffix[1:] in UNIFORM for file in files)
        entries = ((f"{file.name}:{n}", entry) for file in files for n, entry in FORMATS[file.suffix[1:]](file))
        yield from self.columns(at).rows(entries, uniform=uniform)

    def fingerprint(self, split: str, at: DataLocation) -> str:
        """Of the files' content."""
        if (one := self._one(at)) is not None:
            return one.fingerprint(split, at)
        return digest(self._files(split, at)) + self.options

    def files(self, split: str, at: DataLocation) -> str:
        """The file, or the first part of it."""
        if (one := self._one(at)) is not None:
            return one.files(split, at)
        there = self._files(split, at)
        return str(there[0] if there else at.folder / f"{split}.{'|'.join(self._formats)}")

    def unread(self, at: DataLocation) -> dict[str, str]:
        """The format, where ``data.path`` is a file, whose name says it."""
        return {"reader.format": f"{at.path} says it by its name"} if at.path and at.path.is_file() else {}

    def _one(self, at: DataLocation) -> OneTable | None:
        """What reads ``data.path`` where it is a file."""
        if at.table is None:
            return None
        return OneTable(at.table, column=self.column, references=self.references, language=self.language)

    def _files(self, split: str, at: DataLocation) -> list[Path]:
        several = (
            sorted(file for file in at.folder.glob(f"*.{form}") if _split_of(file) == split) for form in self._formats
        )
        return next(filter(None, several), [])

    @property
    def _formats(self) -> Sequence[str]:
        return list(FORMATS) if self.format == "any" else [self.format]


@dataclass(frozen=True)
class HubReader(Tabular):
    """A dataset of the Hugging Face hub at a fixed revision, or a local copy of it at ``data.path``.

    The copy may be the repository's own files, or ``SPLIT.LANGUAGE`` files of text. ``jsonl`` is for a set that lives
    elsewhere: the address of its jsonl files, in which {revision} and {split} are filled in. ``files_of`` names those
    of each part, where their names stand for their content.
    """

    repository: str
    revision: str
    configuration: str | None = None
    parts: Mapping[str, str] = field(default_factory=lambda: {"train": "train", "valid": "validation", "test": "test"})
    jsonl: str | None = None
    files_of: Mapping[str, Sequence[str]] | None = None

    def splits(self, at: DataLocation) -> list[str]:
        """The names in ``parts``, or of a local copy's files."""
        return self._copy(at).splits(at) if at.path else list(self.parts)

    def rows(self, split: str, at: DataLocation, *, streaming: bool = False) -> Iterator[Row]:
        """One an entry."""
        if at.path:
            yield from self._copy(at).rows(split, at)
            return
        found = enumerate(_converted(self._load(split, streaming), self.repository))
        entries = ((f"{self.repository} {self.parts[split]}:{number}", entry) for number, entry in found)
        yield from self.columns(at).rows(entries, uniform=not streaming)

    def fingerprint(self, split: str, at: DataLocation) -> str:
        """The revision stands for the content."""
        if at.path:
            return self._copy(at).fingerprint(split, at)
        of = (
            self.repository,
            self.revision,
            self.configuration,
            self.parts[split],
            self.jsonl,
            self.options,
            self.files_of,
        )
        return " ".join(map(str, of))

    def unread(self, at: DataLocation) -> dict[str, str]:
        """What says where on the hub to look, where there is a local copy."""
        names = "repository", "revision", "configuration", "parts", "jsonl", "files_of"
        return {f"reader.{name}": f"records are read from data.path={at.path}" for name in names} if at.path else {}

    def _load(self, split: str, streaming: bool) -> Iterable[Mapping[str, Any]]:
        part = self.parts[split]
        try:
            if self.jsonl:
                file = self.jsonl.format(revision=self.revision, split=part)
                return datasets.load_dataset("json", data_files={"train": file}, split="train", streaming=streaming)
            files = {name: list(given) for name, given in (self.files_of or {}).items()}
            loaded = datasets.load_dataset(
                self.repository,
                self.configuration,
                revision=self.revision,
                split=part,
                streaming=streaming,
                **({"data_files": files} if files else {}),
            )
            for name, feature in (loaded.features or {}).items():
                if isinstance(feature, datasets.Image):  # opened when they are needed
                    loaded = loaded.cast_column(name, datasets.Image(decode=False))
            return loaded
        except (OSError, ValueError) as error:  # what datasets and its HTTP layer raise is one of these
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"cannot load {self.repository} from {'its home' if self.jsonl else 'the hub'} ({reason}); download it "
                "where there is a network, and set data.path=DIR"
            ) from error

    def _copy(self, at: DataLocation) -> Reader:
        if any(at.folder.glob(f"*.{at.source}")):
            return ParallelTextReader()
        if any(file.suffix[1:] in FORMATS for file in at.folder.iterdir()):
            return TableReader(column=self.column, references=self.references, language=self.language)
        raise UserError(
            f"{at.folder} has neither SPLIT.{at.source} and SPLIT.{at.target} nor SPLIT.{{{','.join(FORMATS)}}} files"
        )


def _converted(loaded: Iterable[Mapping[str, Any]], name: str) -> Iterator[RowOrFault]:
    """Yield the entries of a dataset of the hub; one that can't be converted is a bad row where rows have numbers."""
    rows, number = iter(loaded), 0
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except UnicodeDecodeError as error:
            if not isinstance(loaded, datasets.Dataset):
                raise UserError(f"{name}:{number}: not UTF-8") from error
            yield NOT_UTF8
            rows = iter(loaded.select(range(number + 1, len(loaded))))
        except (OSError, ValueError, pa.ArrowException) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"{name} can't be read after row {number}: {reason}"[:300]) from error
        number += 1


def _lines(path: Path) -> Iterator[str | bytes]:
    """Yield lines without their ends; bytes where a line is not UTF-8."""
    with open_lines(path) as lines:
        for raw in lines:
            line = without_end(raw)
            try:
                yield line.decode()
            except UnicodeDecodeError:
                yield line


def _split_of(file: Path) -> str:
    return re.sub(r"-\d+-of-\d+$", "", file.stem)
