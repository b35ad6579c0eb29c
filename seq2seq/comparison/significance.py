"""Matrices of pairs in the report: significant differences, and agreement of attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape

from seq2seq.comparison import tables
from seq2seq.comparison.analysis import Analysis
from seq2seq.comparison.statistics import Difference
from seq2seq.comparison.tables import ALPHA
from seq2seq.metrics.table import get_metric

MIN_P = 0.001
"""Smallest p that is shown: the normal approximation is not reliable for smaller values."""


def significance(a: Analysis) -> str:
    """Return a matrix of significant differences for each tested metric.

    Args:
        a: Analysis of one dataset.

    Returns:
        HTML, empty without tests.
    """
    parts = []
    for metric, pairs in a.differences.items():
        if not pairs:
            continue
        # Show the tested configurations only.
        names = [n for n in a.names if any(n in (d.a, d.b) for d in pairs)]
        known = {(d.a, d.b): d for d in pairs}
        # Explain the tests.
        single = sum(not d.seeds for d in pairs)
        tests = []
        if single < len(pairs):
            tests.append("▲ ▼: t-test; seeds and sentences are resampled together.")
        if single:
            tests.append(
                "▴ ▾: single runs (one run against one or two runs). A z-test uses the standard deviation of a paired "
                "bootstrap over sentences. The result holds for these runs only; other seeds may change it. "
                "Approximate randomisation, where given, is not corrected."
            )
        up, down = _words(metric)
        parts.append(
            f"<h3>{escape(metric)}: significant differences</h3><p>Each cell compares the row with the column. "
            f"<b class=up>▲ ▴</b> the row is {up}, <b class=down>▼ ▾</b> the row is {down}, p &lt; {ALPHA}"
            f"{tables.how_corrected(a, metric)}; · no significant difference. "
            f"{' '.join(tests)}</p>" + matrix(names, partial(_cell, metric, known), "significance")
        )
    return "".join(parts)


def _words(metric: str) -> tuple[str, str]:
    """Return the words for a higher and a lower value of a metric."""
    return ("higher", "lower") if get_metric(metric).higher_is_better is None else ("better", "worse")


def _p(value: float) -> str:
    """Format a p-value with three digits."""
    return f"p {value:.3g}" if value >= MIN_P else f"p < {MIN_P}"


def _cell(metric: str, known: Mapping[tuple[str, str], Difference], row: str, column: str) -> str:
    """Return the cell of a pair: a mark, and a description for screen readers and for the tooltip."""
    # A pair is stored once; the sign turns it to the row's side.
    sign = 1 if (row, column) in known else -1
    d = known.get((row, column), known.get((column, row)))
    if d is None:
        return "<td></td>"
    # Choose the mark and the colour.
    value = sign * d.difference
    better = value < 0 if get_metric(metric).lower_is_better else value > 0
    marks = "▲▼" if d.seeds else "▴▾"
    mark, kind = ("·", "") if d.adjusted >= ALPHA else (marks[0], "up") if better else (marks[1], "down")
    # Describe the test.
    low, high = (d.low, d.high) if sign > 0 else (-d.high, -d.low)
    details = f"{value:+.3g} [{low:.3g}, {high:.3g}], {_p(d.p)}, corrected {_p(d.adjusted)}"
    details += "" if d.seeds else ", for these runs only"
    if d.randomised is not None:
        details += f", approximate randomisation p {d.randomised:.3g}, not corrected"
    up, down = _words(metric)
    word = {"": "no significant difference", "up": up, "down": down}[kind]
    hidden = f'<span class="hidden">{word}, {escape(details)}</span>'  # the script copies it to the tooltip
    return f'<td class="{kind}"><span aria-hidden="true">{mark}</span>{hidden}</td>'


def matrix(names: Sequence[str], cell: Callable[[str, str], str], label: str, kind: str = "") -> str:
    """Return a table whose rows and columns are the same configurations.

    Args:
        names: Names of the rows and of the columns.
        cell: Function of a row's name and a column's name that returns a ``<td>``.
        label: Label for screen readers.
        kind: CSS class of the table.
    """
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in names)
    rows = (f'<tr><th scope="row">{escape(r)}</th>{"".join(cell(r, c) for c in names)}</tr>' for r in names)
    table = (
        f'<table class="matrix {kind}"><thead><tr><td></td>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )
    return f'<div class="wide" tabindex="0" role="region" aria-label="{label}">{table}</div>'
