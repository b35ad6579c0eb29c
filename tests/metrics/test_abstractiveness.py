"""Tests of novelty, fragments, repetition and length of summaries: counts by hand, and a plain search."""

from __future__ import annotations

import random

import pytest

from seq2seq.errors import UserError
from seq2seq.metrics.abstractiveness import extraction, figures, fragments, words


def plain_fragments(document: list[str], summary: list[str]) -> list[tuple[int, int]]:
    """Find fragments by their definition: the longest prefix of the rest that occurs in the document."""
    windows = {tuple(document[a:b]) for a in range(len(document)) for b in range(a + 1, len(document) + 1)}
    found, start = [], 0
    while start < len(summary):
        length = max(
            (n for n in range(len(summary) - start + 1) if tuple(summary[start : start + n]) in windows), default=0
        )
        found += [(start, length)] if length else []
        start += max(1, length)
    return found


def test_figures_of_a_summary_by_hand():
    document = words("the cat sat on the mat.")
    summary = words("a cat sat on a mat.")
    found = figures(document, summary)
    assert found["novelty_1"] == pytest.approx(2 / 7)  # a, a
    assert found["novelty_2"] == pytest.approx(3 / 6)  # a cat, on a, a mat
    assert found["novelty_3"] == pytest.approx(4 / 5)  # all but cat sat on
    assert fragments(document, summary) == [(1, 3), (5, 2)]
    assert found["extractive_coverage"] == pytest.approx(5 / 7)
    assert found["extractive_density"] == pytest.approx((9 + 4) / 7)
    assert found["compression"] == 1
    assert found["repetition"] == 0


def test_fragments_are_the_longest_prefixes():
    assert fragments(list("abababc"), list("ababc")) == [(0, 5)]  # the longest one starts inside another match
    assert fragments(list("abxbcd"), list("abcd")) == [(0, 2), (2, 2)]  # the greedy choice, not the best
    assert fragments([], ["a"]) == fragments(["a"], []) == []
    for seed in range(50):
        draw = random.Random(seed)
        document, summary = (draw.choices("abc", k=draw.randint(0, size)) for size in (25, 12))
        assert fragments(document, summary) == plain_fragments(document, summary)


def test_repetition_is_the_share_of_repeated_trigrams():
    assert figures([], list("ababab"))["repetition"] == pytest.approx(2 / 4)  # aba bab aba bab
    assert figures([], list("aaaa"))["repetition"] == pytest.approx(1 / 2)
    assert "repetition" not in figures([], ["a", "b"])
    assert figures(["a"], []) == {}


def test_means_over_the_summaries_that_have_a_figure():
    found = extraction(
        ["A dog barks.", "It rains.", "x"], ["A dog", "Snow", ""], [["The dog"], ["Rain", "It rains"], ["x"]]
    )
    assert found["novelty_1"].score == pytest.approx((0 + 1) / 2)
    assert found["novelty_2"].score == 0
    assert "novelty_3" not in found
    assert found["extractive_density"].score == pytest.approx((4 / 2 + 0) / 2)
    assert found["compression"].score == pytest.approx((4 / 2 + 3 / 1) / 2)
    assert found["length_ratio"].score == pytest.approx(3 / (2 + 1.5 + 1))
    assert found["novelty_1"].signature == "novelty_1|mean:2 summaries|case:lc|tok:unicode+marks"
    assert found["length_ratio"].signature == "length_ratio|refs:mean|case:lc|tok:unicode+marks"


def test_words_splits_words_and_marks():
    assert words('"Él no", 加速!') == ['"', "él", "no", '"', ",", "加", "速", "!"]


def test_unequal_numbers_of_documents_and_summaries_are_refused():
    with pytest.raises(UserError, match="1 documents, 2 summaries, references for 1"):
        extraction(["a"], ["a", "b"], [["a"]])
