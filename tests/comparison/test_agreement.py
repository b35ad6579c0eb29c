"""The attention that two entries have in common, by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from seq2seq.comparison.agreement import agreement
from seq2seq.comparison.systems import System


def entry(rows_of: dict[int, list[list[float]] | None]) -> System:
    """One whose first run kept, of the records that are named, these rows between words."""
    kept = [
        SimpleNamespace(place=place, reference=None if rows is None else np.array(rows, np.float32))
        for place, rows in rows_of.items()
    ]
    return System("entry", cast(Any, [SimpleNamespace(attention_records=kept), SimpleNamespace(attention_records=[])]))


def test_rows_are_shares_of_what_words_get() -> None:
    shared = agreement([entry({0: [[0.2, 0.2], [0, 0.5]]}), entry({0: [[0.75, 0.25], [0.1, 0.3]]})])
    assert shared is not None
    assert shared[0, 1] == shared[1, 0] == pytest.approx((3 / 4 + 3 / 4) / 2)
    assert np.diag(shared) == pytest.approx([1, 1])


def test_words_that_either_gives_nothing_are_left_out() -> None:
    shared = agreement([entry({0: [[1, 0], [0, 0], [0, 1]]}), entry({0: [[1, 1], [1, 0], [1e-7, 0]]})])
    assert shared is not None
    assert shared[0, 1] == pytest.approx(1 / 2)


def test_words_count_alike_whatever_their_record() -> None:
    one, other = entry({0: [[1, 0]], 1: [[1, 0]] * 3}), entry({0: [[0, 1]], 1: [[1, 0]] * 3})
    assert agreement([one, other])[0, 1] == pytest.approx(3 / 4)  # type: ignore[index]


def test_without_a_common_word_there_is_no_figure() -> None:
    one = entry({0: [[1, 0]]})
    for other in (entry({1: [[1, 0]]}), entry({0: [[1, 0, 0]]}), entry({0: None}), entry({0: [[0, 0]]}), entry({})):
        shared = agreement([one, other])
        assert shared is not None and shared[0, 0] == 1 and np.isnan(shared[0, 1]) and np.isnan(shared[1, 0])
    assert agreement([entry({}), entry({0: None})]) is None
