"""Tests of pointing accuracy and of the attributes of drawn scenes: counts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from seq2seq.metrics.pointing import attributes, exact, overlapping, pointing

GRID = [(row, column) for row in range(2) for column in range(3)]


def test_cells_that_share_area_with_a_box() -> None:
    """In a grid of 2 rows and 3 columns, columns end at 1/3, 2/3 and 1, and rows at 1/2 and 1."""
    assert overlapping(GRID, (2, 3), [0.0, 0.0, 0.3, 0.4]).tolist() == [True, False, False, False, False, False]
    assert overlapping(GRID, (2, 3), [0.3, 0.4, 0.4, 0.6]).tolist() == [True, True, False, True, True, False]
    assert overlapping(GRID, (2, 3), [0.0, 0.0, 1 / 3, 0.5]).sum() == 1  # touching edges share no area
    assert overlapping(GRID, (2, 3), [0.7, 0, 1, 0.1, 0.7, 0.9, 1, 1]).tolist() == [False, False, True] * 2
    assert not overlapping(GRID, (2, 3), []).any()


def test_pointing_by_hand() -> None:
    """Three words: one points at its region, one has no region, one of two pieces points beside its region."""
    weights = np.array([
        [0.1, 0.1, 0.5, 0.1, 0.1, 0.1],  # points at (0, 2), which is right
        [1.0, 0.0, 0.0, 0.0, 0.0, 0.0],  # a word without a region
        [0.0, 0.4, 0.0, 0.6, 0.0, 0.0],  # the mean with the next row is .25, .35, 0, .4: points at (1, 0)
        [0.5, 0.3, 0.0, 0.2, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 1.0],  # </s>
    ])  # fmt: skip
    regions = [[0.7, 0.0, 1.0, 0.4], [], [0.0, 0.0, 0.3, 0.4]]
    found = pointing(weights, GRID, (2, 3), [0, 1, 2, 2, -1], regions)
    assert found == (2, 1, pytest.approx(1 / 6 + 1 / 6), 0)
    middle = pointing(weights[:1], GRID, (2, 3), [0], [[0.34, 0.0, 0.6, 1.0]])  # the middle column
    assert middle == (1, 0, pytest.approx(2 / 6), 1)


def test_a_word_without_attention_is_a_miss() -> None:
    assert pointing(np.zeros((1, 6)), GRID, (2, 3), [0], [[0, 0, 1, 1]]) == (1, 0, 1.0, 1)


def test_exact_matches_and_attributes_by_hand() -> None:
    references = [["a red dog", "there is a red dog"], ["a blue cat above a red dog", "a red dog below a blue cat"]]
    naming = {"red", "blue", "dog", "cat"}
    assert exact(["there is a red dog", "a blue cat above a red cat"], references) == [1, 0]
    # 2 of 2 attributes; then 3 of 4 attributes of "a blue cat above a red dog"
    assert attributes(["there is a red dog", "a blue cat above a red cat"], references, naming) == [(2, 2), (3, 4)]
    assert attributes(["a red dog", "a red dog"], references, naming) == [(2, 2), (2, 4)]
    assert attributes(["", "x"], references, naming) == [(0, 2), (0, 4)]
    assert attributes(["x"], [["y"]], naming) == [(0, 0)]


def test_attributes_use_the_reference_with_the_largest_share() -> None:
    """One attribute of one is a larger share than two of three."""
    naming = {"red", "dog", "cat", "big"}
    assert attributes(["big red dog"], [["big red cat", "so red"]], naming) == [(1, 1)]
