"""Layout of the help: options as rows, and rows as two columns of wrapped text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping

from seq2seq.config.option_text import Option

LONGEST_DEFAULT = 40  # characters of a default that stands behind its key
BY_CHOICE = "by choice: "


def table(pairs: Iterable[tuple[str, str]], width: int, column: int | None = None) -> Iterator[str]:
    """Yield the lines of two columns; the text of a long entry starts on the next line.

    Args:
        pairs: (entry, text).
        width: Characters of a line.
        column: Characters before the text; None for a third of a line.
    """
    column = width * 36 // 100 if column is None else column if width - column >= 36 else 6
    for entry, text in pairs:
        start = f"  {entry}".ljust(column)
        indent = " " * column
        wrapped = textwrap.wrap(
            text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        if not entry or len(start) < column or (len(start) == column and start.endswith(" ")):
            yield (start + wrapped[0][column:] if wrapped else start).rstrip()
            yield from wrapped[1:]
        else:
            yield start.rstrip()
            yield from wrapped


def row(option: Option) -> tuple[str, str]:
    """Return the two columns of an option: KEY=DEFAULT and the comment.

    A default that is no plain value stands in brackets behind the comment.

    Args:
        option: An option of a file.
    """
    default, note = option.default, ""
    if default == "???":
        note = "(must be set)"
    elif default.startswith("class "):
        note = f"(class {default.rpartition('.')[2]})"
    elif default.startswith(BY_CHOICE):
        note = f"({default})"
    elif default.startswith("${") or len(default) > LONGEST_DEFAULT:
        note = f"(default: {in_words(default)})"
    elif default:
        return f"{option.key}={default}", option.comment
    return option.key, f"{option.comment} {note}".strip()


def in_words(default: str) -> str:
    """Return a default that is an interpolation in words: ``task.lr, else 0.003``.

    Args:
        default: ``${KEY}`` or ``${oc.select:KEY,OTHER}``, where OTHER may be an interpolation; any other text stays.
    """
    if not (default.startswith("${") and default.endswith("}")):
        return default
    key, comma, other = default[2:-1].removeprefix("oc.select:").partition(",")
    return f"{key}, else {in_words(other)}" if comma else key


def by_choice(defaults: Mapping[str, str], most: int) -> str:
    """Return the default of several choices: their common one, or that of each choice.

    Args:
        defaults: {choice: default}.
        most: Largest number of choices whose different defaults are all named.
    """
    different = list(dict.fromkeys(defaults.values()))
    if len(different) == 1:
        return different[0]
    if len(defaults) > most:
        return f"{BY_CHOICE}--help GROUP=CHOICE shows it"
    return BY_CHOICE + ", ".join(f"{in_words(default)} ({choice})" for choice, default in defaults.items())
