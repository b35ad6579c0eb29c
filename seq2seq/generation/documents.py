"""Documents to summarise: a text file each, a folder of them, or rows of jsonl."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seq2seq.config.instantiate import locate, plain
from seq2seq.config.validate import check_options
from seq2seq.data.readers.columns import Columns
from seq2seq.data.readers.reader import DataLocation, Tabular, columns_at
from seq2seq.data.readers.rows import jsonl
from seq2seq.data.records import Fault
from seq2seq.errors import UserError
from seq2seq.files.text import read_lines, stdin_lines, usable

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
    return columns_at(DataLocation(None, data.source, data.target), **names)


def read_documents(path: str | None, columns: Columns) -> Iterator[tuple[str, str]]:
    """Yield (name, document with a sentence a line), one at a time: only what is asked for is in memory.

    ``path`` is a text file, which is one document, a folder of ``.txt`` files, or a ``.jsonl`` file whose rows have a
    source as ``columns`` has it; None is stdin, one document. A row, or a file of several, that can't be used gives an
    empty document, so that outputs keep to the order of their inputs, and a warning.
    """
    if path is None:
        yield "stdin", columns.document(usable("\n".join(stdin_lines()), "stdin"))
        return
    place = Path(path)
    if place.suffix == ".jsonl":
        yield from _rows(place, columns)
        return
    if not place.is_dir():
        yield place.name, _document(place, columns)
        return
    files = sorted(place.glob("*.txt"))
    if not files:
        raise UserError(f"{path} has no .txt files to summarise")
    for file in files:
        try:
            text = _document(file, columns)
        except UserError as error:
            log.warning("%s; its summary is empty", error)
            text = ""
        yield file.name, text


def _document(file: Path, columns: Columns) -> str:
    return columns.document(usable("\n".join(read_lines(file)), str(file)))


def _rows(path: Path, columns: Columns) -> Iterator[tuple[str, str]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    entries = ((f"{path.name}:{number}", entry) for number, entry in jsonl(path))
    for name, source in columns.sources(entries):
        if isinstance(source, Fault):
            log.warning("%s: %s%s; its summary is empty", name, source.problem, source.reason and f" ({source.reason})")
            yield name, ""
        else:
            yield name, usable(source, name)
