"""Tests of the agreement of attention between systems: shares by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from seq2seq.comparison.agreement import agreement
from seq2seq.comparison.systems import System


def system(rows_of: dict[int, list[list[float]] | None]) -> System:
    """Return a system whose first run stored these weights between words, by record."""
    kept = [
        SimpleNamespace(place=place, reference=None if rows is None else np.array(rows, np.float32))
        for place, rows in rows_of.items()
    ]
    return System("entry", cast(Any, [SimpleNamespace(attention_records=kept), SimpleNamespace(attention_records=[])]))


def test_rows_are_normalised_before_they_are_compared() -> None:
    shared = agreement([system({0: [[0.2, 0.2], [0, 0.5]]}), system({0: [[0.75, 0.25], [0.1, 0.3]]})])
    assert shared is not None
    assert shared[0, 1] == shared[1, 0] == pytest.approx((3 / 4 + 3 / 4) / 2)
    assert np.diag(shared) == pytest.approx([1, 1])


def test_words_without_attention_in_either_system_are_skipped() -> None:
    shared = agreement([system({0: [[1, 0], [0, 0], [0, 1]]}), system({0: [[1, 1], [1, 0], [1e-7, 0]]})])
    assert shared is not None
    assert shared[0, 1] == pytest.approx(1 / 2)


def test_words_of_all_records_have_equal_weight() -> None:
    one, other = system({0: [[1, 0]], 1: [[1, 0]] * 3}), system({0: [[0, 1]], 1: [[1, 0]] * 3})
    assert agreement([one, other])[0, 1] == pytest.approx(3 / 4)  # type: ignore[index]


def test_agreement_without_a_common_word_is_nan() -> None:
    one = system({0: [[1, 0]]})
    for other in (
        system({1: [[1, 0]]}),
        system({0: [[1, 0, 0]]}),
        system({0: None}),
        system({0: [[0, 0]]}),
        system({}),
    ):
        shared = agreement([one, other])
        assert shared is not None and shared[0, 0] == 1 and np.isnan(shared[0, 1]) and np.isnan(shared[1, 0])
    assert agreement([system({}), system({0: None})]) is None
