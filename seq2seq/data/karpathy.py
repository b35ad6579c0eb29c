"""Captions on the splits of Karpathy & Li (2015, arXiv:1412.2306), in the form in which their authors give them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seq2seq.data.base import Location, Reader, digest
from seq2seq.data.records import Record, Row
from seq2seq.errors import UserError


@dataclass(frozen=True)
class Karpathy(Reader):
    """``file`` of ``data.path``: {"images": [{"filename", "filepath"?, "split", "sentences": [{"raw"}]}]}.

    ``pictures`` says where from ``data.path`` on a picture lies; ``joined`` which splits belong to another.
    """

    file: str
    pictures: str = "{filename}"
    joined: Mapping[str, str] = field(default_factory=lambda: {"restval": "train"})

    def splits(self, at: Location) -> list[str]:
        """Those that the file names."""
        return sorted({self._split(entry) for _, entry in self._entries(at)})

    def rows(self, split: str, at: Location, *, streaming: bool = False) -> Iterator[Row]:
        """One a picture."""
        for number, entry in self._entries(at):
            if self._split(entry) != split:
                continue
            place = f"{self.file}: images[{number}]"
            try:
                captions = [" ".join(sentence["raw"].split()) for sentence in entry["sentences"]]
                source = self.pictures.format(**entry)
            except (KeyError, TypeError, AttributeError):
                yield Row(place, problem="malformed")
                continue
            captions = [caption for caption in captions if caption]
            if not captions:
                yield Row(place, problem="empty")
                continue
            yield Row(place, Record(source=source, target=captions[0], references=captions))

    def fingerprint(self, split: str, at: Location) -> str:
        """Of the file's content."""
        return f"{digest([at.folder / self.file])} {self.pictures} {dict(self.joined)}"

    def files(self, split: str, at: Location) -> str:
        """The file, of which a split is a part."""
        return f"split {split} in {at.folder / self.file}"

    def _split(self, entry: Mapping[str, Any]) -> str:
        name = str(entry.get("split", ""))
        return self.joined.get(name, name)

    def _entries(self, at: Location) -> Iterator[tuple[int, Mapping[str, Any]]]:
        path: Path = at.folder / self.file
        try:
            images = json.loads(path.read_text(encoding="utf-8"))["images"]
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}; download the splits of Karpathy & Li") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not in the form of Karpathy's splits: {{'images': [...]}}") from error
        return ((number, entry) for number, entry in enumerate(images) if isinstance(entry, dict))
