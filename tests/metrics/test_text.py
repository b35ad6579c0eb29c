"""Tests of the metrics that options may name: unknown ones and unavailable ones are refused."""

from __future__ import annotations

import pytest

from seq2seq.errors import UserError
from seq2seq.metrics import captions, score
from seq2seq.metrics.text import SCORERS, check_metrics


def test_metrics_in_java_are_refused_without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captions.shutil, "which", lambda program: None)
    check_metrics([name for name in SCORERS if name not in ("meteor", "spice")], "task.metrics")
    for name in ("meteor", "spice"):
        with pytest.raises(UserError, match=rf"task\.metrics: {name}: "):
            check_metrics(["bleu", name], "task.metrics")


def test_unknown_metrics_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"task\.metrics: blue is not a metric of outputs; choose from bleu, bleu_lc, chrf, ter, "
    ):
        check_metrics(["bleu", "blue"], "task.metrics")
    with pytest.raises(UserError, match="'blue' is not a metric of outputs; choose from bleu, bleu_lc, chrf, ter, "):
        score(["bleu", "blue"], ["a"], [["a"]])


def test_metrics_computed_together_equal_metrics_computed_alone() -> None:
    texts, references = ["the cat sat", "a dog"], [["the cat sat down"], ["the dog ran", "a dog ran"]]
    together = score(["rouge1", "bleu", "rougeLsum"], texts, references)
    assert list(together) == ["rouge1", "bleu", "rougeLsum"]
    for name, figure in together.items():
        assert figure == SCORERS[name](texts, references)
