"""Tests of merging pieces to words: small matrices by hand."""

from __future__ import annotations

import numpy as np
import pytest

from seq2seq.metrics.words import about_predicted, merge, overlap, summed


def membership(words: list[int], count: int | None = None) -> np.ndarray:
    """Return a matrix (pieces, words) of 0 and 1 that gives each piece to its word."""
    return np.eye(max(words) + 1 if count is None else count)[words] * (np.array(words) >= 0)[:, None]


def test_sums_skip_special_pieces():
    np.testing.assert_array_equal(summed([[1, 2], [10, 20], [100, 200], [7, 7]], [0, 0, 1, -1]), [[11, 22], [100, 200]])
    np.testing.assert_array_equal(summed([1, 2], [0, -1], count=3), [1, 0, 0])
    assert summed([1.0], [-1]).shape == (0,)


def test_merge_sums_over_source_pieces_and_averages_over_target_pieces():
    weights = [
        [0.1, 0.2, 0.3, 0.4],  # "ab" of word 0
        [0.5, 0.1, 0.2, 0.2],  # "c" of word 0
        [0.0, 0.0, 0.9, 0.1],  # word 1
        [0.0, 0.0, 0.0, 1.0],  # </s>
    ]
    words = merge(weights, [0, 0, 1, -1], [0, 0, 1, -1])
    np.testing.assert_allclose(words, [[(0.3 + 0.6) / 2, (0.3 + 0.2) / 2], [0.0, 0.9]])


def test_word_numbers_and_shares_of_one_merge_equally():
    random = np.random.default_rng(0)
    source, target = random.integers(-1, 5, 30).tolist(), random.integers(-1, 3, 12).tolist()
    weights = random.random((12, 30))
    np.testing.assert_allclose(merge(weights, source, target), merge(weights, membership(source), membership(target)))


def test_merge_of_a_word_without_pieces_is_zero():
    words = merge(np.eye(2), membership([0, 1], count=3), [0, 2])
    np.testing.assert_array_equal(words, [[1, 0, 0], [0, 0, 0], [0, 1, 0]])


def test_merge_refuses_shapes_that_do_not_match():
    with pytest.raises(ValueError, match="do not match 2 target pieces and 3 source pieces"):
        merge(np.ones((3, 2)), [0, 1, 2], [0, 1])


def test_overlap_of_pieces_inside_words_is_zero_or_one():
    pieces = ["▁un", "able", "▁to", "▁work", ".", "</s>"]
    np.testing.assert_array_equal(overlap(pieces, ["unable", "to", "work", "."]), membership([0, 0, 1, 2, 3, -1]))


def test_overlap_of_a_piece_across_words_is_shared_by_characters():
    shares = overlap(["▁don't", "▁go"], ["do", "n't", "go"])
    np.testing.assert_allclose(shares, [[2 / 5, 3 / 5, 0], [0, 0, 1]])


def test_overlap_ignores_case_normalisation_and_lone_marks():
    np.testing.assert_array_equal(overlap(["▁", "le", "▁fi", "n"], ["Le", "ﬁn"]), [[0, 0], [1, 0], [0, 1], [0, 1]])


def test_overlap_gives_an_unknown_piece_to_the_remaining_word():
    shares = overlap(["▁the", "<unk>", "▁cat", "</s>"], ["the", "猫科", "cat"])
    np.testing.assert_array_equal(shares, membership([0, 1, 2, -1]))


def test_overlap_gives_byte_pieces_to_the_word_of_their_character():
    shares = overlap(["▁a", "<0xE7>", "<0x8C>", "<0xAB>", "▁b"], ["a", "猫", "b"])
    np.testing.assert_array_equal(shares, membership([0, 1, 1, 1, 2]))


def test_rows_about_the_input_move_up_by_one():
    weights = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(about_predicted(weights), weights)
    np.testing.assert_array_equal(about_predicted(weights, "input"), [[2, 3], [4, 5], [0, 0]])
    with pytest.raises(ValueError, match="'predicted' or 'input'"):
        about_predicted(weights, "output")
