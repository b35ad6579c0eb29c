"""Reader of parallel text: one file for each language, one sentence in each line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from typing_extensions import override

from seq2seq.data.readers.reader import DataLocation, Reader, digest
from seq2seq.data.records import Record, Row
from seq2seq.files.text import open_lines, without_end


@dataclass(frozen=True)
class ParallelTextReader(Reader):
    """Reader of a folder of ``SPLIT.LANGUAGE`` files; line i of one file is the translation of line i of the other.

    A split exists if it has a file in both languages.
    """

    @override
    def splits(self, at: DataLocation) -> list[str]:
        source, target = ({f.stem for f in at.folder.glob(f"*.{lang}")} for lang in (at.source, at.target))
        return sorted(source & target)

    @override
    def rows(self, split: str, at: DataLocation, *, streaming: bool = False) -> Iterator[Row]:
        source, target = self._files(split, at)
        for number, (left, right) in enumerate(zip_longest(lines_of(source), lines_of(target)), 1):
            first, second = f"{source.name}:{number}", f"{target.name}:{number}"
            if left is None or right is None:
                yield Row(second if left is None else first, problem="without a counterpart")
            elif isinstance(left, bytes) or isinstance(right, bytes):
                yield Row(first if isinstance(left, bytes) else second, problem="not UTF-8")
            else:
                # If only the target is empty, the target's line is the place of the problem.
                yield Row(second if left.strip() and not right.strip() else first, Record(source=left, target=right))

    @override
    def fingerprint(self, split: str, at: DataLocation) -> str:
        return digest(self._files(split, at))

    @override
    def files(self, split: str, at: DataLocation) -> str:
        return " with ".join(map(str, self._files(split, at)))

    def _files(self, split: str, at: DataLocation) -> list[Path]:
        """Return the source file and the target file of a split."""
        return [at.folder / f"{split}.{language}" for language in (at.source, at.target)]


def lines_of(path: Path) -> Iterator[str | bytes]:
    """Yield the lines of a file without their ends; a line that is not UTF-8 stays bytes.

    Args:
        path: Path of the file.
    """
    with open_lines(path) as lines:
        for raw in lines:
            line = without_end(raw)
            try:
                yield line.decode()
            except UnicodeDecodeError:
                yield line
