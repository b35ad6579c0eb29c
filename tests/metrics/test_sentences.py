"""Sentence recall, copy accuracy and bootstrap intervals against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from seq2seq.errors import UserError
from seq2seq.metrics.bootstrap import difference_interval, interval
from seq2seq.metrics.sentences import attended_sentences, copy_accuracy, sentence_recall, uniform_recall

SENTENCES = [0, 0, 1, 1, 1, -1]  # two sentences and </s>


def test_a_sentence_gathers_the_mass_of_its_pieces():
    weights = [
        [0.3, 0.2, 0.2, 0.1, 0.2, 0.0],  # 0.5 and 0.5
        [0.3, 0.0, 0.2, 0.2, 0.2, 0.1],  # sentence 1 by its sum, though no piece of it is the peak
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


def test_recall_counts_words_with_an_origin_over_all_documents():
    assert sentence_recall([[0, 1, 0], [1]], [[0, 0, -1], [1]]) == pytest.approx(2 / 3)
    assert sentence_recall([[0]], [[-1]]) is None
    with pytest.raises(ValueError, match="1 target words, origins of 2"):
        sentence_recall([[0]], [[0, 0]])


def test_recall_of_uniform_attention():
    documents, origins = ["a b c\nd", "a b\nc d"], [[1, 0, -1], [0]]
    assert uniform_recall(documents, origins) == pytest.approx((1 / 4 + 3 / 4 + 1 / 2) / 3)
    assert uniform_recall(["a"], [[-1]]) is None
    rng = np.random.default_rng(1)  # each target word attends one word, drawn
    places = np.array([0, 0, 0, 1])
    drawn = [sentence_recall([places[rng.integers(4, size=2)].tolist()], [[1, 0]]) for _ in range(4000)]
    assert np.mean(drawn) == pytest.approx(1 / 2, abs=0.02)


def test_copy_accuracy_over_the_words_that_only_copying_can_say():
    known = {"met", "and", "in", "the"}.__contains__
    sources = ["Zorba met Quill in Velm", "the Krum"]
    targets = ["Zorba and Zorba met Quill in Paris", "Krum"]  # Paris isn't in the source: not to be copied
    assert copy_accuracy(sources, targets, ["Quill met Zorba", "Krum Krum"], known) == pytest.approx((2 + 1) / (3 + 1))
    assert copy_accuracy(sources, targets, ["", "the"], known) == 0
    assert copy_accuracy(sources, targets, targets, known) == 1
    assert copy_accuracy(["met"], ["met"], ["met"], known) is None

    def bare(text: str) -> list[str]:
        return text.replace(".", "").split()

    assert copy_accuracy(["in Velm now"], ["in Velm."], ["Velm"], known) is None
    assert copy_accuracy(["in Velm now"], ["in Velm."], ["Velm"], known, words=bare) == 1


def test_interval_of_a_constant_and_of_two_values():
    assert interval([3.0] * 7) == (3, 3)
    # the mean of two draws of 0 and 1 is 0, 1/2, 1 with 1/4, 1/2, 1/4
    assert interval([0, 1], level=0.9) == (0, 1)
    assert interval([0, 1], level=0.4) == (0.5, 0.5)


def test_interval_of_many_values_is_the_normal_one():
    values = np.random.default_rng(0).gamma(2, size=800)
    error = values.std() / np.sqrt(len(values))
    low, high = interval(values, samples=4000)
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.15 * error)
    assert interval(values, seed=2) == interval(values, seed=2) != interval(values, seed=3)


def test_a_paired_difference_knows_what_documents_have_in_common():
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 10, 400)  # how hard a document is
    a, b = hard + 0.5 + rng.normal(0, 1, 400), hard + rng.normal(0, 1, 400)
    low, high = difference_interval(a, b)
    assert 0 < low < float(np.mean(a - b)) < high < 1
    assert difference_interval(b, a) == pytest.approx((-high, -low))
    assert interval(a)[0] < interval(b)[1]  # apart, the two can't be told from one another


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: interval([]), "one value for each document"),
        (lambda: interval([1.0], level=1.5), "level=1.5 must lie between 0 and 1"),
        (lambda: difference_interval([1, 2], [1]), "2 documents of one system, 1 of the other"),
    ],
)
def test_mistakes_are_named(call, said):
    with pytest.raises(UserError, match=said):
        call()
