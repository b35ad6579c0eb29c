"""The readers of tables: a file a split, or one file in which all splits lie together."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import tee
from pathlib import Path

from seq2seq.data.readers.reader import DataLocation, Tabular, canonical, digest
from seq2seq.data.readers.rows import FORMATS, UNIFORM, RowOrFault
from seq2seq.data.records import Fault, Record, Row
from seq2seq.errors import UserError

log = logging.getLogger(__name__)
ALL = "all"


@dataclass(frozen=True)
class TableReader(Tabular):
    """A folder of ``SPLIT.FORMAT`` files (or ``SPLIT-00000-of-00002.FORMAT``), one record a row; or ``OneTable``
    by itself.
    """

    format: str = "any"  # jsonl | csv | tsv | parquet; any = the first of these that there is of a split

    def __post_init__(self) -> None:
        """Check that the format is a known one."""
        super().__post_init__()
        if self.format not in ("any", *FORMATS):
            raise UserError(f"format={self.format} is none of: any, {', '.join(FORMATS)}")

    def splits(self, at: DataLocation) -> list[str]:
        """The names of the files of the format."""
        if (single_file := self._one(at)) is not None:
            return single_file.splits(at)
        table_files = {_split_of(file) for form in self._formats for file in at.folder.glob(f"*.{form}")}
        if not table_files:
            raise UserError(f"{at.folder} has no SPLIT.{{{','.join(self._formats)}}} files (data.path)")
        return sorted(table_files)

    def rows(self, split: str, at: DataLocation, *, streaming: bool = False) -> Iterator[Row]:
        """One a row of the file."""
        if (single_file := self._one(at)) is not None:
            yield from single_file.rows(split, at)
            return
        files = self._files(split, at)
        uniform = all(file.suffix[1:] in UNIFORM for file in files)
        entries = ((f"{file.name}:{n}", entry) for file in files for n, entry in FORMATS[file.suffix[1:]](file))
        yield from self.columns(at).rows(entries, uniform=uniform)

    def fingerprint(self, split: str, at: DataLocation) -> str:
        """Return a digest of the files' content."""
        if (single_file := self._one(at)) is not None:
            return single_file.fingerprint(split, at)
        return digest(self._files(split, at)) + self.options

    def files(self, split: str, at: DataLocation) -> str:
        """The file, or the first part of it."""
        if (single_file := self._one(at)) is not None:
            return single_file.files(split, at)
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
        table_suffixes = (
            sorted(file for file in at.folder.glob(f"*.{form}") if _split_of(file) == split) for form in self._formats
        )
        return next(filter(None, table_suffixes), [])

    @property
    def _formats(self) -> Sequence[str]:
        return list(FORMATS) if self.format == "any" else [self.format]


@dataclass(frozen=True)
class OneTable(Tabular):
    """A file whose rows are of the split that their column ``split`` names, or else, by a hash of their sources, a
    tenth each of valid and of test. Its split ``all`` is the whole of it.
    """

    table: Path

    def splits(self, at: DataLocation) -> list[str]:
        """Return the splits that the rows are of."""
        return [ALL, *sorted(self._named or ("test", "train", "valid"))]

    def rows(self, split: str, at: DataLocation, *, streaming: bool = False) -> Iterator[Row]:
        """Yield the rows of a split; a bad row that does not say its split is one of train."""
        form, named = self.table.suffix[1:], bool(self._named)
        read, beside = tee(self._entries(form, named))
        for row, (_, entry) in zip(self.columns(at).rows(read, uniform=form in UNIFORM), beside, strict=True):
            part = _said(entry) if named else None if row.record is None else _part(row.record)
            if split in (ALL, part or "train"):
                yield row

    def _entries(self, form: str, named: bool) -> Iterator[tuple[str, RowOrFault]]:
        for number, entry in FORMATS[form](self.table):
            wrong = named and isinstance(entry, Mapping) and _said(entry) is None
            yield f"{self.table.name}:{number}", NO_SPLIT if wrong else entry

    def fingerprint(self, split: str, at: DataLocation) -> str:
        """Of the file's content and the part of it."""
        return f"{digest([self.table])} {split} {self.options}"

    def files(self, split: str, at: DataLocation) -> str:
        """The file, of which a split is a part."""
        return f"split {split} in {self.table}"

    @property
    def _named(self) -> frozenset[str]:
        """The splits that the column ``split`` names; none where there is no such column."""
        return _splits(self.table, self.table.stat().st_mtime_ns)


NO_SPLIT = Fault("malformed", "the column split says nothing; it is train, valid, test ...")


def _said(entry: RowOrFault) -> str | None:
    """Return the split that an entry says it is of."""
    split_name = entry.get("split") if isinstance(entry, Mapping) else None
    return canonical(split_name.strip()) if isinstance(split_name, str) and split_name.strip() else None


def _part(record: Record) -> str:
    """Draw the split of a record: of ten sources one is valid and one is test, the same wherever they stand."""
    content = record.get("image") or record["source"].encode(errors="surrogatepass")
    return {0: "valid", 1: "test"}.get(hashlib.sha256(content).digest()[0] % 10, "train")


@lru_cache
def _splits(table: Path, changed: int) -> frozenset[str]:
    """Read the names of the splits of one table, last ``changed`` then; said once where it names none."""
    named: set[str] = set()
    form = table.suffix[1:]
    for _, entry in FORMATS[form](table):
        if (split_name := _said(entry)) is not None:
            named.add(split_name)
        if form in UNIFORM and isinstance(entry, Mapping) and "split" not in entry:
            break
    if not named:
        log.info("%s has no column split: by a hash of its sources a tenth each is valid and test", table)
    return frozenset(named)


def _split_of(file: Path) -> str:
    return re.sub(r"-\d+-of-\d+$", "", file.stem)
