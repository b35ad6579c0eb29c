"""Where records come from: folders of parallel text, tables, the hub; row by row, so that all of them can stream."""

from __future__ import annotations

import hashlib
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

import datasets

from seq2seq.data import sentences
from seq2seq.data.columns import Columns
from seq2seq.data.records import Record, Row
from seq2seq.data.tables import FORMATS
from seq2seq.errors import UserError

log = logging.getLogger(__name__)

ALIASES = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "tst", "eval", "test_2016_flickr", "test2016"),
}


@dataclass(frozen=True)
class Location:
    """What the user says of where to read: a folder (of a local copy) or one table, and two languages or columns."""

    path: Path | None
    source: str
    target: str

    @property
    def folder(self) -> Path:
        """``path``, which has to be there."""
        if self.path is None:
            raise UserError("this dataset is read from a folder: say data.path=DIR")
        if not self.path.is_dir():
            missing = f"no such {'file' if self.path.suffix[1:] in FORMATS else 'folder'}"
            there = "a file, and this dataset is read from a folder" if self.path.is_file() else missing
            raise UserError(f"{self.path}: {there} (data.path)")
        return self.path

    @property
    def table(self) -> Path | None:
        """``path``, where it is a table by itself.

        Raises:
            UserError: it is a file of another kind.
        """
        if self.path is None or not self.path.is_file():
            return None
        if self.path.suffix[1:] not in FORMATS:
            raise UserError(f"{self.path} is neither a folder nor a {', '.join(FORMATS)} file (data.path)")
        return self.path

    @property
    def root(self) -> Path:
        """Where paths in a table start from."""
        return self.folder if self.table is None else self.table.parent


def canonical(split: str) -> str:
    """``valid`` for ``val``, ``validation`` and ``dev``, and so on; other names stay."""
    return next((name for name, names in ALIASES.items() if split in names), split)


class Reader(ABC):
    """Rows of named splits."""

    @abstractmethod
    def splits(self, at: Location) -> list[str]:
        """The names of the splits that there are."""

    @abstractmethod
    def rows(self, split: str, at: Location, *, streaming: bool = False) -> Iterator[Row]:
        """The rows of the split of that very name; ``streaming`` downloads as it goes."""

    @abstractmethod
    def fingerprint(self, split: str, at: Location) -> str:
        """Another one when the rows may be others."""

    def files(self, split: str, at: Location) -> str:
        """What a split of that name would be read from."""
        return f"split {split}"

    def find(self, split: str, at: Location) -> str:
        """This dataset's name for ``split``: that name itself, or an alias of it."""
        there = self.splits(at)
        for name in (split, *ALIASES.get(canonical(split), ())):
            if name in there:
                return name
        raise UserError(
            f"there is no {self.files(split, at)}, only the splits: {', '.join(there) or 'none'} "
            f"(data.path={at.path or 'null'} data.source={at.source} data.target={at.target})"
        )


@dataclass(frozen=True)
class ParallelText(Reader):
    """A folder of ``SPLIT.LANGUAGE`` files: line i of one is the translation of line i of the other."""

    def splits(self, at: Location) -> list[str]:
        """Those with a file of both languages."""
        source, target = ({f.stem for f in at.folder.glob(f"*.{lang}")} for lang in (at.source, at.target))
        return sorted(source & target)

    def rows(self, split: str, at: Location, *, streaming: bool = False) -> Iterator[Row]:
        """One a line."""
        source, target = self._files(split, at)
        for number, (left, right) in enumerate(zip_longest(_lines(source), _lines(target)), 1):
            first, second = f"{source.name}:{number}", f"{target.name}:{number}"
            if left is None or right is None:
                yield Row(second if left is None else first, problem="without a counterpart")
            elif isinstance(left, bytes) or isinstance(right, bytes):
                yield Row(first if isinstance(left, bytes) else second, problem="not UTF-8")
            else:
                yield Row(second if left.strip() and not right.strip() else first, Record(source=left, target=right))

    def fingerprint(self, split: str, at: Location) -> str:
        """Of the files' content."""
        return digest(self._files(split, at))

    def files(self, split: str, at: Location) -> str:
        """Both."""
        return " with ".join(map(str, self._files(split, at)))

    def _files(self, split: str, at: Location) -> list[Path]:
        return [at.folder / f"{split}.{language}" for language in (at.source, at.target)]


@dataclass(frozen=True)
class Tabular(Reader):
    """Records that are rows of a table.

    ``column`` names the column of a language, which stands for ``{}``. ``a|b`` is whichever column there is, ``a|``
    one that need not be there. ``references`` and ``language`` as for ``Columns``.
    """

    column: str = field(default="{}", kw_only=True)
    references: Sequence[str] = field(default=(), kw_only=True)
    language: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Checks the language."""
        if self.language is not None:
            sentences.check(self.language)
        if isinstance(self.references, str):
            raise UserError(f"data.reader.references={self.references} must be a list: [{self.references}]")

    def columns(self, at: Location) -> Columns:
        """Where in a row to look."""
        source, target = ([self.column.format(name) for name in names.split("|")] for names in (at.source, at.target))
        return Columns(source, target, [names.split("|") for names in self.references], self.language)

    @property
    def options(self) -> str:
        """What the rows depend on beside the table's content."""
        splitter = f"{self.language} {version('sentencex')}" if self.language else ""
        return f"{self.column} {list(self.references)} {splitter}"


@dataclass(frozen=True)
class Table(Tabular):
    """A folder of ``SPLIT.FORMAT`` files (or ``SPLIT-00000-of-00002.FORMAT``), one record a row; or one such file,
    whose rows are of the split that their column ``split`` names, or else, by a hash of their sources, a tenth each of
    valid and of test. Its split ``all`` is the whole of it.
    """

    format: str = "any"  # jsonl | csv | tsv | parquet; any = the first of these that the folder has

    def __post_init__(self) -> None:
        """Checks the format."""
        super().__post_init__()
        if self.format not in ("any", *FORMATS):
            raise UserError(f"data.reader.format={self.format} is none of: any, {', '.join(FORMATS)}")

    def splits(self, at: Location) -> list[str]:
        """The names of the files of the format; of one file, those that its rows are of."""
        if at.table is not None:
            return list(_splits_in(at.table, at.table.stat().st_mtime_ns))
        return sorted({_split_of(file) for file in at.folder.glob(f"*.{self._format(at)}")})

    def rows(self, split: str, at: Location, *, streaming: bool = False) -> Iterator[Row]:
        """One a row of the file."""
        if at.table is not None:
            yield from (row for part, row in self._parts(at.table, at) if split in ("all", part))
            return
        columns, form = self.columns(at), self._format(at)
        for file in self._files(split, at):
            for number, entry in FORMATS[form](file):
                yield columns.row(entry, f"{file.name}:{number}")

    def fingerprint(self, split: str, at: Location) -> str:
        """Of the files' content."""
        part = "" if at.table is None else f" {split}"
        return digest(self._files(split, at)) + self.options + part

    def files(self, split: str, at: Location) -> str:
        """The file, or the first part of it."""
        if at.table is not None:
            return f"split {split} in {at.table}"
        return str(at.folder / f"{split}.{self._format(at)}")

    def _parts(self, table: Path, at: Location) -> Iterator[tuple[str, Row]]:
        """Each row with the split that it is of; what is wrong is told of train."""
        columns = self.columns(at)
        for number, entry in FORMATS[table.suffix[1:]](table):
            row = columns.row(entry, f"{table.name}:{number}")
            if row.record is None or isinstance(entry, str):
                yield "train", row
            elif "split" not in entry:
                yield _part(row.record), row
            elif entry["split"]:
                yield canonical(str(entry["split"])), row
            else:
                raise UserError(f"{table}:{number}: the column split says nothing (it is train, valid, test ...)")

    def _files(self, split: str, at: Location) -> list[Path]:
        if at.table is not None:
            return [at.table]
        return sorted(file for file in at.folder.glob(f"*.{self._format(at)}") if _split_of(file) == split)

    def _format(self, at: Location) -> str:
        if self.format != "any":
            return self.format
        for name in FORMATS:
            if any(at.folder.glob(f"*.{name}")):
                return name
        raise UserError(f"{at.folder} has no SPLIT.{{{','.join(FORMATS)}}} files (data.path)")


@dataclass(frozen=True)
class Hub(Tabular):
    """A dataset of the Hugging Face hub at a fixed revision, or a local copy of it at ``data.path``.

    The copy may be the repository's own files, or ``SPLIT.LANGUAGE`` files of text. ``jsonl`` is for a set that lives
    elsewhere: the address of its jsonl files, in which {revision} and {split} are filled in. ``files_of`` names those
    of each part, where their names stand for their content.
    """

    repository: str
    revision: str
    configuration: str | None = None
    parts: Mapping[str, str] = field(default_factory=lambda: {"train": "train", "valid": "validation", "test": "test"})
    jsonl: str | None = None
    files_of: Mapping[str, Sequence[str]] | None = None

    def splits(self, at: Location) -> list[str]:
        """The names in ``parts``, or of a local copy's files."""
        return self._copy(at).splits(at) if at.path else list(self.parts)

    def rows(self, split: str, at: Location, *, streaming: bool = False) -> Iterator[Row]:
        """One an entry."""
        if at.path:
            yield from self._copy(at).rows(split, at)
            return
        columns = self.columns(at)
        for number, entry in enumerate(self._load(split, streaming)):
            yield columns.row(entry, f"{self.repository} {self.parts[split]}:{number}")

    def fingerprint(self, split: str, at: Location) -> str:
        """The revision stands for the content."""
        if at.path:
            return self._copy(at).fingerprint(split, at)
        of = (
            self.repository,
            self.revision,
            self.configuration,
            self.parts[split],
            self.jsonl,
            self.options,
            self.files_of,
        )
        return " ".join(map(str, of))

    def _load(self, split: str, streaming: bool) -> Iterable[Mapping[str, Any]]:
        part = self.parts[split]
        try:
            if self.jsonl:
                file = self.jsonl.format(revision=self.revision, split=part)
                return datasets.load_dataset("json", data_files={"train": file}, split="train", streaming=streaming)
            files = {name: list(given) for name, given in (self.files_of or {}).items()}
            loaded = datasets.load_dataset(
                self.repository,
                self.configuration,
                revision=self.revision,
                split=part,
                streaming=streaming,
                **({"data_files": files} if files else {}),
            )
            for name, feature in (loaded.features or {}).items():
                if isinstance(feature, datasets.Image):  # opened when they are needed
                    loaded = loaded.cast_column(name, datasets.Image(decode=False))
            return loaded
        except (OSError, ValueError) as error:  # what datasets and its HTTP layer raise is one of these
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"cannot load {self.repository} from {'its home' if self.jsonl else 'the hub'} ({reason}); download it "
                "where there is a network, and set data.path=DIR"
            ) from error

    def _copy(self, at: Location) -> Reader:
        if any(at.folder.glob(f"*.{at.source}")):
            return ParallelText()
        if any(file.suffix[1:] in FORMATS for file in at.folder.iterdir()):
            return Table(column=self.column, references=self.references, language=self.language)
        raise UserError(
            f"{at.folder} has neither SPLIT.{at.source} and SPLIT.{at.target} nor SPLIT.{{{','.join(FORMATS)}}} files"
        )


def digest(files: Iterable[Path]) -> str:
    """SHA-256 of the content of ``files``."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _lines(path: Path) -> Iterator[str | bytes]:
    """Lines without their ends, cut at newlines only; bytes where a line is not UTF-8."""
    with path.open("rb") as file:
        for number, raw in enumerate(file):
            line = raw.rstrip(b"\r\n")
            try:
                yield line.decode("utf-8" if number else "utf-8-sig")
            except UnicodeDecodeError:
                yield line


def _part(record: Record) -> str:
    """Of ten sources one is valid and one is test, the same wherever they stand."""
    content = record.get("image") or record["source"].encode()
    return {0: "valid", 1: "test"}.get(hashlib.sha256(content).digest()[0] % 10, "train")


@lru_cache
def _splits_in(table: Path, changed: int) -> tuple[str, ...]:
    """Those of one table, last ``changed`` then; said once where nobody says them."""
    named: set[str] = set()
    for _, entry in FORMATS[table.suffix[1:]](table):
        if isinstance(entry, Mapping) and "split" not in entry:
            log.info("%s has no column split: by a hash of its sources a tenth each is valid and test", table)
            return "all", "test", "train", "valid"
        if isinstance(entry, Mapping) and entry["split"]:
            named.add(canonical(str(entry["split"])))
    return "all", *sorted(named)


def _split_of(file: Path) -> str:
    return re.sub(r"-\d+-of-\d+$", "", file.stem)
