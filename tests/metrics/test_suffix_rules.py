"""Tests of the suffix rules: forms by hand."""

from __future__ import annotations

import pytest

from seq2seq.metrics.suffix_rules import SuffixRules

PAIRS = [
    ("walk", "PST", "walked"),
    ("talk", "PST", "talked"),
    ("bake", "PST", "baked"),
    ("try", "PST", "tried"),
    ("cry", "PST", "cried"),
    ("go", "PST", "went"),
    ("walk", "GER", "walking"),
]
RULES = SuffixRules((list(lemma), [feature], list(form)) for lemma, feature, form in PAIRS)


@pytest.mark.parametrize(
    ("lemma", "feature", "form"),
    [
        ("stalk", "PST", "stalked"),  # talk -> talked is the longest end
        ("fry", "PST", "fried"),  # ry -> ried
        ("make", "PST", "maked"),  # ake -> aked
        ("undergo", "PST", "underwent"),  # go -> went, the whole lemma of training
        ("jump", "PST", "jumped"),  # no end is known but the empty one, whose commonest change is -> ed
        ("jump", "GER", "jumping"),
        ("jump", "PL", "jump"),  # new features change nothing
    ],
)
def test_the_longest_end_by_hand(lemma: str, feature: str, form: str) -> None:
    assert "".join(RULES(list(lemma), [feature])) == form


def test_of_equally_long_ends_the_commonest_is_applied() -> None:
    rules = SuffixRules([("ab", "X", "ac"), ("b", "X", "d"), ("eb", "X", "ed")])
    assert rules("fb", "X") == ["f", "d"]
