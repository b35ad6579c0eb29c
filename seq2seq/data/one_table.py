"""One table by itself, in which all splits lie together."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from seq2seq.data.base import Location, Tabular, canonical, digest
from seq2seq.data.records import Record, Row
from seq2seq.data.tables import FORMATS
from seq2seq.errors import UserError

log = logging.getLogger(__name__)
ALL = "all"


@dataclass(frozen=True)
class OneTable(Tabular):
    """A file whose rows are of the split that their column ``split`` names, or else, by a hash of their sources, a
    tenth each of valid and of test. Its split ``all`` is the whole of it.
    """

    table: Path

    def splits(self, at: Location) -> list[str]:
        """Those that its rows are of."""
        return list(_splits(self.table, self.table.stat().st_mtime_ns))

    def rows(self, split: str, at: Location, *, streaming: bool = False) -> Iterator[Row]:
        """One a row of the file; what is wrong is told of train."""
        columns = self.columns(at)
        for number, entry in FORMATS[self.table.suffix[1:]](self.table):
            place = f"{self.table.name}:{number}"
            row, part = columns.row(entry, place), "train"
            if row.record is not None and isinstance(entry, Mapping):
                if "split" in entry and not entry["split"]:
                    raise UserError(f"{place}: the column split says nothing (it is train, valid, test ...)")
                part = canonical(str(entry["split"])) if "split" in entry else _part(row.record)
            if split in (ALL, part):
                yield row

    def fingerprint(self, split: str, at: Location) -> str:
        """Of the file's content and the part of it."""
        return f"{digest([self.table])} {split} {self.options}"

    def files(self, split: str, at: Location) -> str:
        """The file, of which a split is a part."""
        return f"split {split} in {self.table}"


def _part(record: Record) -> str:
    """Of ten sources one is valid and one is test, the same wherever they stand."""
    content = record.get("image") or record["source"].encode()
    return {0: "valid", 1: "test"}.get(hashlib.sha256(content).digest()[0] % 10, "train")


@lru_cache
def _splits(table: Path, changed: int) -> tuple[str, ...]:
    """Those of one table, last ``changed`` then; said once where nobody says them."""
    named: set[str] = set()
    for _, entry in FORMATS[table.suffix[1:]](table):
        if isinstance(entry, Mapping) and "split" not in entry:
            log.info("%s has no column split: by a hash of its sources a tenth each is valid and test", table)
            return ALL, "test", "train", "valid"
        if isinstance(entry, Mapping) and entry["split"]:
            named.add(canonical(str(entry["split"])))
    return ALL, *sorted(named)
