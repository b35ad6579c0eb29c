"""Atomic writing of files: write a temporary file, sync it to the disk, and rename it.

A reader finds either the old content or the complete new content, even if the process is killed at any moment.
``writing`` removes a file that it could not finish. ``growing`` keeps it; it is for long outputs.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from seq2seq.errors import UserError

log = logging.getLogger(__name__)

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""Error numbers of a disk that accepts no more data."""
PREFIX = ".writing-"  # start of the names of temporary files, which a killed process leaves behind
PARTIAL = ".partial"  # end of the name of an output that is not finished


@contextmanager
def writing(path: str | Path, remedy: str = "") -> Iterator[Path]:
    """Yield the path of a temporary file, which replaces ``path`` when the block ends without an error.

    Args:
        path: File to write. Missing folders are made.
        remedy: Advice to the user if the file can't be written, such as ``set data.cache=DIR``.

    Yields:
        Path of the temporary file.

    Raises:
        UserError: The disk is full, or there is no permission. ``path`` is unchanged.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        # Make the temporary file in the same folder: only there a rename is atomic.
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=PREFIX, suffix=path.suffix)
        temporary = Path(name)
        os.fchmod(handle, 0o666 & ~_umask())
        os.close(handle)
        yield temporary
        # Sync before the rename, so that the new name never has old or missing content.
        sync(temporary)
        temporary.replace(path)
        temporary = None
        with suppress(OSError):  # the file is complete; not every file system can sync folders
            sync(path.parent)
    except OSError as error:
        if temporary is not None and error.filename not in (None, str(temporary), str(path.parent)):
            raise  # an error of another file, which was read in the block
        hint = f"; {remedy}" if remedy else ""
        raise UserError(f"{path} can't be written ({error.strerror or error}){hint}") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str, remedy: str = "") -> None:
    """Write a text to a file as UTF-8, completely or not at all.

    Args:
        path: File to write.
        text: Text; characters that UTF-8 can't represent are escaped as in JSON.
        remedy: Advice to the user if the file can't be written.

    Raises:
        UserError: The file can't be written.
    """
    with writing(path, remedy) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def write_bytes(path: str | Path, content: bytes, remedy: str = "") -> None:
    """Write bytes to a file, completely or not at all.

    Args:
        path: File to write.
        content: Content of the file.
        remedy: Advice to the user if the file can't be written.

    Raises:
        UserError: The file can't be written.
    """
    with writing(path, remedy) as temporary:
        temporary.write_bytes(content)


@contextmanager
def growing(path: str | Path) -> Iterator[IO[str]]:
    """Yield a text file for a long output, which replaces ``path`` when the block ends without an error.

    Until then the lines are in ``PATH.partial``. If the block fails, this file is kept, and a warning names it. A pipe
    or a device such as /dev/stdout is written directly. If ``path`` is a link, the file to which it leads is replaced.

    Args:
        path: File to write. Missing folders are made.

    Yields:
        Text file in UTF-8.

    Raises:
        UserError: The disk is full, or there is no permission. ``path`` is unchanged.
    """
    # Open the partial file.
    place = Path(os.path.realpath(path))
    direct = os.path.abspath(path).startswith(("/dev/", "/proc/")) or (place.exists() and not place.is_file())
    partial = Path(path) if direct else _free(place)
    try:
        if not direct:
            place.parent.mkdir(parents=True, exist_ok=True)
        file = partial.open("a" if direct else "x", encoding="utf-8", newline="")
    except OSError as error:
        raise UserError(f"{path} can't be written ({error.strerror or error})") from error
    # Replace the old file in the end, or keep the lines that were written.
    try:
        with file:
            if place.exists() and not direct:
                shutil.copymode(place, partial)
            yield file
        if not direct:
            sync(partial)
            partial.replace(place)
    except BaseException as error:
        if not direct and partial.stat().st_size:
            log.warning("%s is not finished; the lines written so far are in %s", path, partial)
        elif not direct:
            partial.unlink()
        if isinstance(error, OSError) and error.errno in FULL:
            raise UserError(f"{path} can't be written ({error.strerror})") from error
        raise


def _free(path: Path) -> Path:
    """Return the first name of a partial file that does not exist yet."""
    # Count up until a name is free.
    names = (path.with_name(f"{path.name}{n or ''}{PARTIAL}") for n in itertools.count())
    return next(name for name in names if not os.path.lexists(name))


def is_same(one: str | Path, other: str | Path) -> bool:
    """Return whether two paths lead to the same file, by any names, links or open descriptors.

    Args:
        one: First path.
        other: Second path.
    """
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of the files does not exist yet
        return os.path.realpath(one) == os.path.realpath(other)


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk.

    Args:
        path: File or folder.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # the file system does not support it
            raise
    finally:
        os.close(handle)


def _umask() -> int:
    """Return the umask of the process, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
