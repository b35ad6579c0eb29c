"""Cache of a corpus (``data.cache``): files named by what they are made from, and images named by their content."""

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

FORM = 7  # format of the cached files; after a change of the number, old files are not used
REMEDY = "set data.cache=DIR"


def form() -> tuple[object, ...]:
    """Return the values that all cached files depend on: their format, and the version of the tokenizer library."""
    return FORM, version("sentencepiece")


def key(*parts: object) -> str:
    """Return a file name that depends on all of some values.

    Args:
        parts: Values that JSON can encode.
    """
    # JSON keeps the parts apart, so that different parts never give the same text.
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def writing(path: Path, about: Callable[[], Mapping[str, Any]] = dict) -> AbstractContextManager[Path]:
    """Return a context with a temporary file that replaces a file at the end, sealed (``seq2seq.files.sealed``).

    Args:
        path: Path of the file.
        about: Function that returns the summary for the file's seal.
    """
    return sealed.writing(path, REMEDY, about)


def keep_image(folder: Path, content: bytes, suffix: str) -> Path:
    """Return the file of an image's content; write it first if it is absent or damaged.

    Args:
        folder: Directory of the images in the cache.
        content: Content of the image.
        suffix: Suffix of the file, such as ``.png``.
    """
    name = xxh3_128(content).hexdigest()
    # Use a folder for each first two digits, so that no folder has too many files.
    file = folder / name[:2] / f"{name}{suffix}"
    if not image_is_whole(file):
        write_bytes(file, content, REMEDY)
    return file


def image_is_whole(file: Path) -> bool:
    """Return whether an image in the cache has the content that its name stands for.

    Args:
        file: File of the image.
    """
    try:
        return xxh3_128(file.read_bytes()).hexdigest() == file.stem
    except OSError:
        return False
