"""Tests of words in place of pieces: their names, their attention and their cells, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from seq2seq.plots.units import Units, between, cells_between, cells_of_words

SOURCE = Units.of(["▁ab", "c", "▁d", "</s>"], [0, 0, 1, -1])
TARGET = Units.of(["▁x", "▁y", "z", "</s>"], [0, 1, 1, -1])


def test_pieces_of_a_word_share_a_unit_and_special_tokens_stand_alone() -> None:
    assert (SOURCE.names, SOURCE.places) == (["abc", "d", "</s>"], [0, 0, 1, 2])
    assert Units.of(["<s>", "▁caf", "<0xC3>", "<0xA9>"], [-1, 0, 0, 0]) == Units(["<s>", "café"], [0, 1, 1, 1])
    assert Units.of(["▁我们", "喜欢", "</s>"], [0, 0, -1]).names == ["我们", "喜欢", "</s>"]
    assert Units.of([], []) == Units([], [])


def test_pieces_on_request_show_where_a_word_goes_on() -> None:
    split = Units.of(["▁ab", "c", "▁", "d", "</s>"], [0, 0, 1, 1, -1], split=True)
    assert (split.names, split.places) == (["ab", "·c", " ", "·d", "</s>"], [0, 1, 2, 3, 4])
    assert Units.of(["▁", "a", "b", "</s>"], [0, 0, 0, -1], split=True).names == [" ", "a", "b", "</s>"]


def test_attention_is_added_over_source_pieces_and_averaged_over_target_pieces() -> None:
    weights = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.1, 0.4, 0.0], [0.1, 0.1, 0.2, 0.6], [0.0, 0.0, 0.0, 1.0]])
    merged = between(weights, TARGET, SOURCE)
    assert merged == pytest.approx(np.array([[0.3, 0.3, 0.4], [0.4, 0.3, 0.3], [0.0, 0.0, 1.0]]))
    assert between(np.stack([weights] * 2), TARGET, SOURCE)[1] == pytest.approx(merged)


def test_a_cell_of_pieces_marks_the_cell_of_their_words() -> None:
    cells = cells_of_words([(0, 1), (9, 0)], [0, 0, 1, -1], [0, 1, 1, -1])
    assert cells == [(0, 1), (1, 1), (0, 2), (1, 2)]
    assert cells_between(cells, TARGET, SOURCE) == [(0, 1)]
