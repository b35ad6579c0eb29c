"""Inputs for generation: lines of text, documents or images, from stdin, files and directories."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seq2seq.config.instantiate import locate, plain
from seq2seq.config.validate import check_options
from seq2seq.data.images import SUFFIXES
from seq2seq.data.readers.columns import Columns
from seq2seq.data.readers.reader import DataLocation, Tabular, columns_at
from seq2seq.data.readers.rows import jsonl
from seq2seq.data.records import Fault
from seq2seq.errors import UserError
from seq2seq.files.text import prompted, read_lines, stdin_lines, usable

log = logging.getLogger(__name__)

NamedInput = tuple[str, str]
"""(name, source): the file or the row of the source, empty for a line of text; and the source as the model reads it."""
LISTS = (".txt", ".list")
"""Suffixes of files with one path of an image per line."""


def read_sentences(path: str | None, *, interactive: bool = False) -> Iterator[NamedInput]:
    """Return the lines of a text file.

    Args:
        path: The file; None is stdin.
        interactive: Whether a person types the lines.
    """
    lines = prompted() if interactive else stdin_lines() if path is None else read_lines(path)
    return (("", usable(line, f"{path or 'stdin'}:{number}")) for number, line in enumerate(lines, 1))


def read_documents(path: str | None, columns: Columns, *, interactive: bool = False) -> Iterator[NamedInput]:
    """Return documents with one sentence per line. They are read one at a time, so that only one is in memory.

    An invalid row, or an invalid file of a directory, gives a warning and an empty document, so that the outputs keep
    the order of the inputs.

    Args:
        path: A text file with one document, a directory of ``.txt`` files, or a ``.jsonl`` file with one document per
            row; None is stdin with one document.
        columns: Columns of the source and rules to split sentences (``columns_of``).
        interactive: Whether a person types the documents, one per line.
    """
    if interactive:
        return (("", columns.document(line)) for line in prompted())
    return _documents(path, columns)


def read_images(path: str | None, *, interactive: bool = False) -> Iterator[str]:
    """Return the paths of images. Those of a directory or a pattern are sorted by name.

    Args:
        path: An image, a directory of images, a pattern (``photos/*.jpg``), or a ``.txt`` file with one path per line;
            None is stdin with one path per line.
        interactive: Whether a person types the paths.

    Raises:
        UserError: There is no such file or no image.
    """
    if interactive:
        return prompted()
    if path is None:
        return (line.strip() for line in stdin_lines())
    place = Path(path)
    if place.is_dir():
        found = [str(file) for file in sorted(place.iterdir()) if file.suffix.lower() in SUFFIXES]
    elif place.suffix in LISTS:
        return (line.strip() for line in read_lines(path))
    elif place.is_file():
        found = [path]
    elif glob.has_magic(path):
        found = [name for name in sorted(glob.glob(path, recursive=True)) if Path(name).suffix.lower() in SUFFIXES]
    else:
        raise UserError(f"{path}: no such file")
    if not found:
        raise UserError(f"{path} has no images; their names must end in {', '.join(sorted(SUFFIXES))}")
    return iter(found)


def files_read(path: str | None, suffixes: Collection[str]) -> Iterator[str | Path]:
    """Yield the files that are read for a path: itself, the files of a directory, or stdin where it is a file.

    Args:
        path: A file or a directory; None is stdin.
        suffixes: Suffixes of the files that are read in a directory.
    """
    if path is None:
        if os.path.isfile("/dev/stdin"):
            yield "/dev/stdin"
    elif os.path.isdir(path):
        yield from (file for file in Path(path).iterdir() if file.suffix.lower() in suffixes)
    else:
        yield path


def columns_of(data: DictConfig) -> Columns:
    """Return the columns of a run's sources, and its rules to split sentences.

    Args:
        data: The ``data`` node of the run's config.

    Raises:
        UserError: An option of the node is invalid.
    """
    reader = plain(data.reader)  # a node of a stored config; the reader itself is not built
    for key in ("source", "target"):
        if not isinstance(data.get(key), str):
            raise UserError(f"data.{key}={data.get(key)}: must be the name of a column")
    # Only readers of tables have rules for columns and sentences.
    kind = locate(reader.get("_target_", ""))
    if not (isinstance(kind, type) and issubclass(kind, Tabular)):
        return Columns([data.source], [data.target])
    names: dict[str, Any] = {key: reader[key] for key in ("column", "references", "language") if key in reader}
    check_options("data.reader", names, kind)
    return columns_at(DataLocation(None, data.source, data.target), **names)


def _documents(path: str | None, columns: Columns) -> Iterator[NamedInput]:
    """Yield the documents of stdin, a file or a directory."""
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
        raise UserError(f"{path} has no .txt files; put each document in one")
    # An invalid file must not stop the others.
    for file in files:
        try:
            text = _document(file, columns)
        except UserError as error:
            log.warning("%s; its summary is empty", error)
            text = ""
        yield file.name, text


def _document(file: Path, columns: Columns) -> str:
    """Read the document in a text file."""
    return columns.document(usable("\n".join(read_lines(file)), str(file)))


def _rows(path: Path, columns: Columns) -> Iterator[NamedInput]:
    """Yield the documents in the rows of a ``.jsonl`` file."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    entries = ((f"{path.name}:{number}", entry) for number, entry in jsonl(path))
    for name, source in columns.sources(entries):
        if isinstance(source, Fault):
            log.warning("%s: %s%s; its summary is empty", name, source.problem, source.reason and f" ({source.reason})")
            yield name, ""
        else:
            yield name, usable(source, name)
