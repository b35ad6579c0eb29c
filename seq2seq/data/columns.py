"""From an entry of a table, a mapping of columns, to a record: which columns, and what their cells may hold.

A text is a string, whose lines are its sentences where it has several, or a list of its sentences. A picture is the
path of its file, or what ``datasets`` stores: {"bytes": its file, "path": the name of it}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from seq2seq.data import sentences
from seq2seq.data.records import EXTRAS, Record, Row
from seq2seq.errors import UserError

REFERENCES = ("references", "")  # where they are looked for unasked


@dataclass(frozen=True)
class Columns:
    """Where to look: dots lead into nested columns, and numbers into lists.

    Each is several names, of which the first that an entry has counts; an empty one stands for no column.
    ``references`` are columns of further right answers, each a string or a list of strings. A source that is a string
    is split into sentences where there is a ``language``.
    """

    source: Sequence[str]
    target: Sequence[str]
    references: Sequence[Sequence[str]] = ()
    language: str | None = None

    def row(self, entry: Mapping[str, Any] | str, place: str) -> Row:
        """The record of an entry; a string instead of columns is what is wrong with it.

        Raises:
            UserError: there is no such column.
        """
        if isinstance(entry, str):
            return Row(place, problem="not UTF-8" if entry == "not UTF-8" else "malformed")
        source, target = (_cell(entry, names, place, _SIDES) for names in (self.source, self.target))
        answers = [_cell(entry, names, place, "data.reader.references") for names in (*self.references, REFERENCES)]
        if source is None or target is None:
            return Row(place, problem="empty")
        image = None
        if isinstance(source, Mapping) and source.keys() >= {"bytes", "path"}:
            image, source = source["bytes"], source["path"] or place
        try:
            source, target = self.document(source), _text(target)
            references = [text for cell in answers if cell is not None for text in _answers(cell)]
        except TypeError:
            return Row(place, problem="malformed")
        record: dict[str, Any] = {"source": source, "target": target}
        record |= {name: entry[name] for name in EXTRAS if name != "references" and entry.get(name) is not None}
        if references:
            record["references"] = list(dict.fromkeys([target, *references]))
        if image is not None:
            record["image"] = image
        return Row(place, cast(Record, record))

    def only_source(self, entry: Mapping[str, Any], place: str) -> str | None:
        """The source of an entry that needs no target; None where its cell is empty or no text."""
        cell = _cell(entry, self.source, place, _SIDES)
        try:
            return None if cell is None else self.document(cell)
        except TypeError:
            return None

    def document(self, cell: Any) -> str:
        """The text of a source's cell, split into sentences where there is a language and it is not yet.

        Raises:
            TypeError: the cell is neither a string nor a list of strings.
        """
        if isinstance(cell, str) and self.language:
            cell = sentences.split(cell, self.language)
        return _text(cell)


_SIDES = "data.source and data.target"


def _cell(entry: Mapping[str, Any], names: Sequence[str], place: str, option: str) -> Any:
    there = ""
    for name in names:
        if not name:
            return None
        try:
            return _value(entry, name)
        except KeyError as error:
            there = there or str(error.args[0])
    raise UserError(f"{place} has no column {' or '.join(map(repr, names))}, but {there}: set {option}")


def _value(entry: Mapping[str, Any], column: str) -> Any:
    """The cell of a column; a KeyError lists those that there are."""
    value: Any = entry
    for name in column.split("."):
        if isinstance(value, list) and name.isdecimal():
            value = value[int(name)] if int(name) < len(value) else None
        elif isinstance(value, Mapping) and name in value:
            value = value[name]
        else:
            raise KeyError(", ".join(value) if isinstance(value, Mapping) else "nothing")
    return value


def _text(cell: Any) -> str:
    """The text of a cell, a sentence a line; a string of one line is left as it is."""
    if isinstance(cell, str):
        return "\n".join(filter(None, map(str.strip, cell.split("\n")))) if "\n" in cell else cell
    return "\n".join(filter(None, (" ".join(sentence.split()) for sentence in _strings(cell))))


def _answers(cell: Any) -> list[str]:
    return [text for answer in ([cell] if isinstance(cell, str) else _strings(cell)) if (text := _text(answer)).strip()]


def _strings(cell: Any) -> list[str]:
    if not isinstance(cell, list) or not all(isinstance(item, str) for item in cell):
        raise TypeError
    return cell
