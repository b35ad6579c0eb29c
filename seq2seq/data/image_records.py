"""The records of a captioning set: one an image, whose file is known, with all its captions."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import cast

from seq2seq.data.cache import image_is_whole, keep_image
from seq2seq.data.images import SUFFIXES
from seq2seq.data.readers.reader import DataLocation
from seq2seq.data.record_policy import Policy, Report
from seq2seq.data.records import Record

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageRecords:
    """What joins the rows of one image to a record, and writes images that are in no file yet into ``folder``."""

    at: DataLocation
    folder: Path
    policy: Policy

    @property
    def root(self) -> Path | None:
        """Where paths of images start from."""
        return self.at.path and self.at.root.resolve()

    def joined(self, rows: Iterable[tuple[str, Record]], report: Report) -> Iterator[tuple[str, Record]]:
        """Yield (place, record), a record an image.

        Rows of the same file are joined, wherever they stand, and neighbours that bring the same content.
        """
        of_file: dict[str, list[tuple[str, Record]]] = {}
        for content, group in groupby(self._aligned(rows, report), key=lambda row: row[1].get("image")):
            if content is not None:
                yield self._join(list(group))
                continue
            for place, record in group:
                of_file.setdefault(record["source"], []).append((place, record))
        yield from map(self._join, of_file.values())

    def damaged(self, files: Iterable[Path]) -> list[Path]:
        """Return those of ``files`` in the cache that are gone, or whose content is not what it was."""
        kept = [file for file in files if file.is_relative_to(self.folder)]
        with ThreadPoolExecutor(8) as pool:
            damaged = [file for file, whole in zip(kept, pool.map(image_is_whole, kept), strict=True) if not whole]
        if damaged:
            log.warning("%s is gone or damaged (one of %d such images): they are made anew", damaged[0], len(damaged))
        return damaged

    def _aligned(self, rows: Iterable[tuple[str, Record]], report: Report) -> Iterator[tuple[str, Record]]:
        """Yield the rows whose regions, if they have some, are of as many captions as they have."""
        for place, record in rows:
            regions, captions = len(record.get("regions", [])), len(_captions(record))
            if regions in (0, captions):
                yield place, record
            else:
                reason = f"regions of {regions} captions, of which there are {captions}"
                report.add("malformed", f"{place} ({reason})", self.policy)

    def _join(self, rows: Sequence[tuple[str, Record]]) -> tuple[str, Record]:
        """Return the first row with the captions of all, and what is known of their words."""
        place, record = rows[0]
        known: dict[str, list[list[float]]] = {}
        for _, other in rows:
            texts = _captions(other)
            for text, boxes in zip(texts, other.get("regions") or [[]] * len(texts), strict=True):
                known[text] = known.get(text) or boxes
        joined = {**record, "source": self._file_of(record), "target": next(iter(known)), "references": list(known)}
        if any(known.values()):
            joined["regions"] = list(known.values())
        joined.pop("image", None)
        return place, cast(Record, joined)

    def _file_of(self, record: Record) -> str:
        """Return the file of an image; one that is in none yet is written into the cache."""
        content = record.get("image")
        if content is None:
            return str((self.root or Path().resolve()) / record["source"])
        suffix = Path(record["source"]).suffix.lower()
        return str(keep_image(self.folder, content, suffix if suffix in SUFFIXES else ""))


def state_of(file: Path) -> list[int] | None:
    """Return what changes where a file is written anew; None where there is none."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _captions(record: Record) -> list[str]:
    """Return the captions of a row: every line of a cell is one."""
    cells = record.get("references") or [record["target"]]
    return list(dict.fromkeys(line for cell in cells for line in cell.split("\n") if line.strip()))
