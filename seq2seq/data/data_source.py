"""The records of a dataset: a reader, where it reads, and what happens to records that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from seq2seq.data.readers.reader import DataLocation, Reader, canonical
from seq2seq.data.record_policy import Policy, Report, accepted
from seq2seq.data.records import Record
from seq2seq.errors import UserError


@dataclass(frozen=True)
class DataSource:
    """Splits as the usable records that a reader yields; ``streaming`` downloads as it goes."""

    reader: Reader
    at: DataLocation
    policy: Policy
    streaming: bool = False

    def has(self, split: str) -> bool:
        """Whether there is such a split, by this name or an alias."""
        return canonical(split) in map(canonical, self.reader.splits(self.at))

    def find(self, split: str) -> str:
        """Return the dataset's own name for ``split``."""
        return self.reader.find(split, self.at)

    def records(self, name: str, report: Report) -> Iterator[tuple[str, Record]]:
        """Yield (place, record) of the split of that very name; what is unusable is counted in ``report``."""
        yield from accepted(self.reader.rows(name, self.at, streaming=self.streaming), self.policy, report)

    def fingerprint(self, name: str) -> tuple[object, ...]:
        """Return what changes when the records of a split may be others."""
        kind, content = type(self.reader).__name__, self.reader.fingerprint(name, self.at)
        return kind, content, self.at.source, self.at.target, vars(self.policy)

    def empty(self, name: str, report: Report) -> UserError:
        """Return the error that says why a split has no records."""
        files, reasons = self.reader.files(name, self.at), "; ".join(report.lines(shown=3)) or "it is empty"
        return UserError(f"{files} has no record that can be used (data.path={self.at.path}): {reasons}")
