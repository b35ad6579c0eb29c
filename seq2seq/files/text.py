"""Text from files, pipes and the keyboard, always in UTF-8, whatever the locale is.

All text of users is opened here. Only a line feed ends a line, so that each line of an output belongs to the same line
of its input. A byte-order mark at the start is removed. A file in UTF-16 is refused.
"""

from __future__ import annotations

import codecs
import io
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from seq2seq.errors import UserError

log = logging.getLogger(__name__)

SURROGATE = "half a surrogate pair"
LOOKED_AT = 10  # number of lines at the start of a file that are checked for UTF-16
OTHER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
"""Byte-order marks of other encodings. The mark of little-endian UTF-32 starts with that of little-endian UTF-16."""


@contextmanager
def open_lines(path: str | Path) -> Iterator[Iterator[bytes]]:
    """Open a text file, and yield an iterator over its lines (see ``raw_lines``).

    Args:
        path: Path of the file.

    Raises:
        UserError: The file can't be read, or looks like UTF-16.
    """
    if "\0" in str(path):
        raise UserError(f"{path!r} is not a path: it contains a NUL character")
    try:
        with Path(path).open("rb") as file:
            yield raw_lines(file, str(path))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error


def raw_lines(file: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Yield the lines of a binary file with their line ends, without a byte-order mark at the start.

    Args:
        file: Lines of the file.
        name: Name of the file in messages.

    Raises:
        UserError: The first lines look like UTF-16 or UTF-32.
    """
    for number, line in enumerate(file, 1):
        if number <= LOOKED_AT and _is_wide(line, first=number == 1):
            raise UserError(f"{name} looks like UTF-16, not UTF-8; convert it (iconv -f UTF-16 -t UTF-8)")
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
            if not line:
                continue  # the file contains only a mark
        yield line


def without_end(line: bytes) -> bytes:
    r"""Return a line without its line feed and the carriage return before it.

    Args:
        line: Line, which may end with ``\n`` or ``\r\n``.
    """
    return line.removesuffix(b"\n").removesuffix(b"\r")


def read_lines(path: str | Path) -> Iterator[str]:
    """Yield the lines of a file without their line ends.

    Args:
        path: Path of the file.

    Raises:
        UserError: The file can't be read, or looks like UTF-16.
    """
    with open_lines(path) as lines:
        yield from decoded(lines, str(path))


def read_text(path: str | Path) -> str:
    """Return the whole text of a file.

    Args:
        path: Path of the file.

    Raises:
        UserError: The file can't be read, or is not UTF-8.
    """
    with open_lines(path) as lines:
        content = b"".join(lines)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start + 1}") from error


def stdin_lines() -> Iterator[str]:
    """Yield the lines of standard input without their line ends, each as soon as it arrives."""
    yield from decoded(raw_lines(sys.stdin.buffer, "stdin"), "stdin")


def decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    """Yield the text of lines without their line ends.

    Bytes that are not UTF-8 become replacement characters, with a warning. Such a line is not dropped, because that
    would shift all lines after it.

    Args:
        lines: Lines with or without line ends.
        name: Name of the file in warnings.
    """
    for number, line in enumerate(lines, 1):
        line = without_end(line)
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            log.warning("%s:%d: not UTF-8 at byte %d; read with replacement characters", name, number, error.start + 1)
            yield line.decode(errors="replace")


def flaw(text: str) -> str | None:
    """Return the reason why a text can't be used, or None.

    Half a surrogate pair can't be written in UTF-8. A NUL character can't be used either.

    Args:
        text: Any text.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return SURROGATE
    return "a NUL character" if "\0" in text else None


def usable(text: str, place: str) -> str:
    """Return a text, or an empty text with a warning if it can't be used (``flaw``).

    Args:
        text: Any text.
        place: File and line of the text, for the warning.
    """
    if (reason := flaw(text)) is None:
        return text
    log.warning("%s: %s; its output is empty", place, reason)
    return ""


def prompted() -> Iterator[str]:
    """Yield the lines that a person types until end of file; the prompt is written to stderr, not into the output."""
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        # An empty line without a line end is the end of the file.
        line = sys.stdin.readline()
        if not line:
            print(file=sys.stderr)
            return
        yield line.rstrip("\n")


def speak_utf8() -> None:
    """Set the encoding of the standard streams to UTF-8; characters that can't be written are escaped."""
    for stream, errors in (
        (sys.stdin, "replace"),
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
    ):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)


def _is_wide(line: bytes, *, first: bool) -> bool:
    """Return whether a line is in UTF-16 or UTF-32: it starts with their mark, or every other byte is NUL."""
    if first and line.startswith(OTHER_MARKS):
        return True
    # Compare the number of NUL bytes at even and at odd positions.
    few, many = sorted((line[0::2], line[1::2]), key=lambda half: half.count(b"\0"))
    most = many.count(b"\0")
    return most >= 3 and most >= 0.6 * len(many) and few.count(b"\0") <= 0.55 * len(few)
