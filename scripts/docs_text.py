"""Extension of griffe for the site: formulas in docstrings are text and no Markdown.

``mkdocs.yml`` names this file. Docstrings are plain text with ``code``, and hold formulas such as a[t][j], <s> or
2 * S * D, which Markdown would read as links, HTML and emphasis. They are escaped outside of code.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

CODE = re.compile(r"(``.+?``|`[^`\n]+`)", re.DOTALL)
ESCAPED = re.compile(r"[<\[]|(?<!^)(?<!\n)(?<![\s(\[|])(?<![\s(\[|]\*)\*|(?<=[(\s])_(?=\w)")


def escaped(text: str) -> str:
    """Return a docstring whose formulas Markdown shows as they are written.

    Args:
        text: A docstring, without its indentation.
    """
    # An indented block after a line that ends in "::" is code already.
    parts = re.split(r"((?<=::)\n\n(?: {4}.*\n?|\n)+)", text)
    return "".join(part if index % 2 else _escaped_text(part) for index, part in enumerate(parts))


def _escaped_text(text: str) -> str:
    """Return text with escapes outside of code spans."""
    parts = CODE.split(text)
    return "".join(part if index % 2 else ESCAPED.sub(_escape, part) for index, part in enumerate(parts))


def _escape(found: re.Match[str]) -> str:
    """Return a character that Markdown shows as it is; ``<`` has no escape with a backslash."""
    return "&lt;" if found[0] == "<" else f"\\{found[0]}"


class EscapeDocstrings(Extension):
    """Escape the docstring of each module, class, function and attribute."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Escape one docstring.

        Args:
            obj: A module, class, function or attribute.
            **kwargs: Further facts of griffe, which are ignored.
        """
        if obj.docstring is not None:
            obj.docstring.value = escaped(obj.docstring.value)
