"""Images in a folder a split, with a table of their captions beside them: the form of Hugging Face's ImageFolder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from seq2seq.data.readers.reader import DataLocation, Tabular, digest
from seq2seq.data.readers.rows import FORMATS, UNIFORM
from seq2seq.data.records import Record, Row
from seq2seq.errors import UserError


@dataclass(frozen=True)
class ImageFolderReader(Tabular):
    """``SPLIT/metadata.{jsonl,csv,tsv,parquet}``, whose rows name a file of that folder and what is said of it."""

    def splits(self, at: DataLocation) -> list[str]:
        """The folders with a table."""
        return sorted({file.parent.name for file in at.folder.glob("*/metadata.*") if file.suffix[1:] in FORMATS})

    def rows(self, split: str, at: DataLocation, *, streaming: bool = False) -> Iterator[Row]:
        """One a row of the table; paths are counted from ``data.path`` on."""
        file = self._table(split, at)
        form = file.suffix[1:]
        entries = ((f"{split}/{file.name}:{number}", entry) for number, entry in FORMATS[form](file))
        for row in self.columns(at).rows(entries, uniform=form in UNIFORM):
            if row.record is not None and "image" not in row.record:
                record: Record = {**row.record, "source": f"{split}/{row.record['source']}"}
                row = replace(row, record=record)
            yield row

    def fingerprint(self, split: str, at: DataLocation) -> str:
        """Return a digest of the table's content."""
        return digest([self._table(split, at)]) + self.options

    def files(self, split: str, at: DataLocation) -> str:
        """Return the path of the split's table."""
        return str(at.folder / split / "metadata.jsonl")

    def _table(self, split: str, at: DataLocation) -> Path:
        for name in FORMATS:
            if (file := at.folder / split / f"metadata.{name}").is_file():
                return file
        raise UserError(f"{at.folder / split} has no metadata.{{{','.join(FORMATS)}}} (data.path)")
