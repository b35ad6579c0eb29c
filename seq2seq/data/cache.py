"""What a corpus keeps in ``data.cache``: files named by what they are made from, and images by their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from xxhash import xxh3_128

from seq2seq.files import sealed
from seq2seq.files.writing import write_bytes

FORM = 6  # of the cached files: a new number makes old ones unused
REMEDY = "set data.cache=DIR"


def form() -> tuple[object, ...]:
    """Return what all cached files depend on: their form, and the library that makes their ids."""
    return FORM, version("sentencepiece")


def key(*parts: object) -> str:
    """A file name that stands for ``parts``."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def writing(path: Path, about: Callable[[], Mapping[str, Any]] = dict) -> AbstractContextManager[Path]:
    """A temporary file that takes the place of ``path`` at the end, sealed (``seq2seq.files.sealed``)."""
    return sealed.writing(path, REMEDY, about)


def keep_image(folder: Path, content: bytes, suffix: str) -> Path:
    """The file of an image's content, written if it is not there, or not whole."""
    name = xxh3_128(content).hexdigest()
    file = folder / name[:2] / f"{name}{suffix}"
    if not image_is_whole(file):
        write_bytes(file, content, REMEDY)
    return file


def image_is_whole(file: Path) -> bool:
    """Whether a kept image has the content that its name says."""
    try:
        return xxh3_128(file.read_bytes()).hexdigest() == file.stem
    except OSError:
        return False
