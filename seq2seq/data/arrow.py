"""Encoded records on disk: one Arrow file for each split, written once and read by memory map."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seq2seq.data.cache import writing
from seq2seq.data.records import EXTRAS, Record
from seq2seq.errors import UserError
from seq2seq.files import sealed

LINKS = pa.list_(pa.list_(pa.int32()))
SCHEMA = pa.schema(
    {
        "source": pa.string(),
        "target": pa.string(),
        "references": pa.list_(pa.string()),
        "alignment": LINKS,
        "possible": LINKS,
        "origins": pa.list_(pa.int32()),
        "source_ids": pa.list_(pa.int32()),  # x_1 .. </s>
        "target_ids": pa.list_(pa.int32()),  # <s> y_1 .. </s>
        "sizes": pa.list_(pa.int32()),  # this and the next two columns: fields of ``Example``
        "copies": pa.list_(pa.int32()),
        "oov": pa.list_(pa.string()),
        "regions": pa.list_(pa.list_(pa.list_(pa.float32()))),
        "group": pa.string(),
        "captions": pa.list_(pa.list_(pa.int32())),  # <s> y_1 .. </s> for each reference
    }
)
ROWS_AT_ONCE = 10_000  # number of rows that are written at a time

T = TypeVar("T")


def write(path: Path, rows: Iterable[Mapping[str, Any]], about: Callable[[], Mapping[str, Any]] = dict) -> None:
    """Write rows to a file.

    Args:
        path: Path of the file.
        rows: Rows with columns of ``SCHEMA``.
        about: Function that returns the summary for the file's seal; it is called after the rows are written.
    """
    with (
        writing(path, about) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_stream(file, SCHEMA) as stream,
    ):
        # Write in chunks, so that the rows need not fit in memory.
        for chunk in chunks(rows, ROWS_AT_ONCE):
            stream.write_batch(pa.RecordBatch.from_pylist(chunk, SCHEMA))


def read(path: Path) -> pa.Table:
    """Return the table in a file; the table stays on disk.

    Args:
        path: Path of the file.

    Raises:
        UserError: The file is gone or damaged.
    """
    if sealed.opened(path) is None:
        raise UserError(f"{path} is gone or damaged while it is in use; start again to make a new one")
    with pa.ipc.open_stream(pa.memory_map(str(path))) as stream:  # the stream ends before the seal
        return stream.read_all()


def reopened(view: Callable[..., T], stamp: sealed.Stamp | None, path: Path, *column: str) -> T:
    """Return a view of a file in another process, without verifying the file again.

    Args:
        view: Class of the view.
        stamp: Stamp of the file when the first process verified it.
        path: Path of the file.
        column: Name of the column, for a view of one column.
    """
    sealed.trust(path, stamp)
    return view(path, *column)


def _numbers(array: pa.Array) -> NDArray[np.int32]:
    """Return a view of an array of 32-bit numbers; its method ``to_numpy`` would import pandas."""
    return cast("NDArray[np.int32]", np.from_dlpack(array))


class TokenLists:
    """Column of ids; row i is a view of the file.

    Args:
        path: Path of the file.
        column: Name of the column.
    """

    def __init__(self, path: Path, column: str) -> None:
        self.path, self.column = path, column
        parts = read(path).column(column).chunks
        # Each part of the column has its own offsets and values.
        self._offsets = [_numbers(part.offsets) for part in parts]
        self._values = [_numbers(part.values) for part in parts]
        self._starts = np.cumsum([0, *map(len, parts)])
        self.lengths: NDArray[np.int64] = np.concatenate([np.zeros(0, np.int64), *map(np.diff, self._offsets)])

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        # Find the part that holds the row.
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        offsets, place = self._offsets[part], index - self._starts[part]
        return self._values[part][offsets[place] : offsets[place + 1]]

    def __reduce__(self) -> tuple[Any, ...]:  # a loader worker maps the file itself
        return reopened, (TokenLists, sealed.stamp(self.path), self.path, self.column)


class Strings:
    """Column of lists of strings.

    Args:
        path: Path of the file.
        column: Name of the column.
    """

    def __init__(self, path: Path, column: str) -> None:
        self.path, self.column = path, column
        self._strings = read(path).column(column)

    def __getitem__(self, index: int) -> list[str]:
        strings: list[str] = self._strings[index].as_py()
        return strings

    def __reduce__(self) -> tuple[Any, ...]:
        return reopened, (Strings, sealed.stamp(self.path), self.path, self.column)


class Records(Sequence[Record]):
    """Records of an encoded split as they were read, each with ``references``.

    Args:
        path: Path of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._table = read(path).select(["source", "target", *EXTRAS])

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        (entry,) = self._table.slice(index % len(self), 1).to_pylist()
        # An absent key of a record is null in the file.
        return cast(Record, {name: value for name, value in entry.items() if value is not None})

    def __iter__(self) -> Iterator[Record]:
        return (self[i] for i in range(len(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        return reopened, (Records, sealed.stamp(self.path), self.path)


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of ``size`` items; the last one may be shorter.

    Args:
        items: Items to split into lists.
        size: Number of items of a list.
    """
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
