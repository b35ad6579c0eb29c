"""Reader of captions with the splits of Karpathy & Li (2015, arXiv:1412.2306), in the authors' file format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Formatter
from typing import Any

from typing_extensions import override

from seq2seq.data.readers.reader import DataLocation, Reader, digest
from seq2seq.data.records import Record, Row
from seq2seq.errors import UserError
from seq2seq.files.text import read_text


@dataclass(frozen=True)
class KarpathyReader(Reader):
    """Reader of a JSON file: {"images": [{"filename", "filepath"?, "split", "sentences": [{"raw"}]}]}.

    An image that does not tell its split is a bad row of train.

    Args:
        file: Name of the JSON file in ``data.path``.
        images: Path of an image relative to ``data.path``; ``{KEY}`` stands for a value of the image's entry.
        joined: Splits that become a part of another split.
    """

    file: str
    images: str = "{filename}"
    joined: Mapping[str, str] = field(default_factory=lambda: {"restval": "train"})

    @override
    def splits(self, at: DataLocation) -> list[str]:
        return sorted({split for _, entry in self._entries(at) if (split := self._split(entry)) is not None})

    @override
    def rows(self, split: str, at: DataLocation, *, streaming: bool = False) -> Iterator[Row]:
        for number, entry in self._entries(at):
            split_name = self._split(entry)
            if (split_name or "train") == split:
                row = self._row(entry, f"{self.file}: images[{number}]")
                yield row if split_name else replace(row, record=None, problem="malformed", reason="no split")

    def _row(self, entry: Any, entry_place: str) -> Row:
        """Return the row of an image, or a row without a record if the entry is malformed."""
        try:
            # Read the captions, and the values that name the file.
            captions = [" ".join(sentence["raw"].split()) for sentence in entry["sentences"]]
            fields = {name: entry[name] for _, name, _, _ in Formatter().parse(self.images) if name}
        except (KeyError, TypeError, AttributeError):
            return Row(
                entry_place,
                problem="malformed",
                reason="no file name, or no sentences with a raw text",
            )
        if not all(isinstance(value, str) for value in fields.values()):
            return Row(entry_place, problem="malformed", reason="the name of the file is not a text")
        # Drop empty captions.
        captions = [caption for caption in captions if caption]
        if not captions:
            return Row(entry_place, problem="empty")
        return Row(entry_place, Record(source=self.images.format(**fields), target=captions[0], references=captions))

    @override
    def fingerprint(self, split: str, at: DataLocation) -> str:
        return f"{digest([at.folder / self.file])} {self.images} {dict(self.joined)}"

    @override
    def files(self, split: str, at: DataLocation) -> str:
        return f"split {split} in {at.folder / self.file}"

    def _split(self, entry: Any) -> str | None:
        """Return the split of an entry after joining, or None."""
        name = entry.get("split") if isinstance(entry, Mapping) else None
        return self.joined.get(name, name) if isinstance(name, str) and name else None

    def _entries(self, at: DataLocation) -> Iterator[tuple[int, Any]]:
        """Yield the number and the entry of each image."""
        # Read the file.
        path: Path = at.folder / self.file
        if not path.is_file():
            raise UserError(f"{path}: No such file or directory; download the splits of Karpathy & Li")
        text = read_text(path)
        try:
            images = json.loads(text)["images"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{path} is not in the format of Karpathy's splits, {{'images': [...]}}") from error
        # Check the list of images.
        if not isinstance(images, list):
            raise UserError(f"{path} is not in the format of Karpathy's splits, {{'images': [...]}}")
        return enumerate(images)
