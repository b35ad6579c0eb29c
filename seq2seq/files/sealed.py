"""Files of a cache that end in a seal. A file whose seal does not fit counts as missing.

The seal follows the content. It consists of a description of the file (JSON), the length of the description, a digest
and a mark. The digest covers the content and the description with their lengths, and the name of the file. The name is
included because it says from what a file of a cache is made: another complete file under this name is detected. The
digest is XXH3 (128 bits). It takes less time than reading the file. It detects accidents, but does not protect against
an attacker.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from xxhash import xxh3_128

from seq2seq.errors import UserError
from seq2seq.files import writing as file_writing

log = logging.getLogger(__name__)

_END = struct.Struct("<Q16s8s")  # length of the description, digest, mark
_MARK = b"\x00sealed1"
_BLOCK = 1 << 20  # bytes
_ABANDONED = 24 * 3600  # seconds without a change after which a temporary file is removed


class Stamp(NamedTuple):
    """State of a file when it was verified. If the stamp is different now, the file may have changed."""

    inode: int
    size: int
    modified: int  # time of the last change of the content, in nanoseconds
    changed: int  # time of the last change of the inode, in nanoseconds


_verified: dict[Path, tuple[Stamp, dict[str, Any]]] = {}  # (stamp, description) of each file
_swept: set[Path] = set()


@contextmanager
def writing(path: Path, remedy: str, about: Callable[[], Mapping[str, Any]] = dict) -> Iterator[Path]:
    """Yield the path of a temporary file, which replaces ``path`` with a seal when the block ends.

    Args:
        path: Path of the file.
        remedy: Advice to the user if the file can't be written.
        about: Function that returns the description in the seal; it is called after the content is written.

    Yields:
        Path of the temporary file.

    Raises:
        UserError: The file can't be written.
    """
    _sweep(path.parent)
    with file_writing.writing(path, remedy) as temporary:
        yield temporary
        # Append the seal.
        description = dict(about())
        encoded = json.dumps(description).encode()
        with temporary.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            digest = _digest(file, size, f"{path.name}\n{size}")
            digest.update(encoded)
            file.seek(0, os.SEEK_END)
            file.write(encoded + _END.pack(len(encoded), digest.digest(), _MARK))
        inode = temporary.stat().st_ino
    if (stamp := _stamp(path)).inode == inode:  # no other process has replaced the file since
        _verified[path.absolute()] = stamp, description


def opened(path: Path) -> dict[str, Any] | None:
    """Verify a file, and return the description in its seal.

    A file that this process has verified, and that has not changed since, is not read again.

    Args:
        path: Path of the file.

    Returns:
        Description, or None if the file is missing or damaged.

    Raises:
        UserError: The file can't be read.
    """
    try:
        # Do not read an unchanged file again.
        stamp = _stamp(path)
        known = _verified.get(path.absolute())
        if known is not None and known[0] == stamp:
            return known[1]
        with path.open("rb", buffering=0) as file:
            description = _unsealed(file, path.name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror or error}); remove it") from error
    if description is None:
        log.warning("%s is damaged; it is made again", path)
        return None
    _verified[path.absolute()] = stamp, description
    return description


def content(path: Path) -> tuple[bytes, dict[str, Any]] | None:
    """Return the content of a file and the description in its seal, or None if the file is missing or damaged.

    Args:
        path: Path of the file.
    """
    description = opened(path)
    if description is None:
        return None
    whole = path.read_bytes()
    size = _END.unpack(whole[-_END.size :])[0]
    return whole[: -_END.size - size], description


def stamp(path: Path) -> Stamp | None:
    """Return the stamp of a file that this process has verified, for another process (``trust``); None otherwise.

    Args:
        path: Path of the file.
    """
    known = _verified.get(path.absolute())
    return known and known[0]


def trust(path: Path, stamp: Stamp | None) -> None:
    """Accept a file that another process has verified, as long as its stamp does not change.

    Args:
        path: Path of the file.
        stamp: Stamp from the other process; None does nothing.
    """
    if stamp is not None and path.absolute() not in _verified:
        with suppress(OSError), path.open("rb") as file:
            _verified[path.absolute()] = stamp, _said(file) or {}


def _stamp(path: Path) -> Stamp:
    """Return the stamp of a file as it is now."""
    status = path.stat()
    return Stamp(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _unsealed(file: Any, name: str) -> dict[str, Any] | None:
    """Return the description of a file, or None without a seal that fits."""
    end = _last(file)
    if end is None:
        return None
    start, size, digest = end
    file.seek(0)
    found = _digest(file, start + size, f"{name}\n{start}").digest()
    return _said(file) if found == digest else None


def _said(file: Any) -> dict[str, Any] | None:
    """Return the description in the seal of a file without a check, or None without a seal."""
    end = _last(file)
    if end is None:
        return None
    file.seek(end[0])
    description: dict[str, Any] = json.loads(file.read(end[1]))
    return description


def _last(file: Any) -> tuple[int, int, bytes] | None:
    """Return (length of the content, length of the description, digest), or None without a seal."""
    total = os.fstat(file.fileno()).st_size
    if total < _END.size:
        return None
    file.seek(total - _END.size)
    size, digest, mark = _END.unpack(file.read(_END.size))
    start = total - _END.size - size
    return (start, size, digest) if mark == _MARK and start >= 0 else None


def _digest(file: Any, size: int, head: str) -> Any:
    """Return the digest of ``head`` (name of the file and length of its content) and of the next ``size`` bytes."""
    digest = xxh3_128(f"{head}\n".encode())
    block = memoryview(bytearray(min(_BLOCK, size)))
    # Read in blocks, because files of a cache are large.
    while size > 0 and (count := file.readinto(block[: min(_BLOCK, size)])):
        digest.update(block[:count])
        size -= count
    return digest


def _sweep(folder: Path) -> None:
    """Remove the temporary files of killed processes, once for each folder and process."""
    if folder in _swept:
        return
    _swept.add(folder)
    with suppress(OSError):
        for left in folder.glob(f"{file_writing.PREFIX}*"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > _ABANDONED:
                    left.unlink()
