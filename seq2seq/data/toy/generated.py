"""Base of the generated datasets: three splits, generated from a seed when they are first needed."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property

from typing_extensions import override

from seq2seq.data import cache
from seq2seq.data.readers.reader import DataLocation, Reader
from seq2seq.data.records import Record, Row


class Generated(Reader):
    """Reader of a dataset that is generated instead of read; this takes seconds."""

    @abstractmethod
    def generate(self) -> dict[str, list[Record]]:
        """Return {split: records} of train, valid and test. The same options give the same records."""

    @override
    def splits(self, at: DataLocation) -> list[str]:
        return ["train", "valid", "test"]

    @override
    def rows(self, split: str, at: DataLocation, *, streaming: bool = False) -> Iterator[Row]:
        for number, record in enumerate(self._records[split], 1):
            yield Row(f"{type(self).__name__.lower()} {split}:{number}", record)

    @override
    def fingerprint(self, split: str, at: DataLocation) -> str:
        """Return a digest of the records themselves."""
        without_images = [{name: value for name, value in r.items() if name != "image"} for r in self._records[split]]
        # JSON cannot hold images, so that they count by their hash.
        images = hashlib.sha256(b"".join(record.get("image", b"") for record in self._records[split])).hexdigest()
        return cache.key(without_images, images)

    @override
    def unread(self, at: DataLocation) -> dict[str, str]:
        return {
            "path": f"{type(self).__name__} makes its records; choose data=parallel_text or another dataset of files"
        }

    @cached_property
    def _records(self) -> dict[str, list[Record]]:
        """Records of each split."""
        return self.generate()
