"""Records of a captioning dataset: one for each image, with the file of the image and all its captions."""

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
    """Joiner of the rows of one image into a record; it writes an image without a file into the cache."""

    at: DataLocation
    folder: Path  # directory of images in the cache
    policy: Policy

    @property
    def root(self) -> Path | None:
        """Folder that the paths of images are relative to."""
        return self.at.path and self.at.root.resolve()

    def joined(self, rows: Iterable[tuple[str, Record]], report: Report) -> Iterator[tuple[str, Record]]:
        """Yield (place, record), one record for each image.

        Rows with the same file are joined, wherever they are in the split. Rows with the same content are joined only
        if they are neighbours.

        Args:
            rows: Places and records as they are read.
            report: Report that counts rows that cannot be used.
        """
        of_file: dict[str, list[tuple[str, Record]]] = {}
        for content, group in groupby(self._aligned(rows, report), key=lambda row: row[1].get("image")):
            # Join neighbours with the same content now, so that contents do not fill the memory.
            if content is not None:
                yield self._join(list(group))
                continue
            # Collect the rows of each file.
            for place, record in group:
                of_file.setdefault(record["source"], []).append((place, record))
        yield from map(self._join, of_file.values())

    def damaged(self, files: Iterable[Path]) -> list[Path]:
        """Return the images in the cache that are gone or whose content has changed.

        Args:
            files: Files of images; those outside the cache are ignored.
        """
        kept = [file for file in files if file.is_relative_to(self.folder)]
        # Read the files in parallel.
        with ThreadPoolExecutor(8) as pool:
            damaged = [file for file, whole in zip(kept, pool.map(image_is_whole, kept), strict=True) if not whole]
        if damaged:
            log.warning(
                "%s is gone or damaged (one of %d such images); they are written again", damaged[0], len(damaged)
            )
        return damaged

    def _aligned(self, rows: Iterable[tuple[str, Record]], report: Report) -> Iterator[tuple[str, Record]]:
        """Yield the rows that have no regions, or regions for each of their captions."""
        for place, record in rows:
            regions, captions = len(record.get("regions", [])), len(_captions(record))
            if regions in (0, captions):
                yield place, record
            else:
                reason = f"lists of regions: {regions}, captions: {captions}"
                report.add("malformed", f"{place} ({reason})", self.policy)

    def _join(self, rows: Sequence[tuple[str, Record]]) -> tuple[str, Record]:
        """Return the first row with the captions and regions of all rows."""
        place, record = rows[0]
        # Collect different captions; a caption takes the first regions that are not empty.
        known: dict[str, list[list[float]]] = {}
        for _, other in rows:
            texts = _captions(other)
            for text, boxes in zip(texts, other.get("regions") or [[]] * len(texts), strict=True):
                known[text] = known.get(text) or boxes
        # Make one record.
        joined = {**record, "source": self._file_of(record), "target": next(iter(known)), "references": list(known)}
        if any(known.values()):
            joined["regions"] = list(known.values())
        joined.pop("image", None)
        return place, cast(Record, joined)

    def _file_of(self, record: Record) -> str:
        """Return the file of an image; an image without a file is written into the cache."""
        content = record.get("image")
        if content is None:
            return str((self.root or Path().resolve()) / record["source"])
        suffix = Path(record["source"]).suffix.lower()
        return str(keep_image(self.folder, content, suffix if suffix in SUFFIXES else ""))


def state_of(file: Path) -> list[int] | None:
    """Return the size and time of a file, which change if it is written again; None if there is no file.

    Args:
        file: Path of the file.
    """
    try:
        stat = file.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _captions(record: Record) -> list[str]:
    """Return the different captions of a row; every line of a cell is one."""
    cells = record.get("references") or [record["target"]]
    return list(dict.fromkeys(line for cell in cells for line in cell.split("\n") if line.strip()))
