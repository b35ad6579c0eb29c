"""Tests of walks over configs: the paths of leaves."""

from __future__ import annotations

from seq2seq.config.nodes import leaves


def test_leaves_have_the_paths_that_a_user_types() -> None:
    config = {"a": 1, "b": {"c": None, "d": [2, {"e": "x"}]}, "f": {}, "g": []}
    assert list(leaves(config)) == [("a", 1), ("b.c", None), ("b.d[0]", 2), ("b.d[1].e", "x")]
    assert list(leaves(3)) == [("", 3)] and list(leaves([4], "k")) == [("k[0]", 4)]
