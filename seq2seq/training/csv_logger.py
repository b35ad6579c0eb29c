"""Logger that writes ``metrics.csv``: one row per call, with columns in the order of their first appearance.

The cost of a new row does not grow with the file. The file is rewritten only when a new column appears: at the first
values of training and at the first validation.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from typing_extensions import override

from seq2seq.errors import UserError
from seq2seq.files.writing import write_text

REMEDY = "free some space, then continue with resume=RUN"


class CSVLogger(Logger):
    """Logger that writes each row at once. A resumed run appends to the file (Lightning's logger would delete it).

    Args:
        save_dir: Directory of the run.
    """

    def __init__(self, save_dir: str | Path) -> None:
        super().__init__()
        self.path = Path(save_dir) / "metrics.csv"
        self._columns: list[str] | None = None  # columns of the file; None before it is read

    @property
    @override
    def name(self) -> str:
        """Name of this kind of logger."""
        return "csv"

    @property
    @override
    def version(self) -> str:
        """Empty version: a run has a single one."""
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> Path:
        """Path of the file."""
        return self.path

    @override
    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run directory contains the config."""

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one row to the file.

        Raises:
            UserError: The file cannot be written.
        """
        row = {"step": step, **metrics}
        if self._columns is None:
            self._columns = self._read()[0]
        # Rewrite the file if a column is new.
        if added := [name for name in row if name not in self._columns]:
            columns, rows = self._read()
            self._write([*columns, *added], [*rows, row])
            return
        # Otherwise append the row.
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                file.write(_text([[row.get(name, "") for name in self._columns]]))
        except OSError as error:
            raise UserError(f"{self.path} can't be written ({error.strerror or error}): {REMEDY}") from error

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Remove the rows after a step, and an incomplete last row.

        Args:
            step: Number of updates at which the run continues.
        """
        columns, rows = self._read()
        self._columns = columns
        kept = [row for row in rows if row["step"].isdecimal() and int(row["step"]) <= step]
        if columns and (len(kept) < len(rows) or not self.path.read_bytes().endswith(b"\n")):
            self._write(columns, kept)

    def _read(self) -> tuple[list[str], list[dict[str, Any]]]:
        """Return the columns and the complete rows of the file."""
        if not self.path.exists():
            return [], []
        # Text after the last line break is incomplete. A crash may also leave zero bytes.
        *lines, _ = self.path.read_bytes().decode("utf-8", errors="replace").split("\n")
        whole = [line for line in lines if "\0" not in line]
        columns, *rows = [*csv.reader(whole)] or [[]]
        return columns, [dict(zip(columns, row, strict=True)) for row in rows if len(row) == len(columns)]

    def _write(self, columns: list[str], rows: Iterable[Mapping[str, Any]]) -> None:
        """Replace the file by the given columns and rows."""
        table = [columns, *([row.get(name, "") for name in columns] for row in rows)]
        write_text(self.path, _text(table), REMEDY)
        self._columns = columns


def _text(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows in CSV format."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()
