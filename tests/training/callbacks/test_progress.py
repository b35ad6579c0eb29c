"""Tests of the progress that a user sees on stderr: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seq2seq.training.callbacks import progress
from seq2seq.training.fit import fit


def progress_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines of progress in the log."""
    return [record.message for record in caplog.records if record.name == progress.__name__]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Make lines and pictures due at every update."""
    for name in ("SECONDS", "GROWTH", "REFRESH"):
        monkeypatch.setattr(progress, name, 0.0)
    monkeypatch.setattr(progress, "LINES", 10**9)
    caplog.set_level("INFO")


def test_lines_show_the_loss_of_the_updates_since_the_last_logged_one(
    prepare: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The oracle is metrics.csv of a run that logs the loss of every update."""
    for every, name in ((1, "each"), (3, "third")):
        keys = {"trainer.max_steps": 5, "trainer.log_every_n_steps": every, "model.dropout": 0.0}
        caplog.clear()
        fit(*prepare(**keys), tmp_path / name)
    lines = progress_lines(caplog)
    assert [line.split(",")[0] for line in lines] == [f"step {n} of 5" for n in range(1, 6)]
    assert re.fullmatch(r"step 3 of 5, loss \d\.\d{3}, [\d,]+ tokens/s, \d\d:\d\d left", lines[2])
    # Update 4 is the first one after the log of update 3, so its line has its own loss.
    with (tmp_path / "each" / "metrics.csv").open() as file:
        losses = {row["step"]: row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]}
    assert f"loss {float(losses['4']):.3f}" in lines[3]
    assert f"loss {float(losses['1']):.3f}" in lines[0]


def test_a_long_run_has_few_lines(
    prepare: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A clock that advances by a minute at each look makes 60 updates a run of hours."""
    monkeypatch.setattr(progress, "LINES", 8)
    monkeypatch.setattr(progress, "SECONDS", 30.0)
    ticks = iter(range(0, 10**9, 60))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(ticks)))
    fit(*prepare(**{"trainer.max_steps": 60, "trainer.max_epochs": -1, "training.attention_examples": 0}), tmp_path)
    assert 1 <= len(progress_lines(caplog)) <= 10


def test_the_time_limit_is_part_of_the_time_that_is_left(
    prepare: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = {"trainer.max_time": {"seconds": 2.0}, "trainer.max_epochs": 100_000, "trainer.max_steps": -1}
    fit(*prepare(**keys), tmp_path)
    left = [line.rpartition(", ")[2] for line in progress_lines(caplog)]
    assert set(left) <= {"00:02 left", "00:01 left", "00:00 left"}
    (end,) = [message for message in caplog.messages if message.startswith("trained for ")]
    assert end.endswith(" updates; the time of trainer.max_time is over")


def test_progress_can_be_switched_off(
    prepare: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(*prepare(**{"trainer.max_steps": 4, "trainer.enable_progress_bar": False}), tmp_path)
    assert not progress_lines(caplog)


class Terminal(io.StringIO):
    """Text stream that reports to be a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_is_one_bar_on_a_terminal(
    prepare: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    steps = fit(*prepare(), tmp_path).steps
    shown = terminal.getvalue()
    assert re.search(rf"100%\|[█#]+\| step {steps} of {steps}, loss \d\.\d+, [\d,]+ tokens/s, 00:00 left", shown)
    assert "validating: batch 1 of " in shown and capsys.readouterr().out == ""
