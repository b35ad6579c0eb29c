"""Tests of alignments: AER, precision and recall by hand, links and their files, and baselines by sampling."""

from __future__ import annotations

import random

import numpy as np
import pytest

from seq2seq.errors import UserError
from seq2seq.metrics.alignment import agreement, align, diagonal, uniform
from seq2seq.metrics.gold import GoldLinks
from seq2seq.metrics.links import from_pharaoh, links, to_pharaoh

GOLD = GoldLinks.of("abc", "xyz", [(0, 0), (1, 1)], [(2, 2), (2, 1)])
WEIGHTS = np.array([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5], [0.7, 0.2, 0.1]])  # (J, I)


def test_sure_links_are_possible():
    assert GOLD.possible == {(0, 0), (1, 1), (2, 2), (2, 1)}


def test_aer_by_hand():
    # A∩S = {00}, A∩P = {00, 21}: 1 - (1 + 2) / (3 + 2)
    result = agreement([{(0, 0), (2, 1), (0, 2)}], [GOLD])
    assert (result.aer, result.precision, result.recall) == pytest.approx((0.4, 2 / 3, 1 / 2))


def test_counts_are_summed_over_the_corpus_not_averaged():
    # second sentence: A = S = P = 1 link; 1 - (1+1 + 2+1) / (3+1 + 2+1)
    other = GoldLinks.of("a", "x", [(0, 0)])
    result = agreement([{(0, 0), (2, 1), (0, 2)}, {(0, 0)}], [GOLD, other])
    assert (result.aer, result.precision, result.recall) == pytest.approx((2 / 7, 3 / 4, 2 / 3))


@pytest.mark.parametrize("chosen", [GOLD.sure, GOLD.possible, GOLD.sure | {(2, 2)}])
def test_aer_is_zero_between_sure_and_possible(chosen):
    assert agreement([chosen], [GOLD]).aer == 0


def test_aer_without_links_is_one_unless_there_are_no_gold_links():
    assert agreement([set()], [GOLD]).aer == 1
    assert agreement([set()], [GoldLinks.of("a", "x", [])]).aer == 0


def test_uniform_is_the_expectation_of_random_links():
    gold = [GOLD, GoldLinks.of("abcde", "xy", [(4, 0), (3, 1)], [(2, 1)])]
    draw = random.Random(0)
    sampled = [
        agreement([{(draw.randrange(len(g.source)), j) for j in range(len(g.target))} for g in gold], gold).aer
        for _ in range(20000)
    ]
    assert uniform(gold).aer == pytest.approx(np.mean(sampled), abs=5e-3)


def test_diagonal_links_have_no_errors_on_diagonal_gold_links():
    square = GoldLinks.of("abcd", "wxyz", [(n, n) for n in range(4)])
    assert diagonal([square]).aer == 0
    longer = GoldLinks.of("abcdef", "xyz", [(1, 0), (3, 1), (5, 2)])  # the links are at the centres of the thirds
    assert diagonal([longer]).aer == 0
    shorter = GoldLinks.of("ab", "vwxyz", [(0, 0), (0, 1), (1, 2), (1, 3), (1, 4)])
    assert diagonal([shorter]).aer == 0


def test_links_of_each_direction_by_hand():
    forward, backward = {(0, 0), (2, 1), (0, 2)}, {(0, 2), (1, 0), (2, 1)}
    assert links(WEIGHTS) == forward
    assert links(WEIGHTS, "source_to_target") == backward
    assert links(WEIGHTS, "intersection") == forward & backward
    assert links(WEIGHTS, "union") == forward | backward
    assert links(WEIGHTS.T) == {(j, i) for i, j in backward}


def test_links_have_a_threshold_and_unknown_directions_are_refused():
    assert links(WEIGHTS, threshold=0.55) == {(0, 0), (0, 2)}
    assert links(np.zeros((2, 3))) == links(np.zeros((0, 3))) == frozenset()
    with pytest.raises(UserError, match="choose from target_to_source"):
        links(WEIGHTS, "grow-diag")


def test_rows_about_the_input_are_moved_to_the_predicted_words():
    # steps read <s> x1 x2 y and predict x1 x2 y </s>; each row attends to the source of the word that it reads
    rows = [[0.4, 0.3, 0.3], [0.9, 0.1, 0.0], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]]
    source, target = [0, 1, -1], [0, 0, 1, -1]
    gold = [GoldLinks.of("ab", "xy", [(0, 0), (1, 1)])]
    assert agreement([align(rows, source, target, rows="input")], gold).aer == 0
    assert agreement([align(rows, source, target)], gold).aer == 0.5


def test_end_of_sentence_gets_no_links():
    source, target = [0, 1, -1], [0, -1]
    assert align([[0.1, 0.2, 0.7], [0.0, 0.0, 1.0]], source, target) == {(1, 0)}
    assert align([[0.1, 0.2, 0.7], [0.0, 0.0, 1.0]], source, target, threshold=0.5) == frozenset()


def test_pharaoh_round_trip():
    assert to_pharaoh({(10, 2), (0, 1), (0, 0)}) == "0-0 0-1 10-2"
    assert from_pharaoh("0-0 0-1 10-2\n") == {(10, 2), (0, 1), (0, 0)}
    assert from_pharaoh("") == frozenset()
    for line in ("0-0 1:2", "-1-2", "1-", "a-b"):
        with pytest.raises(UserError, match="is not a link"):
            from_pharaoh(line)
