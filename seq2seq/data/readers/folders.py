"""Reader of a folder of images for each split, with a table of captions in it: Hugging Face's ImageFolder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from typing_extensions import override

from seq2seq.data.readers.reader import DataLocation, Tabular, digest
from seq2seq.data.readers.rows import FORMATS, UNIFORM
from seq2seq.data.records import Record, Row
from seq2seq.errors import UserError


@dataclass(frozen=True)
class ImageFolderReader(Tabular):
    """Reader of ``SPLIT/metadata.{jsonl,csv,tsv,parquet}``, whose rows name an image of the folder and its caption.

    The paths in the records are relative to ``data.path``.
    """

    @override
    def splits(self, at: DataLocation) -> list[str]:
        return sorted({file.parent.name for file in at.folder.glob("*/metadata.*") if file.suffix[1:] in FORMATS})

    @override
    def rows(self, split: str, at: DataLocation, *, streaming: bool = False) -> Iterator[Row]:
        # Read the table of the split.
        file = self._table(split, at)
        form = file.suffix[1:]
        entries = ((f"{split}/{file.name}:{number}", entry) for number, entry in FORMATS[form](file))
        for row in self.columns(at).rows(entries, uniform=form in UNIFORM):
            # The table names files relative to the folder of the split.
            if row.record is not None and "image" not in row.record:
                record: Record = {**row.record, "source": f"{split}/{row.record['source']}"}
                row = replace(row, record=record)
            yield row

    @override
    def fingerprint(self, split: str, at: DataLocation) -> str:
        return digest([self._table(split, at)]) + self.options

    @override
    def files(self, split: str, at: DataLocation) -> str:
        return str(at.folder / split / "metadata.jsonl")

    def _table(self, split: str, at: DataLocation) -> Path:
        """Return the table of a split, in the first format that exists."""
        for name in FORMATS:
            if (file := at.folder / split / f"metadata.{name}").is_file():
                return file
        raise UserError(f"{at.folder / split} has no metadata.{{{','.join(FORMATS)}}} (data.path)")
