"""Tests of the report of a validation: its figures, its example, and how many reports a log has."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq import checkpoint
from seq2seq.training.callbacks import validation_report
from seq2seq.training.callbacks.validation_report import excerpt
from seq2seq.training.fit import fit
from tests.training.callbacks.test_progress import Terminal

STEADY = {"model.dropout": 0.0, "trainer.max_epochs": -1}


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines of the reports."""
    return [record.message for record in caplog.records if record.name == validation_report.__name__]


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")


@pytest.mark.parametrize("metrics", [[], ["bleu"]])
def test_a_report_has_main_figures_with_units_and_the_same_example(
    prepare: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture, metrics: list[str]
) -> None:
    """With and without metrics of text, the example is the greedy output for the record nearest to 40 characters."""
    config, corpus, model = prepare(**{"trainer.max_epochs": 2, "training.metrics": metrics})
    fit(config, corpus, model, tmp_path)
    lines = reports(caplog)
    bleu = r", bleu \d+\.\d %" if metrics else ""
    figures = rf"step \d+: validation nll \d\.\d{{3}} nats per token{bleu}, aer [01]\.\d{{3}} \(best\)"
    assert len([line for line in lines if re.fullmatch(figures, line)]) == 2
    shown = min(corpus.records("valid"), key=lambda record: abs(len(record["target"]) - 40))
    assert lines.count(f"  source     {shown['source']}") == 1
    assert lines.count(f"  reference  {shown['target']}") == 2
    assert len([line for line in lines if line.startswith("  output     ")]) == 2


def test_the_example_does_not_change_training(prepare: Callable[..., Any], tmp_path: Path) -> None:
    """The output for the example is drawn at random, but the random numbers of training stay the same."""
    weights = []
    for decoding in ({"_target_": "seq2seq.search.Sample", "max_length": 8}, None):
        config, corpus, model = prepare("decoding=greedy", **{"training.decoding": decoding, "trainer.max_epochs": 2})
        fit(config, corpus, model, tmp_path / str(bool(decoding)))
        weights.append(checkpoint.load(tmp_path / str(bool(decoding))).weights)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(("terminal", "most"), [(False, 11), (True, 30)])
def test_a_log_gets_few_reports_and_a_terminal_all(
    prepare: Callable[..., Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    most: int,
) -> None:
    if terminal:
        monkeypatch.setattr("sys.stderr", Terminal())
    keys = {"trainer.max_steps": 30, "training.validate_every": 1, "training.attention_examples": 0}
    fit(*prepare(**STEADY, **keys, **{"training.decoding": None}), tmp_path)
    steps = [int(line.split(":")[0].removeprefix("step ")) for line in reports(caplog)]
    assert len(steps) == 30 if terminal else 8 <= len(steps) <= most
    assert steps[0] == 1 and steps[-1] == 30  # the first and the last one are always there


def test_a_log_of_a_run_without_a_known_end_gets_fewer_and_fewer_reports(
    prepare: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation_report, "share_done", lambda trainer: None)
    keys = {"trainer.max_steps": 20, "training.validate_every": 1, "training.attention_examples": 0}
    fit(*prepare(**STEADY, **keys, **{"training.decoding": None}), tmp_path)
    steps = [int(line.split(":")[0].removeprefix("step ")) for line in reports(caplog)]
    assert steps == [1, 2, 3, 4, 5, 7, 9, 12, 15, 19]  # each at least 1.25 times the one before


def test_long_texts_are_cut() -> None:
    assert excerpt("two\n lines") == "two lines"
    assert excerpt("a" * 80) == "a" * 80
    assert excerpt("a" * 81) == "a" * 77 + "..."
