"""Lines of text from files, pipes and people.

A line ends at a line feed and nowhere else, so that outputs keep to the lines of their inputs. What is not UTF-8 is
read with replacement characters and reported with its place: dropping it would shift every line after it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from seq2seq.errors import UserError

log = logging.getLogger(__name__)


def read_lines(path: str | Path) -> Iterator[str]:
    """The lines of a file."""
    try:
        with Path(path).open("rb") as file:
            yield from decoded(file, str(path))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error


def decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    """Text of raw lines, without their ends."""
    for number, line in enumerate(lines, 1):
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            log.warning("%s:%d: not UTF-8 at byte %d; read with replacement characters", name, number, error.start + 1)
            yield line.decode("utf-8", errors="replace")


def prompted() -> Iterator[str]:
    """What a person types, until end of file; the prompt goes to stderr, where it is in nobody's way."""
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            print(file=sys.stderr)
            return
        yield line.rstrip("\n")
