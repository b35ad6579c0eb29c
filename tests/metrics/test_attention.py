"""Tests of attention statistics: known extreme values, and a second formula."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seq2seq.metrics.attention import average, logit_spread, statistics


def test_statistics_of_uniform_attention():
    found = statistics(np.full((2, 3, 5), 1 / 5))
    assert found["entropy"] == pytest.approx(math.log(5))
    assert found["normalized_entropy"] == pytest.approx(1)
    assert found["effective_positions"] == pytest.approx(5)
    assert found["peak"] == pytest.approx(1 / 5)
    assert found["coverage_min"] == found["coverage_max"] == pytest.approx(3 / 5)
    assert found["sparsity"] == found["disagreement"] == 0
    assert found["monotonicity"] == 1


def test_statistics_of_one_hot_attention():
    found = statistics(np.eye(4)[[0, 1, 1, 0]])
    assert found["entropy"] == found["normalized_entropy"] == found["coverage_min"] == 0
    assert math.copysign(1, found["entropy"]) == 1
    assert found["effective_positions"] == found["peak"] == found["mass"] == 1
    assert found["sparsity"] == 3 / 4
    assert found["monotonicity"] == pytest.approx(2 / 3)  # forward, equal, backward
    assert found["coverage_max"] == 2


def test_entropy_of_two_halves_is_log_two_for_any_mass():
    found = statistics([[0.25, 0.25, 0.0]])
    assert found["entropy"] == pytest.approx(math.log(2))
    assert found["mass"] == 0.5
    assert found["normalized_entropy"] == pytest.approx(math.log(2) / math.log(3))


def test_heads_disagree_fully_when_they_share_no_position():
    assert statistics(np.eye(4)[:, None])["disagreement"] == pytest.approx(1)
    assert statistics(np.tile(np.eye(4), (3, 1, 1)))["disagreement"] == pytest.approx(0)
    assert statistics(np.eye(4))["disagreement"] == 0


def test_disagreement_is_the_mean_divergence_from_the_mean_head():
    p = np.random.default_rng(0).dirichlet(np.ones(6), size=(3, 5))  # (H, T, S)
    divergence = (p * np.log(p / p.mean(0))).sum(-1).mean()
    assert statistics(p)["disagreement"] == pytest.approx(divergence / math.log(3))


def test_rows_without_attention_are_left_out():
    with_empty = statistics([[0.5, 0.5], [0.0, 0.0], [0.5, 0.5]])
    assert with_empty["entropy"] == pytest.approx(math.log(2))
    assert with_empty["monotonicity"] == 1
    assert with_empty["mass"] == pytest.approx(2 / 3)
    nothing = statistics(np.zeros((2, 3, 4)))
    assert all(math.isfinite(value) for value in nothing.values())


def test_statistics_of_one_position_and_of_none():
    found = statistics([[1.0]])
    assert found["normalized_entropy"] == 0 and found["monotonicity"] == 1
    with pytest.raises(ValueError, match="not empty"):
        statistics(np.zeros((2, 0)))


def test_logit_spread_by_hand():
    """Log-weights are -ln 2, -ln 2 and -ln 4, -ln(4/3); minus their row's mean, 0, 0 and -ln(3)/2, ln(3)/2."""
    half = math.log(3) / 2
    rows = [[1 / 2, 1 / 2], [1 / 4, 3 / 4]]
    assert logit_spread(rows) == pytest.approx(((0 + half) / 2, half / 2))  # columns 0 and half: their sd is half / 2
    assert logit_spread([rows, np.full((2, 2), 1 / 2)]) == pytest.approx((half / 4, half / 4))  # mean of two heads


def test_logit_spread_of_a_softmax_equals_the_spread_of_its_scores():
    scores = np.random.default_rng(1).normal(size=(2, 5, 7))
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    by_source, by_target = logit_spread(weights)
    assert by_source == pytest.approx(scores.std(-1).mean())
    centred = scores - scores.mean(-1, keepdims=True)
    assert by_target == pytest.approx(np.sqrt(centred.var(1)).mean())


def test_logit_spread_at_its_extremes():
    """A preference that all steps share spreads over the source only; a weight of 0 counts as 1e-8."""
    by_source, by_target = logit_spread(np.tile([0.7, 0.2, 0.1], (4, 1)))
    assert by_source > 0.5 and by_target == pytest.approx(0)
    assert logit_spread(np.full((3, 5), 1 / 5)) == pytest.approx((0, 0))
    assert logit_spread([[1.0, 0.0]]) == pytest.approx((math.log(1e8) / 2, 0))
    assert logit_spread(np.zeros((2, 3, 4))) == (0, 0)
    assert logit_spread([[0.25, 0.75], [0.0, 0.0]]) == pytest.approx((math.log(3) / 2, 0))


def test_average_gives_equal_weight_to_sentences():
    assert average([{"peak": 0.2}, {"peak": 0.4}]) == {"peak": pytest.approx(0.3)}
    assert average([]) == {}
    assert all(type(value) is float for value in average([statistics(np.eye(2))]).values())
