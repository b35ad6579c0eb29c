"""Rows of table files with their line numbers: a mapping of columns, or what is wrong with the row.

Every row of a file comes out, so that what is kept and what is counted add up to the file.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from seq2seq.compat.python import is_overlong_cell
from seq2seq.data.records import Fault
from seq2seq.errors import UserError
from seq2seq.files.text import SURROGATE, flaw, open_lines

log = logging.getLogger(__name__)

RowOrFault = Mapping[str, Any] | Fault
LARGEST_CELL = 1 << 24  # characters of csv: a book; without a bound an unclosed quote would take the rest of a file
ROWS_AT_ONCE = 1000  # of parquet

NOT_UTF8, EMPTY = Fault("not UTF-8"), Fault("empty")


def jsonl(path: Path) -> Iterator[tuple[int, RowOrFault]]:
    """Yield one JSON object a line."""
    with open_lines(path) as lines:
        for number, line in enumerate(lines, 1):
            yield number, _parsed(line)


def _parsed(line: bytes) -> RowOrFault:
    try:
        text = line.decode()
        if not text.strip():
            return EMPTY
        entry = json.loads(text)
    except UnicodeDecodeError:
        return NOT_UTF8
    except ValueError as error:
        return Fault("malformed", f"not JSON: {error.msg}" if isinstance(error, json.JSONDecodeError) else "not JSON")
    except RecursionError:
        return Fault("malformed", "nested too deeply")
    return entry if isinstance(entry, dict) else Fault("malformed", "no JSON object")


def tsv(path: Path) -> Iterator[tuple[int, RowOrFault]]:
    """Yield a row a line of tab-separated cells, under a line of column names; a quotation mark is a letter."""
    names: list[str] | None = None
    for number, line in enumerate(_text_lines(path), 1):
        cells = line.rstrip("\r\n").split("\t") if line.strip() else []
        if names is None:
            names = _header(cells, path)
        else:
            yield number, _entry(names, cells)


def comma_separated(path: Path) -> Iterator[tuple[int, RowOrFault]]:
    """Yield the rows of comma-separated values (RFC 4180), under a line of column names.

    A quoted cell may go over several lines; its row has the number of the last one. Where that gives no row of the
    right form, its first line is a bad row, and reading goes on with the second: a quotation mark that is never closed
    costs one row. What is read a second time has to keep to the RFC's grammar to the letter.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LARGEST_CELL))
    lines = _CsvLines(_text_lines(path))
    names: list[str] | None = None
    while lines.next_row():
        number = lines.number + 1
        try:
            cells = next(csv.reader(lines, strict=True))
            fault = UNQUOTED if lines.again and not RFC_4180.fullmatch("".join(lines.of_row)) else None
        except csv.Error as error:
            cells, fault = [], OVERLONG if is_overlong_cell(error) else UNCLOSED
        if names is None:
            if fault is not None:
                raise UserError(f"{path}:1: the column names can't be read: {fault.reason}")
            names = _header(cells, path)
            continue
        entry = fault or _entry(names, cells)
        if entry is not NOT_UTF8 and isinstance(entry, Fault):
            lines.keep_first()
        elif len(lines.of_row) > 1 and all(line.count(",") == len(names) - 1 for line in lines.of_row):
            log.warning("%s:%d: a row of %d lines, each of which looks like a row", path, number, len(lines.of_row))
        yield lines.number, entry


UNQUOTED = Fault("malformed", "a quotation mark inside an unquoted cell")
UNCLOSED = Fault("malformed", "a quotation mark that closes no cell")
OVERLONG = Fault("malformed", f"a cell of over {LARGEST_CELL} characters")
CELL = r'(?:[^",\r\n]*|"(?:[^"]|"")*")'
RFC_4180 = re.compile(f"{CELL}(?:,{CELL})*[\r\n]*")


class _CsvLines(Iterator[str]):
    """The lines of a file, of which those of the present row can be given back but for the first."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.of_row: list[str] = []  # those taken for the present row
        self._ahead: list[str] = []  # the next one last
        self._furthest = 0
        self.number = 0  # of the last line taken
        self.again = False  # whether the row was begun before, as a part of another

    def __next__(self) -> str:
        line = self._ahead.pop() if self._ahead else next(self._lines)
        self.of_row.append(line)
        self.number += 1
        self._furthest = max(self._furthest, self.number)
        return line

    def next_row(self) -> bool:
        """Begin a row; tell whether there is one."""
        self.of_row = []
        self.again = self.number < self._furthest
        if not self._ahead and (line := next(self._lines, None)) is not None:
            self._ahead.append(line)
        return bool(self._ahead)

    def keep_first(self) -> None:
        """Give back all lines of the row but the first."""
        self._ahead += reversed(self.of_row[1:])
        self.number -= len(self.of_row) - 1


def parquet(path: Path) -> Iterator[tuple[int, RowOrFault]]:
    """Yield the rows of a parquet file."""
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _header(file.schema_arrow.names, path)
            for batch in file.iter_batches(ROWS_AT_ONCE):
                for row in _rows(batch):
                    number += 1
                    yield number, row
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} can't be read as parquet after row {number}: {reason}"[:300]) from error


def _rows(batch: pa.RecordBatch) -> Iterable[RowOrFault]:
    """Return the rows of a batch; where one of them can't be converted, each by itself."""
    try:
        rows: list[RowOrFault] = batch.to_pylist()
        return rows
    except (ValueError, OverflowError):
        return [_row(batch.slice(place, 1)) for place in range(len(batch))]


def _row(batch: pa.RecordBatch) -> RowOrFault:
    row: RowOrFault
    try:
        (row,) = batch.to_pylist()
    except UnicodeDecodeError:
        return NOT_UTF8
    except (ValueError, OverflowError) as error:  # a date in the year 200000, for example
        return Fault("malformed", " ".join(str(error).split())[:100])
    return row


def _text_lines(path: Path) -> Iterator[str]:
    """Yield lines of text with their ends, which may be carriage returns alone.

    Bytes that are not UTF-8 become lone surrogates, which no UTF-8 file can hold: they mark the cell.
    """
    with open_lines(path) as lines:
        for line in lines:
            text = line.decode(errors="surrogateescape")
            if "\r" in text.removesuffix("\n").removesuffix("\r"):
                yield from io.StringIO(text, newline="")
            else:
                yield text


def _header(names: Sequence[str], path: Path) -> list[str]:
    """Return the names of columns, each of which must stand once; columns without a name are not read."""
    if not any(names):
        raise UserError(f"{path}:1: the first line must name the columns")
    if not all(map(_encodable, names)):
        raise UserError(f"{path}:1: the column names are not UTF-8")
    if twice := [name for name in names if name and list(names).count(name) > 1]:
        raise UserError(f"{path}: the column {twice[0]!r} stands twice; name each column once")
    return list(names)


def _entry(names: Sequence[str], cells: Sequence[str]) -> RowOrFault:
    """Return the cells of a row by their names."""
    if not cells:
        return EMPTY
    if len(cells) != len(names):
        return Fault("malformed", f"{len(cells)} cells in {len(names)} columns")
    if not all(map(_encodable, cells)):
        return NOT_UTF8
    return {name: cell for name, cell in zip(names, cells, strict=True) if name}


def _encodable(text: str) -> bool:
    return flaw(text) != SURROGATE


FORMATS: dict[str, Callable[[Path], Iterator[tuple[int, RowOrFault]]]] = {
    "jsonl": jsonl,
    "csv": comma_separated,
    "tsv": tsv,
    "parquet": parquet,
}
UNIFORM = ("csv", "tsv", "parquet")
"""Formats whose rows have all the same columns."""
