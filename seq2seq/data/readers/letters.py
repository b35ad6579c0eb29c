"""Reader of strings of letters: tab-separated files without a header, with one file for each language and split.

The form is that of the SIGMORPHON shared tasks: lemma, features and form, or word and phones. Texts are brought to the
normal form NFC. A bundle of features such as ``V;NOM(MASC,SG,3)`` becomes its parts, ``<V> <NOM> <MASC> <SG> <3>``, so
that bundles share what they have in common and a new bundle consists of known symbols.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import datasets
from typing_extensions import override

from seq2seq.data.letters import has_feature
from seq2seq.data.readers.hub import naming_errors
from seq2seq.data.readers.reader import DataLocation, Reader, digest
from seq2seq.data.readers.text import lines_of
from seq2seq.data.records import Fault, Record, Row, group_id
from seq2seq.errors import UserError

FEATURES = "features"
"""Name of the column of features."""
NOT_NFC = "not in the normal form NFC"


@dataclass(frozen=True)
class LetterReader(Reader):
    """Reader of tab-separated files of letters, from ``data.path`` or from their home.

    Args:
        names: Name of the file of each split; {language} is filled in, and ``a|b`` is the first that exists.
        columns: Names of the columns in their order; the column ``features`` holds features.
        home: Address of the file of each split, likewise; None for data that have no home.
    """

    names: Mapping[str, str]
    columns: Sequence[str]
    home: Mapping[str, str] | None = None
    reads: ClassVar[Collection[str]] = ("group", "language", "features")

    @override
    def splits(self, at: DataLocation) -> list[str]:
        self._check(at)
        if at.path is None and self.home is not None:
            return list(self.home)
        return [split for split in self.names if self._file(split, at).is_file()]

    @override
    def rows(self, split: str, at: DataLocation, *, streaming: bool = False) -> Iterator[Row]:
        lines, name = self._lines(split, at)
        for number, line in enumerate(lines, 1):
            yield self._row(line, f"{name}:{number}", at)

    @override
    def fingerprint(self, split: str, at: DataLocation) -> str:
        content = digest([self._file(split, at)]) if at.path else self._address(split, at)
        return f"{content} {list(self.columns)} {at.language} {at.features}"

    @override
    def files(self, split: str, at: DataLocation) -> str:
        return self._address(split, at) if at.path is None and self.home else str(self._file(split, at))

    @override
    def unread(self, at: DataLocation) -> dict[str, str]:
        reasons = {"reader.home": f"records are read from data.path={at.path}"} if at.path else {}
        if FEATURES not in self.columns:
            reasons["features"] = "the files have no column of features"
        if not any("{language}" in name for name in self.names.values()):
            reasons["language"] = "the names of the files have no language"
        return reasons

    def _check(self, at: DataLocation) -> None:
        """Refuse names of columns or of a language that do not exist, and a column that is named twice."""
        if twice := [name for n, name in enumerate(self.columns) if name in self.columns[:n]]:
            raise UserError(f"data.reader.columns={list(self.columns)} names {twice[0]} twice; give each column a name")
        for option, name in (("source", at.source), ("target", at.target), ("group", at.group)):
            if name is not None and name not in self.columns:
                raise UserError(f"data.{option}={name} is none of the columns {', '.join(self.columns)}")
        if not any("{language}" in name for name in self.names.values()):
            return
        if at.language is None:
            raise UserError(f"data.language=null: choose a language{self._languages(at)}")
        if at.path is not None and not any(self._file(split, at).is_file() for split in self.names):
            raise UserError(f"data.language={at.language} has no files in {at.folder}{self._languages(at)}")

    def _languages(self, at: DataLocation) -> str:
        """Return the languages that a local copy has, for messages."""
        if at.path is None:
            return ", for example data.language=deu"
        patterns = [re.escape(name).replace(r"\{language\}", "(.+)") for name in self._names("train")]
        names = [file.name for file in at.folder.iterdir()]
        found = sorted({match[1] for name in names for one in patterns if (match := re.fullmatch(one, name))})
        return f"; there are {', '.join(found)}" if found else f"; {at.listing()}"

    def _names(self, split: str) -> list[str]:
        """Return the names that the file of a split may have."""
        return self.names[split].split("|")

    def _file(self, split: str, at: DataLocation) -> Path:
        """Return the first file of a split that exists, or the one with the first name."""
        files = [at.folder / name.replace("{language}", at.language or "") for name in self._names(split)]
        return next((file for file in files if file.is_file()), files[0])

    def _address(self, split: str, at: DataLocation) -> str:
        """Return the address of a split."""
        return (self.home or {})[split].replace("{language}", at.language or "")

    def _lines(self, split: str, at: DataLocation) -> tuple[Iterator[str | bytes], str]:
        """Return the lines of a split and their name; a line that is not UTF-8 stays bytes."""
        if at.path is None and self.home is not None:
            address = self._address(split, at)
            with naming_errors(address, "its home"):
                loaded = datasets.load_dataset("text", data_files={"train": address}, split="train")
            return (entry["text"] for entry in loaded), address.rpartition("/")[2]
        file = self._file(split, at)
        return lines_of(file), file.name

    def _row(self, line: str | bytes, place: str, at: DataLocation) -> Row:
        """Return the record of a line, or its problem."""
        if isinstance(line, bytes):
            return Row(place, problem="not UTF-8")
        if not line.strip():
            return Row(place, problem="empty")
        if len(cells := line.split("\t")) != len(self.columns):
            reason = f"{len(cells)} cells, but {len(self.columns)} columns: {', '.join(self.columns)}"
            return Row(place, problem="malformed", reason=reason)
        # Bring the texts to one normal form, so that equal letters are equal symbols.
        entry = {name: " ".join(nfc(cell).split()) for name, cell in zip(self.columns, cells, strict=True)}
        if not (entry[at.source] and entry[at.target]):
            return Row(place, problem="empty")
        for name in (at.source, at.target):
            if reason := _wrong(entry[name]):
                return Row.bad(place, Fault("malformed", f"{name} {reason}"))
        features = entry.get(FEATURES, "") if at.features != "none" else ""
        if FEATURES in self.columns and at.features != "none" and not parts_of(features):
            return Row(place, problem="malformed", reason="no features")
        record = Record(source=with_features(entry[at.source], features, at.features), target=entry[at.target])
        if at.group is not None:
            record["group"] = group_id(entry[at.group])
        return Row(place, record, note="" if nfc(line) == line else NOT_NFC)


def nfc(text: str) -> str:
    """Return a text in the normal form NFC.

    Args:
        text: Any text.
    """
    return unicodedata.normalize("NFC", text)


def parts_of(features: str) -> list[str]:
    """Return the parts of a bundle of features: ``V;NOM(SG,3)`` has V, NOM, SG, 3.

    Args:
        features: Bundle in the notation of UniMorph.
    """
    return re.findall(r"[^;,()\s<>]+", features)


def with_features(text: str, features: str, where: str) -> str:
    """Return the source of a lemma and its features.

    Args:
        text: The lemma.
        features: Bundle of features in the notation of UniMorph; empty for none.
        where: Place of the features: prefix, suffix or none.
    """
    parts = [] if where == "none" else [f"<{part}>" for part in parts_of(features)]
    return " ".join([*parts, text] if where == "prefix" else [text, *parts])


def _wrong(text: str) -> str:
    """Return why a text cannot be a string of letters, or an empty text."""
    if unicodedata.combining(text[0]):
        return f"starts with the combining mark U+{ord(text[0]):04X}"
    return "holds <...>, which is the notation of features" if has_feature(text) else ""
