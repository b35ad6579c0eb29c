"""Tests of the extension of the site: text of docstrings is escaped, so that formulas are shown as written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))  # `make docs` does the same

pytest.importorskip("griffe", reason="the extra docs is not installed")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a[t][j] of <s>", r"a\[t]\[j] of &lt;s>"),
        ("code ``a[t][j] <s>`` and `x[0]`", "code ``a[t][j] <s>`` and `x[0]`"),
        ("2 * S and F*a", r"2 * S and F\*a"),
        ("Args:\n    *parts: All.\n    **options: Rest.", "Args:\n    *parts: All.\n    **options: Rest."),
        ("sum_j a_j and _private", r"sum_j a_j and \_private"),
        ("Example::\n\n    a[0][1]\n\nThen b[0][1].", "Example::\n\n    a[0][1]\n\nThen b\\[0]\\[1]."),
    ],
)
def test_text_is_escaped_and_code_is_not(text: str, expected: str) -> None:
    import docs_text

    assert docs_text.escaped(text) == expected
