"""Tests of the progress that a user sees on stderr: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seq2seq.training.callbacks import progress
from seq2seq.training.fit import fit


def test_progress_is_logged_in_lines_without_a_terminal(
    prepare: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    caplog.set_level("INFO")
    fit(*prepare(**{"trainer.max_steps": 6}), tmp_path)
    lines = [record.message for record in caplog.records if record.name == progress.__name__]
    assert re.fullmatch(r"step 3/6, loss \d\.\d{3}, [\d,]+ tokens/s, \d\d:\d\d left", lines[0])
    assert [line.split(",")[0] for line in lines] == ["step 3/6", "step 4/6", "step 5/6", "step 6/6"]


def test_progress_can_be_switched_off(
    prepare: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    caplog.set_level("INFO")
    fit(*prepare(**{"trainer.max_steps": 4, "trainer.enable_progress_bar": False}), tmp_path)
    assert not [record for record in caplog.records if record.name == progress.__name__]


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
    assert re.search(rf"training: 100%.* {steps}/{steps} \[.*<.*, loss=\d\.\d+, tokens/s=[\d,]+\]", shown)
    assert "validating" in shown and capsys.readouterr().out == ""
