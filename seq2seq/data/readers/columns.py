"""Conversion of a table's entry (a mapping of columns) to a record.

A text is a string or a list of sentences. In a string of several lines, each line is a sentence. An image is the path
of its file, or the form of ``datasets``: {"bytes": content of the file, "path": its name}.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from seq2seq.data.readers import sentences
from seq2seq.data.readers.rows import RowOrFault
from seq2seq.data.records import EXTRAS, Fault, Record, Row, group_id
from seq2seq.errors import UserError

REFERENCES = ("references", "")  # column that is read without an option; it may be absent
NO_TEXT = "a text that is neither a string nor a list of strings"


@dataclass(frozen=True)
class Columns:
    """Columns from which the texts of a record are read.

    Each column is given as several names, of which the first one that an entry has is used; an empty name means no
    column. In a name, dots lead into nested columns, and numbers into lists.

    Args:
        source: Names of the source's column.
        target: Names of the target's column.
        references: Names of each column of further correct targets, whose cells are strings or lists of strings.
        language: Language by whose rules a source that is a string is split into sentences.
        group: Name of the column whose equal values make records belong together.
    """

    source: Sequence[str]
    target: Sequence[str]
    references: Sequence[Sequence[str]] = ()
    language: str | None = None
    group: str | None = None

    def rows(self, entries: Iterable[tuple[str, RowOrFault]], *, uniform: bool = False) -> Iterator[Row]:
        """Yield a row for each entry. An entry without a column that others have is malformed.

        Args:
            entries: Place and entry of each row.
            uniform: Whether all entries have the same columns, so that the first one tells which exist.

        Raises:
            UserError: No entry has the column.
        """
        first: MissingColumn | None = None
        found = False
        for row_place, entry in entries:
            try:
                row = self.row(entry, row_place)
            except MissingColumn as error:
                # Without the column in any row, the option is wrong and not the row.
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
        """Return the record of an entry, or a row with the problem.

        Args:
            entry: Entry, or the fault that was found while it was read.
            row_place: Place of the entry, for messages.

        Raises:
            MissingColumn: The entry has none of the columns of a text.
        """
        if isinstance(entry, Fault):
            return Row.bad(row_place, entry)
        # Find the cells.
        source, target = (_cell(entry, names, row_place, _SIDES) for names in (self.source, self.target))
        answers = [
            _cell(entry, names, row_place, "set data.reader.references") for names in (*self.references, REFERENCES)
        ]
        if source is None or target is None:
            return Row(row_place, problem="empty")
        # Take an image apart into its content and its name.
        image = None
        if isinstance(source, Mapping) and source.keys() >= {"bytes", "path"}:
            image, source = source["bytes"], source["path"] or row_place
            if image is not None and not isinstance(image, bytes):
                return Row(row_place, problem="malformed", reason="the content of the image is not bytes")
        # Convert the cells to texts.
        try:
            source, target = self.document(source), _text(target)
            references = [text for cell in answers if cell is not None for text in _answers(cell)]
        except TypeError:
            return Row(row_place, problem="malformed", reason=NO_TEXT)
        # Make the record, with all its correct targets if there are several.
        record: dict[str, Any] = {"source": source, "target": target}
        record |= {
            name: entry[name] for name in EXTRAS if name not in ("references", "group") and entry.get(name) is not None
        }
        if references:
            record["references"] = list(dict.fromkeys([target, *references]))
        if image is not None:
            record["image"] = image
        if self.group is not None:
            group = _cell(entry, [self.group], row_place, "set data.group")
            if group is None or group == "":
                return Row(row_place, problem="malformed", reason=f"no {self.group}, the column of data.group")
            record["group"] = group_id(str(group))
        return Row(row_place, cast(Record, record))

    def sources(self, entries: Iterable[tuple[str, RowOrFault]]) -> Iterator[tuple[str, str | Fault]]:
        """Yield (place, source) of entries without a target; a fault stands for a source that cannot be used.

        Args:
            entries: Place and entry of each row.

        Raises:
            UserError: No entry has the column.
        """
        first: MissingColumn | None = None
        found = False
        held: list[tuple[str, str | Fault]] = []  # results that wait until an entry has the column
        for row_place, entry in entries:
            try:
                source = self._source(entry, row_place)
            except MissingColumn as error:
                # The column may exist in a later entry.
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
        """Return the source of an entry, or its fault."""
        if isinstance(entry, Fault):
            return entry
        if (cell := _cell(entry, self.source, row_place, _AS_LEARNT)) is None:
            return Fault("empty")
        try:
            return self.document(cell)
        except TypeError:
            return Fault("malformed", NO_TEXT)

    def document(self, cell: Any) -> str:
        """Return the text of a source's cell; split a string into sentences if there is a language.

        Args:
            cell: String or list of strings.

        Raises:
            TypeError: The cell is neither a string nor a list of strings.
        """
        if isinstance(cell, str) and self.language:
            cell = sentences.split(cell, self.language)
        return _text(cell)


_SIDES = "set data.source and data.target"
_AS_LEARNT = "use the column name of the data on which the model was trained"


class MissingColumn(UserError):
    """Error of an entry that has none of the columns for a text; ``fault`` is the fault of its row."""

    fault: Fault

    @staticmethod
    def of(row_place: str, names: Sequence[str], there: str, remedy: str) -> MissingColumn:
        """Return the error of an entry.

        Args:
            row_place: Place of the entry.
            names: Names of the column.
            there: List of the columns that exist.
            remedy: Advice for the user.
        """
        columns = " or ".join(map(repr, names))
        error = MissingColumn(f"{row_place} has no column {columns}, but {there}; {remedy}")
        error.fault = Fault("malformed", f"no column {columns}, but {there}")
        return error


def _cell(entry: Mapping[str, Any], names: Sequence[str], row_place: str, remedy: str) -> Any:
    """Return the cell of the first column that an entry has, or None for an absent column or a null."""
    existing, inside_null = "", False
    for name in names:
        if not name:
            return None
        try:
            return _value(entry, name)
        except IndexError:
            inside_null = True
        except KeyError as error:
            existing = existing or str(error.args[0])
    # Columns inside a null count as empty.
    if inside_null:
        return None
    raise MissingColumn.of(row_place, names, existing, remedy)


def _value(entry: Mapping[str, Any], column: str) -> Any:
    """Return the cell of a column.

    Raises:
        KeyError: There is no such column; the error lists the columns that exist.
        IndexError: The column lies inside a null.
    """
    value: Any = entry
    for name in column.split("."):
        if value is None:
            raise IndexError(name)
        # A number is a place in a list.
        if isinstance(value, list) and name.isdecimal():
            value = value[int(name)] if int(name) < len(value) else None
        elif isinstance(value, Mapping) and name in value:
            value = value[name]
        else:
            raise KeyError(", ".join(value) if isinstance(value, Mapping) and value else "nothing")
    return value


def _text(cell: Any) -> str:
    """Return the text of a cell with one sentence in each line. A string of one line stays as it is."""
    if isinstance(cell, str):
        return "\n".join(filter(None, map(str.strip, cell.split("\n")))) if "\n" in cell else cell
    return "\n".join(filter(None, (" ".join(sentence.split()) for sentence in _strings(cell))))


def _answers(cell: Any) -> list[str]:
    """Return the texts of a cell with one or several references, without empty ones."""
    return [text for answer in ([cell] if isinstance(cell, str) else _strings(cell)) if (text := _text(answer)).strip()]


def _strings(cell: Any) -> list[str]:
    """Return a cell that is a list of strings.

    Raises:
        TypeError: The cell is something else.
    """
    if not isinstance(cell, list) or not all(isinstance(item, str) for item in cell):
        raise TypeError
    return cell
