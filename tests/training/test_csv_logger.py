"""Tests of metrics.csv: its rows and columns, and repairs when a run is resumed."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seq2seq.errors import UserError
from seq2seq.training.csv_logger import CSVLogger


def rows(directory: Path) -> list[dict[str, str]]:
    """Return the rows of metrics.csv in a folder."""
    with (directory / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_new_columns_are_added_to_earlier_rows(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path / "run")
    logger.log_metrics({"loss": 2.5}, step=1)
    logger.log_metrics({"loss": 2.0}, step=2)
    logger.log_metrics({"bleu": 10.0, "loss": 1.5}, step=2)
    assert (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0] == "step,loss,bleu"
    assert rows(tmp_path / "run") == [
        {"step": "1", "loss": "2.5", "bleu": ""},
        {"step": "2", "loss": "2.0", "bleu": ""},
        {"step": "2", "loss": "1.5", "bleu": "10.0"},
    ]


def test_resumed_run_replaces_rows_after_its_step(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        CSVLogger(tmp_path).log_metrics({"loss": step}, step=step)
    resumed = CSVLogger(tmp_path)
    resumed.rewind(2)
    resumed.log_metrics({"loss": 9}, step=3)
    assert [row["loss"] for row in rows(tmp_path)] == ["1", "2", "9"]


def test_rewinding_without_a_file_makes_none(tmp_path: Path) -> None:
    CSVLogger(tmp_path).rewind(5)
    assert not (tmp_path / "metrics.csv").exists()


def test_a_row_is_appended_without_reading_the_file(tmp_path: Path) -> None:
    """Python's audit hook sees each opening of the file: after both columns are known, each row appends once."""
    opened: list[str] = []
    watched = str(tmp_path / "metrics.csv")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and str(args[0]) == watched:
            opened.append(str(args[1]))

    sys.addaudithook(hook)
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.log_metrics({"bleu": 1.0}, step=0)
    opened.clear()
    for step in range(1, 301):
        logger.log_metrics({"loss": 1.0} if step % 3 else {"bleu": 2.0}, step=step)
    assert opened == ["a"] * 300
    assert len(rows(tmp_path)) == 302


@pytest.mark.parametrize("torn", [b"3,0.", b"3", b"\0\0\0\0", b"3,0.5,\xff"])
def test_incomplete_last_row_is_removed(tmp_path: Path, torn: bytes) -> None:
    """A kill or a full disk in the middle of a row leaves such an end of the file."""
    logger = CSVLogger(tmp_path)
    for step in (1, 2):
        logger.log_metrics({"loss": step, "bleu": 0}, step=step)
    whole = (tmp_path / "metrics.csv").read_bytes()
    (tmp_path / "metrics.csv").write_bytes(whole + torn)
    resumed = CSVLogger(tmp_path)
    resumed.rewind(2)
    assert (tmp_path / "metrics.csv").read_bytes() == whole
    resumed.log_metrics({"loss": 3, "bleu": 0}, step=3)
    assert [row["step"] for row in rows(tmp_path)] == ["1", "2", "3"]


def test_full_disk_is_reported_in_one_line(tmp_path: Path, full_disk: Callable[[], Any]) -> None:
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"loss": 1}, step=1)
    before = (tmp_path / "metrics.csv").read_bytes()

    message = r"metrics\.csv can't be written \(File too large\)[:;] free some"
    for metrics in ({"loss": 2}, {"bleu": 2}):  # a row that is appended, and one that needs a new header
        with full_disk(), pytest.raises(UserError, match=message):
            logger.log_metrics(metrics, step=2)
    assert (tmp_path / "metrics.csv").read_bytes() == before
