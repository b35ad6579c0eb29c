"""Tests of exact match, error rates and edit distance: numbers by hand."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from seq2seq.metrics import resampling
from seq2seq.metrics.edits import RULES, cer, edit_distance, edits, exact_match, per, ser, wer
from seq2seq.metrics.table import get_metric
from seq2seq.training.options import TrainingOptions


def test_exact_match_by_hand() -> None:
    """Two of five match, one by its second reference, one with more space; other words, case or letters do not."""
    outputs = ["walked", " macht  Aa", "machtAa", "goes", "Went"]
    references = [["walkt", "walked"], ["macht Aa"], ["macht Aa"], ["goess"], ["went"]]
    found = exact_match(outputs, references)
    assert found.score == 40.0
    assert found.per_record == [(100.0, 1.0), (100.0, 1.0), (0.0, 1.0), (0.0, 1.0), (0.0, 1.0)]
    assert found.signature == "exact_match|nrefs:var|refs:best|case:mixed|space:one|version:2"
    assert ser(outputs, references).score == 60.0


def test_error_rates_of_words_and_phones_by_hand() -> None:
    """Phones are compared whole: "t ʃ" is two phones and "tʃ" one, so two edits of 3 phones, and none of 2."""
    outputs, references = ["a t ʃ", "b a"], [["a tʃ o"], ["b a"]]
    assert per(outputs, references).score == pytest.approx(100 * 2 / 5)
    assert per(outputs, references).per_record == [(200.0, 3.0), (0.0, 2.0)]
    assert wer(["the cat sat"], [["a cat sat down"]]).score == 50.0
    assert ser(outputs, references).score == 50.0 and cer(outputs, references).score == pytest.approx(100 / 6)


def test_the_mean_edit_distance_takes_the_nearest_reference() -> None:
    found = edit_distance(["kitten", "ab", "x"], [["sitting"], ["abcdef", "abc"], ["x"]])
    assert found.score == pytest.approx((3 + 1 + 0) / 3) and found.per_record == [(3.0, 1.0), (1.0, 1.0), (0.0, 1.0)]


def test_cer_by_hand() -> None:
    """kitten -> sitting takes 3 edits of 7 characters; an empty output takes all 3; "ab" takes 1 of 3 to "abc"."""
    found = cer(["kitten", "", "a b"], [["sitting"], ["cat"], ["xyz", "abc"]])
    assert found.score == pytest.approx(100 * (3 + 3 + 1) / (7 + 3 + 3))
    assert found.per_record == [(300.0, 7.0), (300.0, 3.0), (100.0, 3.0)]
    assert cer(["abcd"], [["a"]]).score == 300.0  # there may be more errors than characters
    assert cer(["ab"], [["ab"]]).signature == "cer|edits:levenshtein|nrefs:1|refs:best|case:mixed|space:no|version:1"


def test_the_best_reference_has_the_fewest_edits_per_character() -> None:
    """2 edits of 8 characters are fewer per character than 6 edits of 2."""
    assert cer(["abcdefgh"], [["ab", "abcdefxx"]]).per_record == [(200.0, 8.0)]


def test_edits_equal_the_minimum_over_all_edits() -> None:
    @cache
    def fewest(a: str, b: str) -> int:
        """Return the fewest edits over all choices of the first edit."""
        if not (a and b):
            return len(a) + len(b)
        return min(fewest(a[1:], b) + 1, fewest(a, b[1:]) + 1, fewest(a[1:], b[1:]) + (a[0] != b[0]))

    random = np.random.default_rng(0)
    for _ in range(200):
        a, b = ("".join(random.choice(list("abc"), random.integers(7))) for _ in range(2))
        assert edits(a, b) == edits(b, a) == fewest(a, b)


@pytest.mark.parametrize("metric", [exact_match, ser, cer, wer, per, edit_distance])
def test_scores_follow_from_the_sums_of_records(metric: type) -> None:
    found = metric(["ab", "cd", "e"], [["ab"], ["ce"], ["xyz"]])
    assert resampling.score(metric.__name__, np.sum(found.per_record, 0)) == pytest.approx(found.score)


def test_cer_is_better_when_lower_and_exact_match_when_higher() -> None:
    assert get_metric("cer").lower_is_better and get_metric("exact_match").higher_is_better
    assert TrainingOptions(monitor="cer").direction == "min"
    assert TrainingOptions(monitor="exact_match").direction == "max"


@pytest.mark.parametrize("name", ["exact_match", "ser", "cer", "wer", "per", "edit_distance"])
def test_rules_have_the_direction_and_the_digits_of_their_metric(name: str) -> None:
    own, rules = get_metric(name), get_metric(name + RULES)
    assert (own.higher_is_better, own.digits, own.unit) == (rules.higher_is_better, rules.digits, rules.unit)
