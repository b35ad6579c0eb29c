"""Readers of tables: one file for each split, or one file with all splits."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import tee
from pathlib import Path

from typing_extensions import override

from seq2seq.data.readers.reader import DataLocation, Tabular, canonical, digest
from seq2seq.data.readers.rows import FORMATS, UNIFORM, RowOrFault
from seq2seq.data.records import Fault, Record, Row
from seq2seq.errors import UserError

log = logging.getLogger(__name__)
ALL = "all"  # name of the split that is a whole table


@dataclass(frozen=True)
class TableReader(Tabular):
    """Reader of a folder of ``SPLIT.FORMAT`` files (or ``SPLIT-00000-of-00002.FORMAT``), with a record in each row.

    If ``data.path`` is a file, ``OneTable`` reads it.
    """

    format: str = "any"  # jsonl | csv | tsv | parquet; any = the first of these that a split has

    def __post_init__(self) -> None:
        """Check the name of the format."""
        super().__post_init__()
        if self.format not in ("any", *FORMATS):
            raise UserError(f"format={self.format} is none of: any, {', '.join(FORMATS)}")

    @override
    def splits(self, at: DataLocation) -> list[str]:
        if (single_file := self._one(at)) is not None:
            return single_file.splits(at)
        # A large split may have several files.
        names = {_split_of(file) for form in self._formats for file in at.folder.glob(f"*.{form}")}
        if not names:
            raise UserError(f"{at.folder} has no SPLIT.{{{','.join(self._formats)}}} files (data.path)")
        return sorted(names)

    @override
    def rows(self, split: str, at: DataLocation, *, streaming: bool = False) -> Iterator[Row]:
        if (single_file := self._one(at)) is not None:
            yield from single_file.rows(split, at)
            return
        files = self._files(split, at)
        # A missing column is an error at once only if all rows have the same columns.
        uniform = all(file.suffix[1:] in UNIFORM for file in files)
        entries = ((f"{file.name}:{n}", entry) for file in files for n, entry in FORMATS[file.suffix[1:]](file))
        yield from self.columns(at).rows(entries, uniform=uniform)

    @override
    def fingerprint(self, split: str, at: DataLocation) -> str:
        if (single_file := self._one(at)) is not None:
            return single_file.fingerprint(split, at)
        return digest(self._files(split, at)) + self.options

    @override
    def files(self, split: str, at: DataLocation) -> str:
        """With several files, return the first one."""
        if (single_file := self._one(at)) is not None:
            return single_file.files(split, at)
        existing = self._files(split, at)
        return str(existing[0] if existing else at.folder / f"{split}.{'|'.join(self._formats)}")

    @override
    def unread(self, at: DataLocation) -> dict[str, str]:
        return {"reader.format": f"the name of {at.path} tells the format"} if at.path and at.path.is_file() else {}

    def _one(self, at: DataLocation) -> OneTable | None:
        """Return the reader of ``data.path`` if that is a file."""
        if at.table is None:
            return None
        return OneTable(at.table, column=self.column, references=self.references, language=self.language)

    def _files(self, split: str, at: DataLocation) -> list[Path]:
        """Return the files of a split, in the first format that exists."""
        files_of_formats = (
            sorted(file for file in at.folder.glob(f"*.{form}") if _split_of(file) == split) for form in self._formats
        )
        return next(filter(None, files_of_formats), [])

    @property
    def _formats(self) -> Sequence[str]:
        """Formats whose files are read, in order of preference."""
        return list(FORMATS) if self.format == "any" else [self.format]


@dataclass(frozen=True)
class OneTable(Tabular):
    """Reader of one table with all splits.

    The column ``split`` names the split of a row. Without this column, a hash of the source decides: a tenth of the
    rows are valid and a tenth are test. The split ``all`` is the whole table.

    Args:
        table: File of the table.
    """

    table: Path

    @override
    def splits(self, at: DataLocation) -> list[str]:
        return [ALL, *sorted(self._named or ("test", "train", "valid"))]

    @override
    def rows(self, split: str, at: DataLocation, *, streaming: bool = False) -> Iterator[Row]:
        """Yield the rows of a split; a bad row that names no split belongs to train."""
        form, named = self.table.suffix[1:], bool(self._named)
        # Read each entry twice: once to make the row, once for its column `split`.
        to_convert, to_compare = tee(self._entries(form, named))
        rows = self.columns(at).rows(to_convert, uniform=form in UNIFORM)
        for row, (_, entry) in zip(rows, to_compare, strict=True):
            part = _named_split(entry) if named else _drawn_split(row.record)
            if split in (ALL, part or "train"):
                yield row

    def _entries(self, form: str, named: bool) -> Iterator[tuple[str, RowOrFault]]:
        """Yield (place, entry) of each row; an entry that does not tell its split is a fault."""
        for number, entry in FORMATS[form](self.table):
            wrong = named and isinstance(entry, Mapping) and _named_split(entry) is None
            yield f"{self.table.name}:{number}", NO_SPLIT if wrong else entry

    @override
    def fingerprint(self, split: str, at: DataLocation) -> str:
        return f"{digest([self.table])} {split} {self.options}"

    @override
    def files(self, split: str, at: DataLocation) -> str:
        return f"split {split} in {self.table}"

    @property
    def _named(self) -> frozenset[str]:
        """Splits that the column ``split`` names; empty if there is no such column."""
        return _splits(self.table, self.table.stat().st_mtime_ns)


NO_SPLIT = Fault("malformed", "the column split names no split; write train, valid or test into it")


def _named_split(entry: RowOrFault) -> str | None:
    """Return the split that the column ``split`` of an entry names, or None."""
    split_name = entry.get("split") if isinstance(entry, Mapping) else None
    return canonical(split_name.strip()) if isinstance(split_name, str) and split_name.strip() else None


def _drawn_split(record: Record | None) -> str | None:
    """Return the split of a record by a hash of its source: one of ten is valid, one is test. Order does not matter."""
    if record is None:
        return None
    content = record.get("image") or record["source"].encode(errors="surrogatepass")
    return {0: "valid", 1: "test"}.get(hashlib.sha256(content).digest()[0] % 10, "train")


@lru_cache
def _splits(table: Path, changed: int) -> frozenset[str]:
    """Return the splits that a table names; log once if it names none.

    Args:
        table: File of the table.
        changed: Time of the last change of the file, which is a part of the cache key.
    """
    named: set[str] = set()
    form = table.suffix[1:]
    for _, entry in FORMATS[form](table):
        if (split_name := _named_split(entry)) is not None:
            named.add(split_name)
        # In these formats all rows have the same columns, so the first one decides.
        if form in UNIFORM and isinstance(entry, Mapping) and "split" not in entry:
            break
    if not named:
        log.info("%s: no column split; a hash of the sources chooses a tenth for valid and a tenth for test", table)
    return frozenset(named)


def _split_of(file: Path) -> str:
    """Return the split that a file name tells."""
    return re.sub(r"-\d+-of-\d+$", "", file.stem)
