"""Files of a cache, which end in a seal: what is read back is what was written, or it counts as not there.

A seal is, after the content: what the writer says of the file (JSON), the length of that, a digest of both with their
lengths and the file's name, and a mark. The name is part of the digest because a cache's names say what a file is made
from: another whole file in its place is noticed. The digest is XXH3 (128 bits): it takes less time than reading the
file, finds accidents, and is no protection from a person.
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

_END = struct.Struct("<Q16s8s")  # length of what is said of the file, digest, mark
_MARK = b"\x00sealed1"
_BLOCK = 1 << 20  # bytes
_ABANDONED = 24 * 3600  # seconds since a temporary file grew: nobody writes it any more


class Stamp(NamedTuple):
    """A file as it was when it was verified; another one when it may have changed."""

    inode: int
    size: int
    modified: int  # nanoseconds
    changed: int


_verified: dict[Path, tuple[Stamp, dict[str, Any]]] = {}  # and what is said of each file
_swept: set[Path] = set()


@contextmanager
def writing(path: Path, remedy: str, about: Callable[[], Mapping[str, Any]] = dict) -> Iterator[Path]:
    """Yield a temporary file, which takes the place of ``path`` when it is written, with its seal.

    Args:
        path: Where the file is to be.
        remedy: What the user can do where it can't be written.
        about: Returns what else the seal holds; it is called when the content is there.

    Raises:
        UserError: the file can't be written.
    """
    _sweep(path.parent)
    with file_writing.writing(path, remedy) as temporary:
        yield temporary
        said = dict(about())
        encoded = json.dumps(said).encode()
        with temporary.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            digest = _digest(file, size, f"{path.name}\n{size}")
            digest.update(encoded)
            file.seek(0, os.SEEK_END)
            file.write(encoded + _END.pack(len(encoded), digest.digest(), _MARK))
        inode = temporary.stat().st_ino
    if (stamp := _stamp(path)).inode == inode:  # no other process has put its own there
        _verified[path.absolute()] = stamp, said


def opened(path: Path) -> dict[str, Any] | None:
    """Verify a file, and return what its seal says of it; None where there is no whole file.

    A file that this process has verified, and that has not changed since, is not read again.
    """
    try:
        stamp = _stamp(path)
        known = _verified.get(path.absolute())
        if known is not None and known[0] == stamp:
            return known[1]
        with path.open("rb", buffering=0) as file:
            said = _unsealed(file, path.name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror or error}): remove it") from error
    if said is None:
        log.warning("%s is damaged: it is made anew", path)
        return None
    _verified[path.absolute()] = stamp, said
    return said


def content(path: Path) -> tuple[bytes, dict[str, Any]] | None:
    """The content of a file, and what its seal says of it; None where there is no whole file."""
    said = opened(path)
    if said is None:
        return None
    whole = path.read_bytes()
    size = _END.unpack(whole[-_END.size :])[0]
    return whole[: -_END.size - size], said


def stamp(path: Path) -> Stamp | None:
    """As what this process has verified ``path``, to be told to another process (``trust``)."""
    known = _verified.get(path.absolute())
    return known and known[0]


def trust(path: Path, stamp: Stamp | None) -> None:
    """Take a file for whole that another process has verified, as long as its stamp is the same."""
    if stamp is not None and path.absolute() not in _verified:
        with suppress(OSError), path.open("rb") as file:
            _verified[path.absolute()] = stamp, _said(file) or {}


def _stamp(path: Path) -> Stamp:
    about = path.stat()
    return Stamp(about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


def _unsealed(file: Any, name: str) -> dict[str, Any] | None:
    end = _last(file)
    if end is None:
        return None
    start, size, digest = end
    file.seek(0)
    found = _digest(file, start + size, f"{name}\n{start}").digest()
    return _said(file) if found == digest else None


def _said(file: Any) -> dict[str, Any] | None:
    end = _last(file)
    if end is None:
        return None
    file.seek(end[0])
    said: dict[str, Any] = json.loads(file.read(end[1]))
    return said


def _last(file: Any) -> tuple[int, int, bytes] | None:
    """Where the content ends, the length of what is said of it, and the digest; None without a seal."""
    total = os.fstat(file.fileno()).st_size
    if total < _END.size:
        return None
    file.seek(total - _END.size)
    size, digest, mark = _END.unpack(file.read(_END.size))
    start = total - _END.size - size
    return (start, size, digest) if mark == _MARK and start >= 0 else None


def _digest(file: Any, size: int, head: str) -> Any:
    """Of ``head``, the file's name and the length of its content, and of the next ``size`` bytes."""
    digest = xxh3_128(f"{head}\n".encode())
    block = memoryview(bytearray(min(_BLOCK, size)))
    while size > 0 and (count := file.readinto(block[: min(_BLOCK, size)])):
        digest.update(block[:count])
        size -= count
    return digest


def _sweep(folder: Path) -> None:
    """Remove what killed writers left, once a process."""
    if folder in _swept:
        return
    _swept.add(folder)
    with suppress(OSError):
        for left in folder.glob(f"{file_writing.PREFIX}*"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > _ABANDONED:
                    left.unlink()
