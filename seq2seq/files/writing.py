"""Files that appear whole: written beside their place, synced to the disk, and renamed.

Whoever reads such a file finds the old content or the new one, never a half, whatever moment the process is killed at.
``writing`` removes what it could not finish; ``growing`` is for long outputs and keeps it.
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

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)  # what a disk says that takes no more
PREFIX = ".writing-"  # of the temporary files, which a killed process leaves behind
PARTIAL = ".partial"  # what is added to the name of an output that is not finished


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
        if temporary is not None and error.filename not in (None, str(temporary), str(path.parent)):
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


@contextmanager
def growing(path: str | Path) -> Iterator[IO[str]]:
    """Yield a text file for lines as they come; when the block ends without an error, it takes the place of ``path``.

    Until then the lines are in ``PATH.partial``, which stays and is told where the block fails. What is no file on a
    disk (a pipe, /dev/stdout) is written directly, and of a link the file that it leads to is replaced.

    Raises:
        UserError: The disk is full, or there is no permission. ``path`` is then as it was.
    """
    place = Path(os.path.realpath(path))
    direct = os.path.abspath(path).startswith(("/dev/", "/proc/")) or (place.exists() and not place.is_file())
    partial = Path(path) if direct else _free(place)
    try:
        if not direct:
            place.parent.mkdir(parents=True, exist_ok=True)
        file = partial.open("a" if direct else "x", encoding="utf-8", newline="")
    except OSError as error:
        raise UserError(f"{path} can't be written ({error.strerror or error})") from error
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
            log.warning("%s is not finished; its lines so far are in %s", path, partial)
        elif not direct:
            partial.unlink()
        if isinstance(error, OSError) and error.errno in FULL:
            raise UserError(f"{path} can't be written ({error.strerror})") from error
        raise


def _free(path: Path) -> Path:
    """The first name for an unfinished file that no earlier one has left."""
    names = (path.with_name(f"{path.name}{n or ''}{PARTIAL}") for n in itertools.count())
    return next(name for name in names if not os.path.lexists(name))


def is_same(one: str | Path, other: str | Path) -> bool:
    """Whether two paths lead to one file, by whatever names, links or open descriptors."""
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them does not exist yet
        return os.path.realpath(one) == os.path.realpath(other)


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
