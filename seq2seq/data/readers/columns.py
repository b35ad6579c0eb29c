"""From an entry of a table, a mapping of columns, to a record: which columns, and what their cells may hold.

A text is a string, whose lines are its sentences where it has several, or a list of its sentences. An image is the
path of its file, or what ``datasets`` stores: {"bytes": its file, "path": the name of it}.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from seq2seq.data.readers import sentences
from seq2seq.data.readers.rows import RowOrFault
from seq2seq.data.records import EXTRAS, Fault, Record, Row
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

    def rows(self, entries: Iterable[tuple[str, RowOrFault]], *, uniform: bool = False) -> Iterator[Row]:
        """Yield a row for each (place, entry). One that lacks a column which others have is malformed.

        Raises:
            UserError: No entry has the column. Where all entries are ``uniform``, the first one tells.
        """
        first: MissingColumn | None = None
        found = False
        for row_place, entry in entries:
            try:
                row = self.row(entry, row_place)
            except MissingColumn as error:
                if uniform:
                    raise
                first = first or error
                row = Row.bad(row_place, error.fault)
            else:
                found = found or isinstance(entry, Mapping)
            yield row
        if first is not None and not found:
            raise first

    def row(self, entry: RowOrFault, row_place: str) -> Row:
        """Make the record of an entry, or say what is wrong with it.

        Raises:
            MissingColumn: There is no such column.
        """
        if isinstance(entry, Fault):
            return Row.bad(row_place, entry)
        source, target = (_cell(entry, names, row_place, _SIDES) for names in (self.source, self.target))
        answers = [
            _cell(entry, names, row_place, "set data.reader.references") for names in (*self.references, REFERENCES)
        ]
        if source is None or target is None:
            return Row(row_place, problem="empty")
        image = None
        if isinstance(source, Mapping) and source.keys() >= {"bytes", "path"}:
            image, source = source["bytes"], source["path"] or row_place
            if image is not None and not isinstance(image, bytes):
                return Row(row_place, problem="malformed", reason="the bytes of the image are no bytes")
        try:
            source, target = self.document(source), _text(target)
            references = [text for cell in answers if cell is not None for text in _answers(cell)]
        except TypeError:
            return Row(row_place, problem="malformed", reason="a text that is neither a string nor a list of strings")
        record: dict[str, Any] = {"source": source, "target": target}
        record |= {name: entry[name] for name in EXTRAS if name != "references" and entry.get(name) is not None}
        if references:
            record["references"] = list(dict.fromkeys([target, *references]))
        if image is not None:
            record["image"] = image
        return Row(row_place, cast(Record, record))

    def sources(self, entries: Iterable[tuple[str, RowOrFault]]) -> Iterator[tuple[str, str | Fault]]:
        """Yield (place, source) of entries that need no target, or what is wrong with the source.

        Raises:
            UserError: No entry has the column.
        """
        first: MissingColumn | None = None
        found = False
        held: list[tuple[str, str | Fault]] = []  # those that lack the column, until another one has it
        for row_place, entry in entries:
            try:
                source = self._source(entry, row_place)
            except MissingColumn as error:
                source, first = error.fault, first or error
            else:
                found = found or isinstance(entry, Mapping)
            held.append((row_place, source))
            if found or first is None:
                yield from held
                held = []
        if first is not None and not found:
            raise first
        yield from held

    def _source(self, entry: RowOrFault, row_place: str) -> str | Fault:
        if isinstance(entry, Fault):
            return entry
        if (cell := _cell(entry, self.source, row_place, _AS_LEARNT)) is None:
            return Fault("empty")
        try:
            return self.document(cell)
        except TypeError:
            return Fault("malformed", "a text that is neither a string nor a list of strings")

    def document(self, cell: Any) -> str:
        """The text of a source's cell, split into sentences where there is a language and it is not yet.

        Raises:
            TypeError: the cell is neither a string nor a list of strings.
        """
        if isinstance(cell, str) and self.language:
            cell = sentences.split(cell, self.language)
        return _text(cell)


_SIDES = "set data.source and data.target"
_AS_LEARNT = "name the text as the data do that the model learnt from"


class MissingColumn(UserError):
    """An entry has none of the columns that it is read from; ``fault`` says it of a row among others."""

    fault: Fault

    @staticmethod
    def of(row_place: str, names: Sequence[str], there: str, remedy: str) -> MissingColumn:
        """Make the error; ``there`` lists the columns that there are, ``remedy`` says what to do."""
        columns = " or ".join(map(repr, names))
        error = MissingColumn(f"{row_place} has no column {columns}, but {there}: {remedy}")
        error.fault = Fault("malformed", f"no column {columns}, but {there}")
        return error


def _cell(entry: Mapping[str, Any], names: Sequence[str], row_place: str, remedy: str) -> Any:
    there, inside_nothing = "", False
    for name in names:
        if not name:
            return None
        try:
            return _value(entry, name)
        except IndexError:
            inside_nothing = True
        except KeyError as error:
            there = there or str(error.args[0])
    if inside_nothing:
        return None
    raise MissingColumn.of(row_place, names, there, remedy)


def _value(entry: Mapping[str, Any], column: str) -> Any:
    """Return the cell of a column. A KeyError lists those that there are; an IndexError says that it is in a null."""
    value: Any = entry
    for name in column.split("."):
        if value is None:
            raise IndexError(name)
        if isinstance(value, list) and name.isdecimal():
            value = value[int(name)] if int(name) < len(value) else None
        elif isinstance(value, Mapping) and name in value:
            value = value[name]
        else:
            raise KeyError(", ".join(value) if isinstance(value, Mapping) and value else "nothing")
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
