"""Tests of the word counts that a run writes, and of the table of its figures."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from seq2seq.data.records import Record
from seq2seq.evaluation import results
from seq2seq.metrics import MetricResult


def corpus(streaming: bool) -> Any:
    """Return a corpus of two training records, one of which has several references."""
    records = [
        Record(source="x", target="The cat."),
        Record(source="y", target="the dog", references=["the dog", "A dog, the dog"]),
    ]
    return SimpleNamespace(streaming=streaming, records=lambda split: records if split == "train" else [])


def test_words_of_training_targets_are_counted(tmp_path: Path) -> None:
    results.save_frequencies(tmp_path, cast(Any, corpus(streaming=False)))
    counts = json.loads((tmp_path / "frequencies.json").read_text(encoding="utf-8"))
    assert counts == {"the": 3, "dog": 3, "cat": 1, "a": 1}
    assert list(counts.values()) == sorted(counts.values(), reverse=True)


def test_words_of_a_stream_are_not_counted(tmp_path: Path) -> None:
    results.save_frequencies(tmp_path, cast(Any, corpus(streaming=True)))
    assert not (tmp_path / "frequencies.json").exists()


def test_only_the_first_records_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "MAX_COUNTED_RECORDS", 1)
    results.save_frequencies(tmp_path, cast(Any, corpus(streaming=False)))
    assert json.loads((tmp_path / "frequencies.json").read_text(encoding="utf-8")) == {"the": 1, "cat": 1}


def test_the_table_has_a_line_for_each_figure() -> None:
    figures = {
        "bleu": MetricResult(34.125, "BLEU|one"),
        "aer_uniform": MetricResult(0.51234, "AER|two"),
        "ter": MetricResult(10.0, "TER"),
    }
    assert results.format_table(figures).splitlines() == [
        "bleu          34.12  BLEU|one",
        "aer_uniform  0.5123  AER|two",
        "ter           10.00  TER",
    ]
