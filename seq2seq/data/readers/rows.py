"""Rows of table files with their line numbers: a mapping of columns, or the problem of the row.

Every row of a file is yielded, so that the numbers of used and of bad rows add up to the file.
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
# Without this bound, an unclosed quotation mark would take the rest of a file.
LARGEST_CELL = 1 << 24  # characters of csv: a book
ROWS_AT_ONCE = 1000  # rows of parquet that are in memory at once

NOT_UTF8, EMPTY = Fault("not UTF-8"), Fault("empty")


def jsonl(path: Path) -> Iterator[tuple[int, RowOrFault]]:
    """Yield (line number, row) of a file with one JSON object in each line.

    Args:
        path: File to read.
    """
    with open_lines(path) as lines:
        for number, line in enumerate(lines, 1):
            yield number, _parsed(line)


def _parsed(line: bytes) -> RowOrFault:
    """Return the object of a line, or its fault."""
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
    return entry if isinstance(entry, dict) else Fault("malformed", "not a JSON object")


def tsv(path: Path) -> Iterator[tuple[int, RowOrFault]]:
    """Yield (line number, row) of tab-separated cells, below a line of column names. Quotation marks have no meaning.

    Args:
        path: File to read.

    Raises:
        UserError: The column names cannot be used.
    """
    names: list[str] | None = None
    for number, line in enumerate(_text_lines(path), 1):
        # A blank line has no cells.
        cells = line.rstrip("\r\n").split("\t") if line.strip() else []
        if names is None:
            names = _header(cells, path)
        else:
            yield number, _entry(names, cells)


def comma_separated(path: Path) -> Iterator[tuple[int, RowOrFault]]:
    """Yield (line number, row) of comma-separated values (RFC 4180), below a line of column names.

    A quoted cell may have several lines; the number of such a row is that of its last line. If a row of several lines
    is malformed, its first line is a bad row, and reading goes on with the second line: a quotation mark that is never
    closed costs one row. Lines that are read a second time must follow the grammar of the RFC exactly.

    Args:
        path: File to read.

    Raises:
        UserError: The column names cannot be used.
    """
    # Allow long cells; the limit of the library is 128 KiB.
    csv.field_size_limit(max(csv.field_size_limit(), LARGEST_CELL))
    lines = _CsvLines(_text_lines(path))
    names: list[str] | None = None
    while lines.next_row():
        # Read one row, which may take several lines.
        number = lines.number + 1
        try:
            cells = next(csv.reader(lines, strict=True))
            fault = UNQUOTED if lines.again and not RFC_4180.fullmatch("".join(lines.of_row)) else None
        except csv.Error as error:
            cells, fault = [], OVERLONG if is_overlong_cell(error) else UNCLOSED
        # Take the first row as column names.
        if names is None:
            if fault is not None:
                raise UserError(f"{path}:1: the column names can't be read: {fault.reason}")
            names = _header(cells, path)
            continue
        # After a malformed row, read its other lines again.
        entry = fault or _entry(names, cells)
        if entry is not NOT_UTF8 and isinstance(entry, Fault):
            lines.keep_first()
        # Warn if an unclosed quotation mark may have joined several rows.
        elif len(lines.of_row) > 1 and all(line.count(",") == len(names) - 1 for line in lines.of_row):
            log.warning(
                "%s:%d: this row has %d lines, and each line looks like a row; check its quotation marks",
                path,
                number,
                len(lines.of_row),
            )
        yield lines.number, entry


# Faults of comma-separated values.
UNQUOTED = Fault("malformed", "an unquoted cell has a quotation mark")
UNCLOSED = Fault("malformed", "a quotation mark does not end its cell")
OVERLONG = Fault("malformed", f"a cell has more than {LARGEST_CELL} characters")
# The grammar of a row, with the cells of which it consists.
CELL = r'(?:[^",\r\n]*|"(?:[^"]|"")*")'
RFC_4180 = re.compile(f"{CELL}(?:,{CELL})*[\r\n]*")


class _CsvLines(Iterator[str]):
    """Lines of a file; all lines of the current row but the first can be given back."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.of_row: list[str] = []  # lines of the current row
        self._ahead: list[str] = []  # lines that were given back or looked at; the next line is the last element
        self._furthest = 0  # largest line number so far
        self.number = 0  # line number of the last line
        self.again = False  # whether the first line of the current row has been read before, as a part of another row

    def __next__(self) -> str:
        line = self._ahead.pop() if self._ahead else next(self._lines)
        self.of_row.append(line)
        self.number += 1
        self._furthest = max(self._furthest, self.number)
        return line

    def next_row(self) -> bool:
        """Begin a row; return whether there is one."""
        self.of_row = []
        self.again = self.number < self._furthest
        # Look one line ahead, to know whether the file ends here.
        if not self._ahead and (line := next(self._lines, None)) is not None:
            self._ahead.append(line)
        return bool(self._ahead)

    def keep_first(self) -> None:
        """Give back all lines of the row but the first."""
        self._ahead += reversed(self.of_row[1:])
        self.number -= len(self.of_row) - 1


def parquet(path: Path) -> Iterator[tuple[int, RowOrFault]]:
    """Yield (row number, row) of a parquet file.

    Args:
        path: File to read.

    Raises:
        UserError: The file cannot be read.
    """
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            # Check the column names; the rows bring them along.
            _header(file.schema_arrow.names, path)
            for batch in file.iter_batches(ROWS_AT_ONCE):
                for row in _rows(batch):
                    number += 1
                    yield number, row
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} can't be read as parquet after row {number}: {reason}"[:300]) from error


def _rows(batch: pa.RecordBatch) -> Iterable[RowOrFault]:
    """Return the rows of a batch. If one of them cannot be converted, convert each row by itself."""
    try:
        rows: list[RowOrFault] = batch.to_pylist()
        return rows
    except (ValueError, OverflowError):
        return [_row(batch.slice(place, 1)) for place in range(len(batch))]


def _row(batch: pa.RecordBatch) -> RowOrFault:
    """Return the only row of a batch, or its fault."""
    row: RowOrFault
    try:
        (row,) = batch.to_pylist()
    except UnicodeDecodeError:
        return NOT_UTF8
    except (ValueError, OverflowError) as error:  # for example, a date in the year 200000
        return Fault("malformed", " ".join(str(error).split())[:100])
    return row


def _text_lines(path: Path) -> Iterator[str]:
    """Yield lines of text with their ends; a carriage return alone is also a line end.

    Bytes that are not UTF-8 become lone surrogates, which no UTF-8 file can contain. They mark the bad cell.
    """
    with open_lines(path) as lines:
        for line in lines:
            text = line.decode(errors="surrogateescape")
            # Split the line at carriage returns inside it.
            if "\r" in text.removesuffix("\n").removesuffix("\r"):
                yield from io.StringIO(text, newline="")
            else:
                yield text


def _header(names: Sequence[str], path: Path) -> list[str]:
    """Return the column names. Each name must occur once; a column with an empty name is not read."""
    if not any(names):
        raise UserError(f"{path}:1: the first line must name the columns")
    if not all(map(_encodable, names)):
        raise UserError(f"{path}:1: the column names are not UTF-8; convert the file")
    if twice := [name for name in names if name and list(names).count(name) > 1]:
        raise UserError(f"{path}: the column name {twice[0]!r} occurs twice; give each column its own name")
    return list(names)


def _entry(names: Sequence[str], cells: Sequence[str]) -> RowOrFault:
    """Return the cells of a row by column name, or the fault of the row."""
    if not cells:
        return EMPTY
    if len(cells) != len(names):
        return Fault("malformed", f"{len(cells)} cells, but {len(names)} columns")
    if not all(map(_encodable, cells)):
        return NOT_UTF8
    return {name: cell for name, cell in zip(names, cells, strict=True) if name}


def _encodable(text: str) -> bool:
    """Return whether a text has no half surrogate pair."""
    return flaw(text) != SURROGATE


FORMATS: dict[str, Callable[[Path], Iterator[tuple[int, RowOrFault]]]] = {
    "jsonl": jsonl,
    "csv": comma_separated,
    "tsv": tsv,
    "parquet": parquet,
}
UNIFORM = ("csv", "tsv", "parquet")
"""Formats in which all rows of a file have the same columns."""
