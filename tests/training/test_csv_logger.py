"""metrics.csv: rows as they come, and what a resumed run does with those that will come again."""

from __future__ import annotations

import csv
from pathlib import Path

from seq2seq.training.csv_logger import CSVLogger


def rows(directory: Path) -> list[dict[str, str]]:
    with (directory / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_columns_come_as_they_come(tmp_path: Path) -> None:
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


def test_resumed_run_goes_on_in_the_file(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        CSVLogger(tmp_path).log_metrics({"loss": step}, step=step)
    resumed = CSVLogger(tmp_path)
    resumed.rewind(2)
    resumed.log_metrics({"loss": 9}, step=3)
    assert [row["loss"] for row in rows(tmp_path)] == ["1", "2", "9"]


def test_rewinding_nothing(tmp_path: Path) -> None:
    CSVLogger(tmp_path).rewind(5)
    assert not (tmp_path / "metrics.csv").exists()
