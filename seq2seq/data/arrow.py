"""Encoded records on disk: one Arrow file a split, written once, read by memory map."""

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
        "sizes": pa.list_(pa.int32()),  # and what else an ``Example`` may have
        "copies": pa.list_(pa.int32()),
        "oov": pa.list_(pa.string()),
        "regions": pa.list_(pa.list_(pa.list_(pa.float32()))),
        "captions": pa.list_(pa.list_(pa.int32())),  # <s> y_1 .. </s> of each reference
    }
)
ROWS_AT_ONCE = 10_000

T = TypeVar("T")


def write(path: Path, rows: Iterable[Mapping[str, Any]], about: Callable[[], Mapping[str, Any]] = dict) -> None:
    """Write ``rows`` of ``SCHEMA``; ``about`` returns, when they are written, what the file's seal says of them."""
    with (
        writing(path, about) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_stream(file, SCHEMA) as stream,
    ):
        for chunk in chunks(rows, ROWS_AT_ONCE):
            stream.write_batch(pa.RecordBatch.from_pylist(chunk, SCHEMA))


def read(path: Path) -> pa.Table:
    """The table at ``path``, which stays on disk.

    Raises:
        UserError: the file is gone or damaged.
    """
    if sealed.opened(path) is None:
        raise UserError(f"{path} is gone, or damaged, while it is in use: start again, which makes it anew")
    with pa.ipc.open_stream(pa.memory_map(str(path))) as stream:  # ends before the seal
        return stream.read_all()


def reopened(view: Callable[..., T], stamp: sealed.Stamp | None, path: Path, *column: str) -> T:
    """A view of a file in another process, which need not verify what the first one did."""
    sealed.trust(path, stamp)
    return view(path, *column)


class TokenLists:
    """A column of ids: row i is a view of the file."""

    def __init__(self, path: Path, column: str) -> None:
        self.path, self.column = path, column
        parts = read(path).column(column).chunks
        self._offsets = [part.offsets.to_numpy() for part in parts]
        self._values = [part.values.to_numpy() for part in parts]
        self._starts = np.cumsum([0, *map(len, parts)])
        self.lengths: NDArray[np.int64] = np.concatenate([np.zeros(0, np.int64), *map(np.diff, self._offsets)])

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        offsets, place = self._offsets[part], index - self._starts[part]
        return self._values[part][offsets[place] : offsets[place + 1]]

    def __reduce__(self) -> tuple[Any, ...]:  # a loader worker maps the file itself
        return reopened, (TokenLists, sealed.stamp(self.path), self.path, self.column)


class Strings:
    """A column of lists of strings."""

    def __init__(self, path: Path, column: str) -> None:
        self.path, self.column = path, column
        self._strings = read(path).column(column)

    def __getitem__(self, index: int) -> list[str]:
        strings: list[str] = self._strings[index].as_py()
        return strings

    def __reduce__(self) -> tuple[Any, ...]:
        return reopened, (Strings, sealed.stamp(self.path), self.path, self.column)


class Records(Sequence[Record]):
    """The records of an encoded split, as they were read; ``references`` is always there."""

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
        return cast(Record, {name: value for name, value in entry.items() if value is not None})

    def __iter__(self) -> Iterator[Record]:
        return (self[i] for i in range(len(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        return reopened, (Records, sealed.stamp(self.path), self.path)


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` items, the last one shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
