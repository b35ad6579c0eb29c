"""Rows of table files with their line numbers: a mapping of columns, or a string that says what is wrong."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet

from seq2seq.errors import UserError

Entry = Mapping[str, Any] | str
NOT_UTF8, MALFORMED = "not UTF-8", "malformed"


def jsonl(path: Path) -> Iterator[tuple[int, Entry]]:
    """One JSON object a line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                entry = json.loads(line.decode())
            except UnicodeDecodeError:
                yield number, NOT_UTF8
            except ValueError:
                yield number, MALFORMED
            else:
                yield number, entry if isinstance(entry, dict) else MALFORMED


def separated(path: Path, delimiter: str) -> Iterator[tuple[int, Entry]]:
    """Comma- or tab-separated values under a line of column names."""
    # Undecodable bytes become lone surrogates, which no UTF-8 file can hold: they mark the cell.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        table = csv.DictReader(file, delimiter=delimiter)
        try:
            for row in table:
                if None in row or None in row.values():  # more, or fewer, cells than columns
                    yield table.line_num, MALFORMED
                else:
                    yield table.line_num, row if all(map(_encodable, row.values())) else NOT_UTF8
        except csv.Error as error:
            raise UserError(f"{path}:{table.line_num}: {error}") from error


def parquet(path: Path) -> Iterator[tuple[int, Entry]]:
    """The rows of a parquet file."""
    number = 0
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
        for row in batch.to_pylist():
            number += 1
            yield number, row


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


FORMATS: dict[str, Callable[[Path], Iterator[tuple[int, Entry]]]] = {
    "jsonl": jsonl,
    "csv": partial(separated, delimiter=","),
    "tsv": partial(separated, delimiter="\t"),
    "parquet": parquet,
}
