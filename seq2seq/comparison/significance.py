"""The report's matrices of pairs: who differs from whom, and what any two have in common."""

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
"""Below which p is not told more exactly: a normal's far tail is not known."""


def significance(a: Analysis) -> str:
    """A matrix for each metric that was tested."""
    parts = []
    for metric, pairs in a.differences.items():
        if not pairs:
            continue
        names = [n for n in a.names if any(n in (d.a, d.b) for d in pairs)]
        known = {(d.a, d.b): d for d in pairs}
        alone = sum(not d.seeds for d in pairs)
        hows = []
        if alone < len(pairs):
            hows.append("▲ ▼: seeds and sentences are drawn together, and t is tested.")
        if alone:
            hows.append(
                "▴ ▾: one run, beside another or two. Sentences alone are drawn (paired bootstrap, whose standard "
                "deviation z is tested with), so that this holds for these runs only; other seeds may change it. "
                "Approximate randomisation, where given, is not corrected."
            )
        how = " ".join(hows)
        up, down = _words(metric)
        parts.append(
            f"<h3>{escape(metric)}: who differs from whom</h3><p>Each cell compares the row with the column. "
            f"<b class=up>▲ ▴</b> the row is {up}, <b class=down>▼ ▾</b> {down}, p &lt; {ALPHA}"
            f"{tables.how_corrected(a, metric)}; · no significant difference. "
            f"{how}</p>" + matrix(names, partial(_cell, metric, known), "significance")
        )
    return "".join(parts)


def _words(metric: str) -> tuple[str, str]:
    """Of what is up and of what is down."""
    return ("higher", "lower") if get_metric(metric).higher_is_better is None else ("better", "worse")


def _p(value: float) -> str:
    return f"p {value:.3g}" if value >= MIN_P else f"p < {MIN_P}"


def _cell(metric: str, known: Mapping[tuple[str, str], Difference], row: str, column: str) -> str:
    """What a pair came to, from the row's side."""
    sign = 1 if (row, column) in known else -1
    d = known.get((row, column), known.get((column, row)))
    if d is None:
        return "<td></td>"
    value = sign * d.difference
    better = value < 0 if get_metric(metric).lower_is_better else value > 0
    marks = "▲▼" if d.seeds else "▴▾"
    mark, kind = ("·", "") if d.adjusted >= ALPHA else (marks[0], "up") if better else (marks[1], "down")
    low, high = (d.low, d.high) if sign > 0 else (-d.high, -d.low)
    said = f"{value:+.3g} [{low:.3g}, {high:.3g}], {_p(d.p)}, corrected {_p(d.adjusted)}"
    said += "" if d.seeds else ", of these runs"
    if d.randomised is not None:
        said += f", approximate randomisation p {d.randomised:.3g}, not corrected"
    up, down = _words(metric)
    word = {"": "no significant difference", "up": up, "down": down}[kind]
    heard = f'<span class="hidden">{word}, {escape(said)}</span>'
    return f'<td class="{kind}"><span aria-hidden="true">{mark}</span>{heard}</td>'  # the script makes a title of it


def matrix(names: Sequence[str], cell: Callable[[str, str], str], label: str, kind: str = "") -> str:
    """Rows and columns are the same configurations; ``cell`` of a row's name and a column's is a ``<td>``."""
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in names)
    rows = (f'<tr><th scope="row">{escape(r)}</th>{"".join(cell(r, c) for c in names)}</tr>' for r in names)
    table = (
        f'<table class="matrix {kind}"><thead><tr><td></td>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )
    return f'<div class="wide" tabindex="0" role="region" aria-label="{label}">{table}</div>'
