"""``metrics.csv``: one row for each time that figures come, all columns in the order in which they first came."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only


class CSVLogger(Logger):
    """Writes each row as it comes. A resumed run goes on in the same file (Lightning's own would delete it)."""

    def __init__(self, save_dir: str | Path) -> None:
        super().__init__()
        self.path = Path(save_dir) / "metrics.csv"

    @property
    def name(self) -> str:
        """Of the kind of logger."""
        return "csv"

    @property
    def version(self) -> str:
        """A run has one."""
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> Path:
        """The file."""
        return self.path

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The run directory has the config."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """One row."""
        row = {"step": step, **metrics}
        columns, rows = self._read()
        if added := [name for name in row if name not in columns]:
            self._write([*columns, *added], [*rows, row])
        else:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, columns).writerow(row)

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Forgets what was logged after ``step``."""
        columns, rows = self._read()
        kept = [row for row in rows if int(row["step"]) <= step]
        if len(kept) < len(rows):
            self._write(columns, kept)

    def _read(self) -> tuple[list[str], list[dict[str, Any]]]:
        if not self.path.exists():
            return [], []
        with self.path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            return list(reader.fieldnames or []), list(reader)

    def _write(self, columns: list[str], rows: list[dict[str, Any]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".partial")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        temporary.replace(self.path)
