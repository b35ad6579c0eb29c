"""Gold word alignments and the files that hold them.

One JSON object a line, ``{"src": [word], "tgt": [word], "sure": [[i, j]], "possible": [[i, j]]}``:
indices from 0, i into src, j into tgt; ``possible`` may be missing and need not repeat the sure links.
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
    """One sentence pair's words and links. S ⊆ P always: sure links are made possible ones too."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    sure: frozenset[Link]
    possible: frozenset[Link]

    def __post_init__(self) -> None:
        object.__setattr__(self, "possible", self.possible | self.sure)
        for i, j in sorted(self.possible):
            if not (0 <= i < len(self.source) and 0 <= j < len(self.target)):
                size = f"{len(self.source)} source and {len(self.target)} target words"
                raise UserError(f"link {i}-{j} points outside {size} (indices start at 0)")

    @staticmethod
    def of(
        source: Iterable[str],
        target: Iterable[str],
        sure: Iterable[Iterable[int]],
        possible: Iterable[Iterable[int]] = (),
    ) -> GoldLinks:
        """From any sequences of words and pairs: ``GoldLinks.of(words, words, record["alignment"])``."""
        return GoldLinks(tuple(source), tuple(target), _links(sure), _links(possible))

    def swapped(self) -> GoldLinks:
        """The same alignment for translation the other way round."""
        sure, possible = (frozenset((j, i) for i, j in several) for several in (self.sure, self.possible))
        return GoldLinks(self.target, self.source, sure, possible)


def read_gold(path: str | Path) -> list[GoldLinks]:
    """The sentence pairs of a gold file; errors name the file and the line. Empty lines are passed over."""
    pairs = []
    with open_lines(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    pairs.append(_parse(line))
                except UserError as error:
                    raise UserError(f"{path}, line {number}: {error}") from error
    if not pairs:
        raise UserError(f"{path}: no sentence pairs; each line is {{src, tgt, sure, possible}}")
    return pairs


def _parse(line: bytes) -> GoldLinks:
    try:
        entry = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise UserError(f"not JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"not JSON: {' '.join(str(error).split())}") from error
    if not isinstance(entry, dict):
        raise UserError("not a JSON object {src, tgt, sure, possible}")
    if missing := [key for key in ("src", "tgt", "sure") if key not in entry]:
        raise UserError(f"no {missing[0]!r}; each line needs src, tgt and sure, and may have possible")
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
    return isinstance(value, list) and len(value) == 2 and all(type(index) is int for index in value)


def _links(pairs: Iterable[Iterable[int]]) -> frozenset[Link]:
    return frozenset((int(i), int(j)) for i, j in pairs)
