"""Tests of cutting examples: the end mark is kept, and the sizes of the sentences add up to the length."""

from __future__ import annotations

import pytest

from seq2seq.batch import BOS, EOS
from seq2seq.data.example import Example, cut_sizes


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (9, ([5, 6, 7, EOS], [BOS, 8, 9, EOS])),
        (3, ([5, 6, EOS], [BOS, 8, 9, EOS])),
        (2, ([5, EOS], [BOS, 8, EOS])),
    ],
)
def test_cut_examples_keep_their_end_mark(most, expected):
    example = Example([5, 6, 7, EOS], [BOS, 8, 9, EOS])
    assert example.length == 4
    short = example.cut(most, most)
    assert (short.source, short.target) == expected
    assert short.length == min(4, most)


@pytest.mark.parametrize(
    ("length", "left"), [(12, [3, 4, 5]), (11, [3, 4, 4]), (9, [3, 4, 2]), (8, [3, 5]), (7, [3, 4]), (4, [4]), (2, [2])]
)
def test_cut_sizes_count_the_end_mark_in_the_last_sentence(length, left):
    assert cut_sizes([3, 4, 5], length) == left
