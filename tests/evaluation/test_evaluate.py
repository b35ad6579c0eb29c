"""Tests of the time that scoring records measures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from seq2seq.evaluation import evaluate
from seq2seq.generation.generator import TrainedModel
from seq2seq.search import Greedy


def test_search_seconds_are_counted_from_the_start_of_the_search(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1000.0, 1002.5])
    monkeypatch.setattr(evaluate, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    result, _ = evaluate.translate(TrainedModel.load(run), ["a b"], Greedy(max_length=4), max_tokens=64, plots=0)
    assert result.search_seconds == 2.5
