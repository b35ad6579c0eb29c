"""Documents to summarise: a text file each, a folder of them, or rows of jsonl."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seq2seq.config import locate, plain
from seq2seq.data.base import Location, Tabular, columns_at
from seq2seq.data.columns import Columns
from seq2seq.data.tables import jsonl
from seq2seq.errors import UserError
from seq2seq.lines import decoded
from seq2seq.options import check_options

log = logging.getLogger(__name__)


def columns_of(data: DictConfig) -> Columns:
    """Where a run's data has its sources, and how their sentences are told apart."""
    reader = plain(data.reader)  # described by a stored config, and never built
    for key in ("source", "target"):
        if not isinstance(data.get(key), str):
            raise UserError(f"data.{key}={data.get(key)}: must be the name of a column")
    kind = locate(reader.get("_target_", ""))
    if not (isinstance(kind, type) and issubclass(kind, Tabular)):
        return Columns([data.source], [data.target])
    names: dict[str, Any] = {key: reader[key] for key in ("column", "references", "language") if key in reader}
    check_options("data.reader", names, kind)
    return columns_at(Location(None, data.source, data.target), **names)


def read_documents(path: str | None, columns: Columns) -> Iterator[tuple[str, str]]:
    """(name, document with a sentence a line), one at a time: only what is asked for is in memory.

    ``path`` is a text file, which is one document, a folder of ``.txt`` files, or a ``.jsonl`` file whose rows have a
    source as ``columns`` has it; None is stdin, one document. What cannot be read gives an empty document, so that
    outputs keep to the order of their inputs, and a warning.
    """
    if path is None:
        yield "stdin", columns.document("\n".join(decoded(sys.stdin.buffer, "stdin")))
        return
    place = Path(path)
    if place.suffix == ".jsonl":
        yield from _rows(place, columns)
        return
    files = sorted(place.glob("*.txt")) if place.is_dir() else [place]
    if not files:
        raise UserError(f"{path} has no .txt files to summarise")
    for file in files:
        try:
            with file.open("rb") as lines:
                yield file.name, columns.document("\n".join(decoded(lines, str(file))))
        except OSError as error:
            raise UserError(f"{file}: {error.strerror or error}") from error


def _rows(path: Path, columns: Columns) -> Iterator[tuple[str, str]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    for number, entry in jsonl(path):
        name = f"{path.name}:{number}"
        text = None if isinstance(entry, str) else columns.only_source(entry, name)
        if text is None:
            log.warning("%s: %s; its summary is empty", name, entry if isinstance(entry, str) else "no text")
        yield name, text or ""
