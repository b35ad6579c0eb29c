"""Text from files, pipes and people: UTF-8, whatever the locale is.

All text of users is opened here. A line ends at a line feed and nowhere else, so that outputs keep to the lines of
their inputs. A byte-order mark at the head is no letter. A file in UTF-16 is refused.
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
LOOKED_AT = 10  # lines at the head of a file that tell its encoding
OTHER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)  # UTF-32's little-endian one begins alike


@contextmanager
def open_lines(path: str | Path) -> Iterator[Iterator[bytes]]:
    """Open a text file as its lines: see ``raw_lines``.

    Raises:
        UserError: The file can't be read, or looks like UTF-16.
    """
    if "\0" in str(path):
        raise UserError(f"{path!r} is no path: it has a NUL character")
    try:
        with Path(path).open("rb") as file:
            yield raw_lines(file, str(path))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error


def raw_lines(file: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Yield the lines of a binary file with their ends, but without a byte-order mark.

    Raises:
        UserError: The first lines look like UTF-16 or UTF-32.
    """
    for number, line in enumerate(file, 1):
        if number <= LOOKED_AT and _is_wide(line, first=number == 1):
            raise UserError(f"{name} looks like UTF-16, not UTF-8: convert it (iconv -f UTF-16 -t UTF-8)")
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
            if not line:
                continue  # a mark and nothing else
        yield line


def without_end(line: bytes) -> bytes:
    """Return a line without its line feed and the carriage return before it."""
    return line.removesuffix(b"\n").removesuffix(b"\r")


def read_lines(path: str | Path) -> Iterator[str]:
    """Yield the lines of a file, without their ends."""
    with open_lines(path) as lines:
        yield from decoded(lines, str(path))


def read_text(path: str | Path) -> str:
    """Return all of a file as one strict UTF-8 text.

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
    """Yield the lines of standard input, without their ends, as soon as they are there."""
    yield from decoded(raw_lines(sys.stdin.buffer, "stdin"), "stdin")


def decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    """Yield the text of raw lines; what is not UTF-8 becomes replacement characters, with a warning.

    To drop such a line would shift every line after it.
    """
    for number, line in enumerate(lines, 1):
        line = without_end(line)
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            log.warning("%s:%d: not UTF-8 at byte %d; read with replacement characters", name, number, error.start + 1)
            yield line.decode(errors="replace")


def flaw(text: str) -> str | None:
    """Say what keeps ``text`` from being used: half a surrogate pair, which no UTF-8 file can hold, or a NUL."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return SURROGATE
    return "a NUL character" if "\0" in text else None


def usable(text: str, place: str) -> str:
    """Return ``text``, or an empty text and a warning that names ``place`` where it has a ``flaw``."""
    if (reason := flaw(text)) is None:
        return text
    log.warning("%s: %s; its output is empty", place, reason)
    return ""


def prompted() -> Iterator[str]:
    """Yield what a person types, until end of file; the prompt goes to stderr, where it is in nobody's way."""
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            print(file=sys.stderr)
            return
        yield line.rstrip("\n")


def speak_utf8() -> None:
    """Read and write the standard streams as UTF-8, whatever the locale is; what can't be written is escaped."""
    for stream, errors in (
        (sys.stdin, "replace"),
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
    ):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)


def _is_wide(line: bytes, *, first: bool) -> bool:
    """Whether a line is of UTF-16 or UTF-32: it begins with their mark, or every other byte is NUL."""
    if first and line.startswith(OTHER_MARKS):
        return True
    few, many = sorted((line[0::2], line[1::2]), key=lambda half: half.count(b"\0"))
    most = many.count(b"\0")
    return most >= 3 and most >= 0.6 * len(many) and few.count(b"\0") <= 0.55 * len(few)
