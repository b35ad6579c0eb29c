"""Gold word alignments and the files that hold them.

Each line of a file is a JSON object, ``{"src": [word], "tgt": [word], "sure": [[i, j]], "possible": [[i, j]]}``.
Indices count from 0, i in src and j in tgt. ``possible`` may be missing and need not repeat the sure links.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seq2seq.errors import UserError
from seq2seq.files.text import flaw, open_lines
from seq2seq.metrics.links import Link


@dataclass(frozen=True)
class GoldLinks:
    """Words and gold links of a sentence pair. Sure links are also possible links: S ⊆ P."""

    source: tuple[str, ...]  # words
    target: tuple[str, ...]  # words
    sure: frozenset[Link]
    possible: frozenset[Link]

    def __post_init__(self) -> None:
        # Setting the attribute directly is not possible in a frozen dataclass.
        object.__setattr__(self, "possible", self.possible | self.sure)
        for i, j in sorted(self.possible):
            if not (0 <= i < len(self.source) and 0 <= j < len(self.target)):
                size = f"{len(self.source)} source and {len(self.target)} target words"
                raise UserError(f"link {i}-{j} points outside {size}; indices count from 0")

    @staticmethod
    def of(
        source: Iterable[str],
        target: Iterable[str],
        sure: Iterable[Iterable[int]],
        possible: Iterable[Iterable[int]] = (),
    ) -> GoldLinks:
        """Return gold links from any sequences of words and of pairs.

        Args:
            source: Words of the source.
            target: Words of the target.
            sure: Sure links as pairs [i, j].
            possible: Possible links as pairs [i, j].

        Raises:
            UserError: A link points outside the words.
        """
        return GoldLinks(tuple(source), tuple(target), _links(sure), _links(possible))

    def swapped(self) -> GoldLinks:
        """Return the same alignment with source and target exchanged."""
        sure, possible = (frozenset((j, i) for i, j in links) for links in (self.sure, self.possible))
        return GoldLinks(self.target, self.source, sure, possible)


def read_gold(path: str | Path) -> list[GoldLinks]:
    """Return the sentence pairs of a gold file. Empty lines are skipped.

    Args:
        path: File with one JSON object on each line.

    Raises:
        UserError: The file cannot be read, a line is wrong (the message names it), or there are no sentence pairs.
    """
    pairs = []
    with open_lines(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                # Add the place to messages about the line.
                try:
                    pairs.append(_parse(line))
                except UserError as error:
                    raise UserError(f"{path}, line {number}: {error}") from error
    if not pairs:
        raise UserError(f"{path}: no sentence pairs; write a JSON object {{src, tgt, sure, possible}} on each line")
    return pairs


def _parse(line: bytes) -> GoldLinks:
    """Return the sentence pair of a line, or raise a UserError that says what is wrong with the line."""
    # Decode the line.
    try:
        entry = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise UserError(f"not JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"not JSON: {' '.join(str(error).split())}") from error

    # Check the keys.
    if not isinstance(entry, dict):
        raise UserError("not a JSON object {src, tgt, sure, possible}")
    if missing := [key for key in ("src", "tgt", "sure") if key not in entry]:
        raise UserError(f"no {missing[0]!r}; each line needs src, tgt and sure, and may have possible")

    # Check words and links.
    for key in ("src", "tgt"):
        if not (isinstance(entry[key], list) and entry[key] and all(isinstance(word, str) for word in entry[key])):
            raise UserError(f"{key!r} must be a list of words")
        if reason := next(filter(None, map(flaw, entry[key])), None):
            raise UserError(f"{key!r} has {reason}")
    for key in ("sure", "possible"):
        pairs = entry.setdefault(key, [])
        if not (isinstance(pairs, list) and all(_is_pair(pair) for pair in pairs)):
            raise UserError(f"{key!r} must be a list of pairs [i, j] of word indices")
    return GoldLinks.of(entry["src"], entry["tgt"], entry["sure"], entry["possible"])


def _is_pair(value: Any) -> bool:
    """Return whether a JSON value is a pair of whole numbers."""
    # ``type`` is compared exactly, because a boolean is also an instance of ``int``.
    return isinstance(value, list) and len(value) == 2 and all(type(index) is int for index in value)


def _links(pairs: Iterable[Iterable[int]]) -> frozenset[Link]:
    """Return pairs of any integer type as links."""
    return frozenset((int(i), int(j)) for i, j in pairs)
