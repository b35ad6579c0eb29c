"""Pictures to caption: a file, a folder of them, a pattern, or a list of paths."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path

from seq2seq.data.images import SUFFIXES
from seq2seq.errors import UserError
from seq2seq.files.text import read_lines, stdin_lines

LISTS = (".txt", ".list")


def read_pictures(path: str | None) -> Iterator[str]:
    """The paths of pictures, in the order of their names.

    ``path`` is a picture, a folder of them, a pattern (``photos/*.jpg``), or a ``.txt`` file with a path a line; None
    is stdin, a path a line.
    """
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
        raise UserError(f"{path} has no pictures ({', '.join(sorted(SUFFIXES))})")
    return iter(found)
