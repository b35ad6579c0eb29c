"""Tests of aligned rules: alignments by hand, and a spelling whose rules are known."""

from __future__ import annotations

import itertools
import math

from seq2seq.metrics.aligned_rules import UNSEEN, AlignedRules, align

SIMPLE = {"a": "A", "b": "B", "k": "K", "t": "T", "i": "I"}


def spoken(word: str) -> list[str]:
    """Return the phones of an invented spelling: sh is one phone, x two, e is silent."""
    special = {"x": ["K", "S"], "e": []}
    parts = word.replace("sh", "ʃ")
    return [phone for letter in parts for phone in special.get(letter, [SIMPLE.get(letter, letter)])]


WORDS = ["".join(parts) for parts in itertools.product(["a", "i"], ["b", "k", "x", "sh", "t"], ["a", "i", "e"])]


def test_rules_of_a_known_spelling_are_found() -> None:
    """Words of two vowels train; longer words with the same letters follow the same rules."""
    rules = AlignedRules((list(word), spoken(word)) for word in WORDS)
    for word in (*WORDS, "abaxe", "ishaxisha", "batika"):
        assert rules(list(word)) == spoken(word), word


def test_a_new_letter_becomes_nothing() -> None:
    assert AlignedRules([("ab", ["A", "B"])])("azb") == ["A", "B"]


def test_the_best_alignment_by_enumeration() -> None:
    """Dynamic programming finds the best of all alignments of one to one, two to one, one to two and one to none."""
    scores = {(("a",), ("A",)): -1.0, (("b",), ("B",)): -1.5, (("a", "b"), ("A",)): -0.5, (("b",), ()): -3.0}

    def best(source: tuple[str, ...], target: tuple[str, ...]) -> float:
        """Return the best score of all alignments."""
        if not source and not target:
            return 0.0
        return max(
            (
                scores.get((source[:a], target[:b]), UNSEEN) + best(source[a:], target[b:])
                for a, b in ((1, 1), (1, 0), (1, 2), (2, 1))
                if a <= len(source) and b <= len(target)
            ),
            default=-math.inf,
        )

    for source, target in (("ab", "A"), ("ab", "AB"), ("aab", "AAB"), ("abab", "AAB"), ("ba", "BA")):
        chunks = align(tuple(source), tuple(target), scores)
        assert sum(scores.get(chunk, UNSEEN) for chunk in chunks) == best(tuple(source), tuple(target))
        assert "".join(letter for left, _ in chunks for letter in left) == source
    assert align(("a",), ("A", "B", "C"), scores) == []  # too many phones for one letter
