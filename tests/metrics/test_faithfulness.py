"""Tests of Kendall's tau: values by hand, and scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from seq2seq.metrics.faithfulness import kendall


def test_kendall_by_hand() -> None:
    assert kendall([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(4 / 6)  # five pairs agree, one doesn't
    assert kendall([1, 1, 2, 3], [1, 2, 2, 3]) == pytest.approx(4 / 5)  # four agree, one tie on each side
    assert kendall([3, 2, 1], [1, 2, 3]) == -1
    assert kendall([1, 1], [1, 2]) is None


@pytest.mark.parametrize("seed", range(20))
def test_kendall_equals_scipy_s_kendalltau(seed: int) -> None:
    """The values differ by rounding only, because scipy divides by two roots one after the other."""
    draw = np.random.default_rng(seed)
    a, b = draw.integers(0, int(draw.integers(2, 9)), (2, int(draw.integers(3, 30))))  # with ties
    expected = kendalltau(a, b).statistic
    found = kendall(a, b)
    assert np.isnan(expected) if found is None else found == pytest.approx(expected, abs=1e-12)
