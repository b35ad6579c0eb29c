"""Tests of configs without the options that have the default of their class."""

from __future__ import annotations

from typing import Any

import pytest

from seq2seq.config.defaults import without_defaults

CRITERION = "seq2seq.loss.Criterion"
GREEDY = "seq2seq.search.Greedy"


@pytest.mark.parametrize(
    ("node", "kept"),
    [
        ({"_target_": GREEDY, "max_length": 20}, {"_target_": GREEDY, "max_length": 20}),
        ({"_target_": CRITERION, "label_smoothing": 0.0}, {"_target_": CRITERION}),
        ({"_target_": CRITERION, "label_smoothing": 0}, {"_target_": CRITERION}),
        ({"_target_": CRITERION, "label_smoothing": 0.1}, {"_target_": CRITERION, "label_smoothing": 0.1}),
        ({"_target_": "another.Package", "x": 1}, {"_target_": "another.Package", "x": 1}),
        ({"a": {"b": [{"_target_": CRITERION, "label_smoothing": 0.0}]}}, {"a": {"b": [{"_target_": CRITERION}]}}),
        ({"a": 1, "b": None}, {"a": 1, "b": None}),
    ],
)
def test_only_defaults_of_a_class_are_left_out(node: Any, kept: Any) -> None:
    assert without_defaults(node) == kept


def test_empty_lists_are_empty_tuples_and_true_is_not_one() -> None:
    node = {"_target_": "seq2seq.training.options.TrainingOptions", "freeze": [], "strict": 0, "reward_samples": 5}
    assert without_defaults(node) == {"_target_": node["_target_"], "strict": 0}
