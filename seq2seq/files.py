"""Files that appear whole: written beside their place, synced to the disk, and renamed.

Whoever reads such a file finds the old content or the new one, never a half, whatever moment the process is killed at.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from seq2seq.errors import UserError

PREFIX = ".writing-"  # of the temporary files, which a killed process leaves behind


@contextmanager
def writing(path: str | Path, remedy: str = "") -> Iterator[Path]:
    """Yield a temporary file's path; when the block ends without an error, that file takes the place of ``path``.

    Args:
        path: The file to make or to replace. Missing folders above it are made.
        remedy: What the user can do where it can't be written, such as ``set data.cache=DIR``.

    Raises:
        UserError: The disk is full, or there is no permission. ``path`` is then as it was.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=PREFIX, suffix=path.suffix)
        temporary = Path(name)
        os.fchmod(handle, 0o666 & ~_umask())
        os.close(handle)
        yield temporary
        sync(temporary)
        temporary.replace(path)
        temporary = None
        with suppress(OSError):  # the file is there; not every file system syncs folders
            sync(path.parent)
    except OSError as error:
        if error.filename not in (None, str(temporary), str(path.parent)):
            raise  # another file's, which was read to make this one
        hint = f": {remedy}" if remedy else ""
        raise UserError(f"{path} can't be written ({error.strerror or error}){hint}") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str, remedy: str = "") -> None:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all; what UTF-8 can't hold is escaped, as JSON has it."""
    with writing(path, remedy) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def write_bytes(path: str | Path, content: bytes, remedy: str = "") -> None:
    """Write ``content`` to ``path``, whole or not at all."""
    with writing(path, remedy) as temporary:
        temporary.write_bytes(content)


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # the file system has no such thing
            raise
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
