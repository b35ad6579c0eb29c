"""``metrics.csv``: one row for each time that figures come, all columns in the order in which they first came.

A row is appended at a cost that does not grow with the file. Only a column that was never there before (at the first
figures of training and the first validation) makes the file anew, under its longer header.
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

REMEDY = "free some space, then go on with resume=RUN"


class CSVLogger(Logger):
    """Writes each row as it comes. A resumed run goes on in the same file (Lightning's own would delete it)."""

    def __init__(self, save_dir: str | Path) -> None:
        super().__init__()
        self.path = Path(save_dir) / "metrics.csv"
        self._columns: list[str] | None = None  # of the file; None before it is read

    @property
    @override
    def name(self) -> str:
        """Return the name of this kind of logger."""
        return "csv"

    @property
    @override
    def version(self) -> str:
        """Return the version, of which a run has one."""
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> Path:
        """Return the path of the file."""
        return self.path

    @override
    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The run directory has the config."""

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one row to the file."""
        row = {"step": step, **metrics}
        if self._columns is None:
            self._columns = self._read()[0]
        if added := [name for name in row if name not in self._columns]:
            columns, rows = self._read()
            self._write([*columns, *added], [*rows, row])
            return
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                file.write(_text([[row.get(name, "") for name in self._columns]]))
        except OSError as error:
            raise UserError(f"{self.path} can't be written ({error.strerror or error}): {REMEDY}") from error

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Forget what was logged after ``step``, and a row that was not written to its end."""
        columns, rows = self._read()
        self._columns = columns
        kept = [row for row in rows if row["step"].isdecimal() and int(row["step"]) <= step]
        if columns and (len(kept) < len(rows) or not self.path.read_bytes().endswith(b"\n")):
            self._write(columns, kept)

    def _read(self) -> tuple[list[str], list[dict[str, Any]]]:
        """The header, and the rows that are whole."""
        if not self.path.exists():
            return [], []
        *lines, _ = self.path.read_bytes().decode("utf-8", errors="replace").split("\n")
        whole = [line for line in lines if "\0" not in line]
        columns, *rows = [*csv.reader(whole)] or [[]]
        return columns, [dict(zip(columns, row, strict=True)) for row in rows if len(row) == len(columns)]

    def _write(self, columns: list[str], rows: Iterable[Mapping[str, Any]]) -> None:
        table = [columns, *([row.get(name, "") for name in columns] for row in rows)]
        write_text(self.path, _text(table), REMEDY)
        self._columns = columns


def _text(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()
