"""Tests of the codec of tables: it keeps whole numbers exactly, floats up to their bits, and all sums."""

from __future__ import annotations

import lzma
import math

import numpy as np
import pytest

from seq2seq.comparison.table_codec import MANTISSA, decode, encode


def table(records: int = 200, seed: int = 0) -> np.ndarray:
    """Return columns of counts, dependent, negative and large counts, floats of all sizes, zeros and infinities."""
    random = np.random.default_rng(seed)
    length = random.integers(3, 60, records)
    columns = [
        *(length, np.maximum(length - 1, 0), length // 3 - 20, random.integers(0, 2**40, records)),
        *(random.normal(size=records), random.lognormal(0, 20, records) * (length % 2), np.zeros(records)),
        np.where(length == length[0], np.inf, 1.5),
    ]
    return np.stack(columns, 1).astype(np.float64)


@pytest.mark.parametrize("records", [0, 1, 2, 200])
def test_all_bits_restore_the_exact_table(records: int) -> None:
    whole = table(records) if records else np.zeros((0, 8))
    layouts, content = encode(whole, [MANTISSA] * 8)
    np.testing.assert_array_equal(decode(layouts, content, records), whole)


@pytest.mark.parametrize("bits", [8, 12, 24, 40])
def test_rounding_keeps_sums(bits: int) -> None:
    whole = table()
    layouts, content = encode(whole, [bits] * 8)
    back = decode(layouts, content, len(whole))
    np.testing.assert_array_equal(back[:, :4], whole[:, :4])
    normal, skewed = 4, 5
    for column in (normal, skewed):
        exact = math.fsum(whole[:, column])
        assert back[:, column].sum() == pytest.approx(exact, rel=1e-12, abs=1e-12)
        assert ((back[:, column] == 0) == (whole[:, column] == 0)).all()
    assert np.abs(back[:, normal] - whole[:, normal]).max() <= 2 * np.abs(whole[:, normal]).max() * 2.0**-bits


def test_columns_that_follow_from_another_add_few_bytes() -> None:
    random = np.random.default_rng(1)
    length = random.integers(0, 250, 1000).astype(np.float64)
    sizes = [
        len(lzma.compress(encode(np.stack(columns, 1), [MANTISSA] * len(columns))[1]))
        for columns in ([length], [length, length + 300, length - 1])
    ]
    assert sizes[1] - sizes[0] < 60


def test_too_few_or_too_many_bytes_are_refused() -> None:
    layouts, content = encode(table(), [MANTISSA] * 8)
    for wrong in (content[:-1], content + b"\0", b""):
        with pytest.raises(ValueError):
            decode(layouts, wrong, 200)
