"""Reader of datasets of the Hugging Face hub, or of local copies of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import datasets
import pyarrow as pa
from typing_extensions import override

from seq2seq.data.readers.reader import DataLocation, Reader, Tabular
from seq2seq.data.readers.rows import FORMATS, NOT_UTF8, RowOrFault
from seq2seq.data.readers.tables import TableReader
from seq2seq.data.readers.text import ParallelTextReader
from seq2seq.data.records import Row
from seq2seq.errors import UserError


@dataclass(frozen=True)
class HubReader(Tabular):
    """Reader of a dataset of the Hugging Face hub at a fixed revision, or of a local copy of it at ``data.path``.

    The copy has either the files of the repository, or ``SPLIT.LANGUAGE`` files of text.

    Args:
        repository: Name of the dataset on the hub.
        revision: Revision of the dataset.
        configuration: Configuration of the dataset.
        parts: Name on the hub of each split.
        jsonl: Address of the jsonl files if the dataset lies elsewhere; {revision} and {split} are filled in.
        files_of: Files of each part on the hub, where the names of the files do not tell their part.
    """

    repository: str
    revision: str
    configuration: str | None = None
    parts: Mapping[str, str] = field(default_factory=lambda: {"train": "train", "valid": "validation", "test": "test"})
    jsonl: str | None = None
    files_of: Mapping[str, Sequence[str]] | None = None

    @override
    def splits(self, at: DataLocation) -> list[str]:
        return self._copy(at).splits(at) if at.path else list(self.parts)

    @override
    def rows(self, split: str, at: DataLocation, *, streaming: bool = False) -> Iterator[Row]:
        if at.path:
            yield from self._copy(at).rows(split, at)
            return
        # Number the entries, because rows of the hub have no lines.
        found = enumerate(_converted(self._load(split, streaming), self.repository))
        entries = ((f"{self.repository} {self.parts[split]}:{number}", entry) for number, entry in found)
        yield from self.columns(at).rows(entries, uniform=not streaming)

    @override
    def fingerprint(self, split: str, at: DataLocation) -> str:
        if at.path:
            return self._copy(at).fingerprint(split, at)
        # The revision stands for the content.
        values = (
            self.repository,
            self.revision,
            self.configuration,
            self.parts[split],
            self.jsonl,
            self.options,
            self.files_of,
        )
        return " ".join(map(str, values))

    @override
    def unread(self, at: DataLocation) -> dict[str, str]:
        names = "repository", "revision", "configuration", "parts", "jsonl", "files_of"
        return {f"reader.{name}": f"records are read from data.path={at.path}" for name in names} if at.path else {}

    def _load(self, split: str, streaming: bool) -> Iterable[Mapping[str, Any]]:
        """Return the entries of a split from the hub, or from the address ``jsonl``."""
        part = self.parts[split]
        records: Iterable[Mapping[str, Any]]
        with naming_errors(self.repository, "its own site" if self.jsonl else "the hub"):
            # Load the files at the given address.
            if self.jsonl:
                file = self.jsonl.format(revision=self.revision, split=part)
                records = datasets.load_dataset("json", data_files={"train": file}, split="train", streaming=streaming)
                return records
            # Load the dataset from the hub.
            files = {name: list(given) for name, given in (self.files_of or {}).items()}
            loaded = datasets.load_dataset(
                self.repository,
                self.configuration,
                revision=self.revision,
                split=part,
                streaming=streaming,
                **({"data_files": files} if files else {}),
            )
            # Keep images as bytes.
            for name, feature in (loaded.features or {}).items():
                if isinstance(feature, datasets.Image):  # images are opened when they are needed
                    loaded = loaded.cast_column(name, datasets.Image(decode=False))
            records = loaded
        return records

    def _copy(self, at: DataLocation) -> Reader:
        """Return the reader of the local copy."""
        # Text files win over tables.
        if any(at.folder.glob(f"*.{at.source}")):
            return ParallelTextReader()
        if any(file.suffix[1:] in FORMATS for file in at.folder.iterdir()):
            return TableReader(column=self.column, references=self.references, language=self.language)
        raise UserError(
            f"{at.folder} has neither SPLIT.{at.source} and SPLIT.{at.target} nor SPLIT.{{{','.join(FORMATS)}}} files"
        )


@contextmanager
def naming_errors(name: str, where: str) -> Iterator[None]:
    """Turn errors of a download into a ``UserError`` with the remedy.

    Args:
        name: Name of the dataset or of the file.
        where: Place from which it is loaded.
    """
    try:
        yield
    except (OSError, ValueError) as error:  # the library and its HTTP layer raise these
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{name} cannot be loaded from {where} ({reason}); "
            "download it on a machine with a network, and set data.path=DIR"
        ) from error


def _converted(loaded: Iterable[Mapping[str, Any]], name: str) -> Iterator[RowOrFault]:
    """Yield the entries of a dataset of the hub. An entry that cannot be converted is a bad row.

    Args:
        loaded: Dataset from the library. In a stream, which has no row numbers, such an entry is an error.
        name: Name of the dataset, for messages.

    Raises:
        UserError: The rest of the dataset cannot be read.
    """
    rows, number = iter(loaded), 0
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except UnicodeDecodeError as error:
            if not isinstance(loaded, datasets.Dataset):
                raise UserError(f"{name}:{number}: not UTF-8") from error
            yield NOT_UTF8
            # Go on after the bad row.
            rows = iter(loaded.select(range(number + 1, len(loaded))))
        except (OSError, ValueError, pa.ArrowException) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"{name} can't be read after row {number}: {reason}"[:300]) from error
        number += 1
