"""Tests of sentence recall and copied words: numbers by hand, and a simulation."""

from __future__ import annotations

import numpy as np
import pytest

from seq2seq.metrics.sentences import attended_sentences, copied_words, recalled, uniform_recall

SENTENCES = [0, 0, 1, 1, 1, -1]  # two sentences and </s>


def test_the_weight_of_a_sentence_is_the_sum_over_its_pieces():
    weights = [
        [0.3, 0.2, 0.2, 0.1, 0.2, 0.0],  # 0.5 and 0.5
        [0.3, 0.0, 0.2, 0.2, 0.2, 0.1],  # sentence 1 has the largest sum, but not the peak
        [0.1, 0.0, 0.0, 0.0, 0.0, 0.9],  # </s> doesn't count
        [0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
    ]
    assert attended_sentences(weights, SENTENCES, [0, 1, 2, 3]) == [0, 1, 0, -1]
    assert attended_sentences(weights, SENTENCES, [0, 0, 1, -1]) == [
        1,
        0,
    ]  # a word of two pieces: 0.4, 0.55
    assert attended_sentences(weights, SENTENCES, [0, 1, 2, 3], rows="input") == [1, 0, -1, -1]
    assert attended_sentences(np.zeros((1, 1)), [-1], [0]) == [-1]


def test_recall_counts_words_with_an_origin():
    assert recalled([0, 1, 0], [0, 0, -1]) == (1, 2)
    assert recalled([1], [1]) == (1, 1)
    assert recalled([0], [-1]) == (0, 0)
    with pytest.raises(ValueError, match="1 target words, but origins of 2"):
        recalled([0], [0, 0])


def test_recall_of_uniform_attention():
    """The recall equals the share of the sentence of origin, by hand and by simulation."""
    documents, origins = ["a b c\nd", "a b\nc d"], [[1, 0, -1], [0]]
    assert uniform_recall(documents, origins) == pytest.approx((1 / 4 + 3 / 4 + 1 / 2) / 3)
    assert uniform_recall(["a"], [[-1]]) is None
    rng = np.random.default_rng(1)  # each target word attends to one random word
    places = np.array([0, 0, 0, 1])
    drawn = [recalled(places[rng.integers(4, size=2)].tolist(), [1, 0])[0] for _ in range(4000)]
    assert np.mean(drawn) / 2 == pytest.approx(1 / 2, abs=0.02)


def test_copied_words_are_unknown_words_of_the_source():
    known = {"met", "and", "in", "the"}.__contains__
    sources = ["Zorba met Quill in Velm", "the Krum"]
    targets = ["Zorba and Zorba met Quill in Paris", "Krum"]  # Paris can't be copied from the source
    assert copied_words(sources, targets, ["Quill met Zorba", "Krum Krum"], known) == [(2, 3), (1, 1)]
    assert copied_words(sources, targets, ["", "the"], known) == [(0, 3), (0, 1)]
    assert copied_words(sources, targets, targets, known) == [(3, 3), (1, 1)]
    assert copied_words(["met"], ["met"], ["met"], known) == [(0, 0)]

    def bare(text: str) -> list[str]:
        return text.replace(".", "").split()

    assert copied_words(["in Velm now"], ["in Velm."], ["Velm"], known) == [(0, 0)]
    assert copied_words(["in Velm now"], ["in Velm."], ["Velm"], known, words=bare) == [(1, 1)]
