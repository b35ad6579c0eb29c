"""Captions on the splits of Karpathy & Li (2015, arXiv:1412.2306), in the form in which their authors give them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Formatter
from typing import Any

from seq2seq.data.readers.reader import DataLocation, Reader, digest
from seq2seq.data.records import Record, Row
from seq2seq.errors import UserError
from seq2seq.files.text import read_text


@dataclass(frozen=True)
class KarpathyReader(Reader):
    """``file`` of ``data.path``: {"images": [{"filename", "filepath"?, "split", "sentences": [{"raw"}]}]}.

    ``images`` says where from ``data.path`` on an image lies; ``joined`` which splits belong to another.
    """

    file: str
    images: str = "{filename}"
    joined: Mapping[str, str] = field(default_factory=lambda: {"restval": "train"})

    def splits(self, at: DataLocation) -> list[str]:
        """Return the splits that the file names."""
        return sorted({split for _, entry in self._entries(at) if (split := self._split(entry)) is not None})

    def rows(self, split: str, at: DataLocation, *, streaming: bool = False) -> Iterator[Row]:
        """Yield a row an image; one that does not say its split is a bad row of train."""
        for number, entry in self._entries(at):
            split_name = self._split(entry)
            if (split_name or "train") == split:
                row = self._row(entry, f"{self.file}: images[{number}]")
                yield row if split_name else replace(row, record=None, problem="malformed", reason="no split")

    def _row(self, entry: Any, entry_place: str) -> Row:
        try:
            captions = [" ".join(sentence["raw"].split()) for sentence in entry["sentences"]]
            fields = {name: entry[name] for _, name, _, _ in Formatter().parse(self.images) if name}
        except (KeyError, TypeError, AttributeError):
            return Row(entry_place, problem="malformed", reason="no sentences, each with a text as raw, or no file")
        if not all(isinstance(value, str) for value in fields.values()):
            return Row(entry_place, problem="malformed", reason="the name of a file that is no text")
        captions = [caption for caption in captions if caption]
        if not captions:
            return Row(entry_place, problem="empty")
        return Row(entry_place, Record(source=self.images.format(**fields), target=captions[0], references=captions))

    def fingerprint(self, split: str, at: DataLocation) -> str:
        """Return a digest of the file's content."""
        return f"{digest([at.folder / self.file])} {self.images} {dict(self.joined)}"

    def files(self, split: str, at: DataLocation) -> str:
        """The file, of which a split is a part."""
        return f"split {split} in {at.folder / self.file}"

    def _split(self, entry: Any) -> str | None:
        name = entry.get("split") if isinstance(entry, Mapping) else None
        return self.joined.get(name, name) if isinstance(name, str) and name else None

    def _entries(self, at: DataLocation) -> Iterator[tuple[int, Any]]:
        path: Path = at.folder / self.file
        if not path.is_file():
            raise UserError(f"{path}: No such file or directory; download the splits of Karpathy & Li")
        text = read_text(path)
        try:
            images = json.loads(text)["images"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{path} is not in the form of Karpathy's splits: {{'images': [...]}}") from error
        if not isinstance(images, list):
            raise UserError(f"{path} is not in the form of Karpathy's splits: {{'images': [...]}}")
        return enumerate(images)
