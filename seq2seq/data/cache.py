"""Files that appear whole: what is made once and read by many runs, or by many processes of one."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seq2seq.errors import UserError


def key(*parts: object) -> str:
    """A file name that stands for ``parts``."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary file that becomes ``path`` at the end, so that no one ever reads half of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-")
    except OSError as error:
        raise UserError(f"cannot write to {path.parent} ({error.strerror}): set data.cache=DIR") from error
    with folder as name:
        temporary = Path(name) / path.name
        yield temporary
        temporary.replace(path)
