"""Compact encoding of tables of numbers, such as the sums of each record for each metric.

A column of whole numbers is stored as its difference to the earlier column that leaves the least entropy (many metrics
contain the output length), minus the smallest difference, in as few bytes as possible. Any other column is stored as
floats with a given number of mantissa bits. The error of their sum by rounding is stored too, and decoding adds it
again, so that the sum does not change. Bytes of equal significance are stored together, because they compress well.

Letters: N records, C columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MANTISSA = 52
"""Mantissa bits of a float64, which store a column without rounding."""
LARGEST_WHOLE = 2.0**52
"""Bound of the columns that are stored as whole numbers."""
WIDTHS = (1, 2, 4, 8)
"""Possible sizes of a whole number in bytes."""


def encode(table: Array, bits: Sequence[int]) -> tuple[list[list[Any]], bytes]:
    """Encode a table of numbers.

    Args:
        table: Numbers (N, C).
        bits: Mantissa bits of each column (C,); columns of whole numbers ignore them.

    Returns:
        The layout of each column, [bytes of a number or 0 for floats, base column or -1, offset], and the bytes.
    """
    layouts: list[list[Any]] = []
    planes: list[bytes] = []
    whole: dict[int, NDArray[np.int64]] = {}
    for index, column in enumerate(table.T):
        if (np.abs(column) < LARGEST_WHOLE).all() and (column == np.rint(column)).all():
            # Store whole numbers as differences, if that is shorter.
            whole[index] = column.astype(np.int64)
            base = min((other for other in whole if other != index), key=_cost(whole, index), default=-1)
            if base == -1 or _entropy(whole[index]) <= _cost(whole, index)(base):
                base = -1
            left = whole[index] - (whole[base] if base >= 0 else 0)
            least = int(left.min(initial=0))
            width = next(width for width in WIDTHS if int(left.max(initial=0)) - least < 256**width)
            layouts.append([width, base, least])
            planes.append(_planes((left - least).astype(f">u{width}")))
        else:
            # Store rounded floats, with the mean rounding error of those that are not zero.
            rounded = _rounded(column, bits[index])
            count = int((rounded != 0).sum())
            shift = float((column.sum() - rounded.sum()) / count) if np.isfinite(column).all() else 0.0
            layouts.append([0, -1, shift])
            planes.append(_planes(rounded.astype(">f8")))
    return layouts, b"".join(planes)


def decode(layouts: Sequence[Sequence[Any]], content: bytes, records: int) -> Array:
    """Decode a table that ``encode`` stored.

    Args:
        layouts: Layout of each column.
        content: Bytes of all columns.
        records: N.

    Returns:
        Numbers (N, C).

    Raises:
        ValueError: ``content`` does not fit ``layouts``.
    """
    table = np.zeros((records, len(layouts)))
    start = 0
    for index, (width, base, offset) in enumerate(layouts):
        # Join the bytes of each number.
        kind = np.dtype(f">u{width}" if width else ">f8")
        block = np.frombuffer(content, np.uint8, records * kind.itemsize, start)
        column = np.ascontiguousarray(block.reshape(kind.itemsize, records).T).view(kind).reshape(records)
        start += block.size
        # Undo the difference or the rounding.
        if width:
            table[:, index] = column.astype(np.int64) + offset + (table[:, base] if 0 <= base < index else 0)
        else:
            table[:, index] = column + offset * (column != 0)
    if start != len(content):
        raise ValueError(f"{len(content) - start} bytes are left over")
    return table


def _cost(whole: dict[int, NDArray[np.int64]], index: int) -> Any:
    """Return the function from another column to the entropy of the difference to it."""
    return lambda other: _entropy(whole[index] - whole[other])


def _entropy(values: NDArray[np.int64]) -> float:
    """Return the entropy of ``values`` in bits per value."""
    shares = np.unique(values, return_counts=True)[1] / max(len(values), 1)
    return float(-(shares * np.log2(shares)).sum())


def _rounded(column: Array, bits: int) -> Array:
    """Round the finite values of a column to ``bits`` mantissa bits."""
    spare = np.uint64(MANTISSA - bits)
    if not spare:
        return column
    # Round half up at the last kept bit of the binary representation.
    half = np.uint64(1) << (spare - np.uint64(1))
    rounded = ((np.ascontiguousarray(column).view(np.uint64) + half) >> spare << spare).view(np.float64)
    return np.where(np.isfinite(column), rounded, column)


def _planes(values: NDArray[Any]) -> bytes:
    """Return the first bytes of all values, then the second bytes, and so on."""
    return values.view(np.uint8).reshape(len(values), values.itemsize).T.tobytes()
