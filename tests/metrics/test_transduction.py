"""Exact match and character error rate against numbers worked by hand."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from seq2seq.metrics import resampling
from seq2seq.metrics.table import get_metric
from seq2seq.metrics.transduction import cer, edits, exact_match
from seq2seq.training.options import TrainingOptions


def test_exact_match_by_hand() -> None:
    """Two of four: one is its second reference, one stands apart; a letter more and another case are misses."""
    outputs = ["walked", "k i t a b ı", "goes ", "Went"]
    references = [["walkt", "walked"], ["kitabı"], ["goess"], ["went"]]
    found = exact_match(outputs, references)
    assert found.score == 50.0
    assert found.per_record == [(100.0, 1.0), (100.0, 1.0), (0.0, 1.0), (0.0, 1.0)]
    assert found.signature == "exact_match|nrefs:var|refs:best|case:mixed|space:no|version:1"


def test_cer_by_hand() -> None:
    """kitten -> sitting takes 3 edits of 7 characters; an empty output misses all 3; "ab" is 1 edit from "abc"."""
    found = cer(["kitten", "", "a b"], [["sitting"], ["cat"], ["xyz", "abc"]])
    assert found.score == pytest.approx(100 * (3 + 3 + 1) / (7 + 3 + 3))
    assert found.per_record == [(300.0, 7.0), (300.0, 3.0), (100.0, 3.0)]
    assert cer(["abcd"], [["a"]]).score == 300.0  # errors may be more than the characters
    assert cer(["ab"], [["ab"]]).signature == "cer|edits:levenshtein|nrefs:1|refs:best|case:mixed|space:no|version:1"


def test_a_reference_counts_by_its_edits_a_character() -> None:
    """2 edits of 8 are less than 6 of 2."""
    assert cer(["abcdefgh"], [["ab", "abcdefxx"]]).per_record == [(200.0, 8.0)]


def test_edits_are_the_fewest_of_all_ways() -> None:
    @cache
    def tried(a: str, b: str) -> int:
        """Every way to begin."""
        if not (a and b):
            return len(a) + len(b)
        return min(tried(a[1:], b) + 1, tried(a, b[1:]) + 1, tried(a[1:], b[1:]) + (a[0] != b[0]))

    random = np.random.default_rng(0)
    for _ in range(200):
        a, b = ("".join(random.choice(list("abc"), random.integers(7))) for _ in range(2))
        assert edits(a, b) == edits(b, a) == tried(a, b)


@pytest.mark.parametrize("metric", [exact_match, cer])
def test_scores_are_functions_of_sums(metric: type) -> None:
    found = metric(["ab", "cd", "e"], [["ab"], ["ce"], ["xyz"]])
    assert resampling.score(metric.__name__, np.sum(found.per_record, 0)) == pytest.approx(found.score)


def test_the_direction_is_known() -> None:
    assert get_metric("cer").lower_is_better and get_metric("exact_match").higher_is_better
    assert TrainingOptions(monitor="cer").direction == "min"
    assert TrainingOptions(monitor="exact_match").direction == "max"
