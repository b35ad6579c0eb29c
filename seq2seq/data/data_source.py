"""Source of the records of a dataset: a reader, its location, and a policy for records that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from seq2seq.data.readers.reader import DataLocation, Reader, canonical
from seq2seq.data.record_policy import Policy, Report, accepted
from seq2seq.data.records import Record
from seq2seq.errors import UserError


@dataclass(frozen=True)
class DataSource:
    """Splits of a dataset as usable records."""

    reader: Reader
    at: DataLocation
    policy: Policy
    streaming: bool = False  # whether data are downloaded while they are read

    def has(self, split: str) -> bool:
        """Return whether the dataset has a split.

        Args:
            split: Name of the split, or an alias of it.
        """
        return canonical(split) in map(canonical, self.reader.splits(self.at))

    def find(self, split: str) -> str:
        """Return the dataset's own name of a split.

        Args:
            split: Name of the split, or an alias of it.
        """
        return self.reader.find(split, self.at)

    def records(self, name: str, report: Report) -> Iterator[tuple[str, Record]]:
        """Yield (place, record) of each usable record of a split.

        Args:
            name: The dataset's own name of the split.
            report: Report that counts records that cannot be used.
        """
        yield from accepted(self.reader.rows(name, self.at, streaming=self.streaming), self.policy, report)

    def fingerprint(self, name: str) -> tuple[object, ...]:
        """Return values that change if the records of a split may have changed.

        Args:
            name: The dataset's own name of the split.
        """
        # The same files give other records with another reader, language or policy.
        kind, content = type(self.reader).__name__, self.reader.fingerprint(name, self.at)
        return kind, content, self.at.source, self.at.target, self.at.group, vars(self.policy)

    def empty(self, name: str, report: Report) -> UserError:
        """Return the error that explains why a split has no records.

        Args:
            name: The dataset's own name of the split.
            report: Report of the split.
        """
        files, reasons = self.reader.files(name, self.at), "; ".join(report.lines(shown=3)) or "it is empty"
        return UserError(f"{files} has no record that can be used (data.path={self.at.path}): {reasons}")
