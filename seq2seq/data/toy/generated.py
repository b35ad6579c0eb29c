"""What all embedded sets have in common: three splits, made from a seed when first asked for."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property

from seq2seq.data import cache
from seq2seq.data.readers.reader import DataLocation, Reader
from seq2seq.data.records import Record, Row


class Generated(Reader):
    """A reader that needs no files; it takes seconds."""

    @abstractmethod
    def generate(self) -> dict[str, list[Record]]:
        """{split: records} of train, valid and test, the same for the same options."""

    def splits(self, at: DataLocation) -> list[str]:
        """Train, valid and test."""
        return ["train", "valid", "test"]

    def rows(self, split: str, at: DataLocation, *, streaming: bool = False) -> Iterator[Row]:
        """In the order in which they were drawn."""
        for number, record in enumerate(self._records[split], 1):
            yield Row(f"{type(self).__name__.lower()} {split}:{number}", record)

    def fingerprint(self, split: str, at: DataLocation) -> str:
        """Of the records themselves."""
        named = [{name: value for name, value in r.items() if name != "image"} for r in self._records[split]]
        drawn = hashlib.sha256(b"".join(record.get("image", b"") for record in self._records[split])).hexdigest()
        return cache.key(named, drawn)

    def unread(self, at: DataLocation) -> dict[str, str]:
        """The path: records are made, not read."""
        return {"path": f"{type(self).__name__} makes its records; choose data=parallel_text or another set of files"}

    @cached_property
    def _records(self) -> dict[str, list[Record]]:
        return self.generate()
