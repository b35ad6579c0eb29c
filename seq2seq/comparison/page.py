"""The HTML report, a single file without external resources."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from seq2seq.comparison import charts, tables
from seq2seq.comparison.analysis import COSTS, Analysis
from seq2seq.comparison.charts import Point
from seq2seq.comparison.explorer import ExampleStore, written
from seq2seq.comparison.ranks import Ranking
from seq2seq.comparison.significance import matrix, significance
from seq2seq.comparison.slices import Group, Sliced
from seq2seq.comparison.statistics import Estimate
from seq2seq.comparison.tables import Cell
from seq2seq.metrics.faithfulness import ONSET
from seq2seq.metrics.likelihood import SPARSE_LOSS
from seq2seq.metrics.table import get_metric

FOLDER = Path(__file__).parent


def page(
    title: str,
    analyses: Sequence[Analysis],
    examples: Sequence[ExampleStore],
    ranking: Ranking | None,
    notes: Sequence[str],
    command: str,
) -> str:
    """Return the report as HTML.

    Args:
        title: Title of the page.
        analyses: Analysis of each dataset.
        examples: Examples of each dataset, in the same order.
        ranking: Ranking over the datasets; None without one.
        notes: Notes on the whole comparison.
        command: Command that made the report.
    """
    # Write the section of each dataset.
    sections = [
        _section(n, analysis, found) for n, (analysis, found) in enumerate(zip(analyses, examples, strict=True))
    ]
    links = "".join(f'<a href="#d{n}">{escape(a.dataset)}</a>' for n, a in enumerate(analyses))
    # Collect the data for the script.
    data = [
        {"entries": a.names, "pools": found.pools, "examples": found.examples}
        for a, found in zip(analyses, examples, strict=True)
    ]
    # Fill the placeholders of the template in one pass, so that no text is expanded twice.
    parts = {
        "title": escape(title),
        "style": (FOLDER / "report.css").read_text(encoding="utf-8"),
        "script": (FOLDER / "report.js").read_text(encoding="utf-8"),
        "links": f"<nav>{links}</nav>" if len(analyses) > 1 else "",
        "ranking": "" if ranking is None else _ranking(ranking),
        "sections": "\n".join(sections),
        "notes": _list(notes),
        "command": escape(command),
        "data": written(data),
    }
    template = (FOLDER / "report.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def _section(number: int, a: Analysis, examples: ExampleStore) -> str:
    """Return the section of one dataset."""
    # Describe the data and the intervals.
    one_each = all(len(entry.runs) == 1 for entry in a.entries)
    runs = tables.plural(sum(len(entry.runs) for entry in a.entries), "run")
    records = f"{tables.plural(a.records, 'record')} of the {escape(a.split)} split"
    facts = f"{records}; {runs} of {tables.plural(len(a.entries), 'configuration')}"
    order = "Lowest" if get_metric(a.metric).lower_is_better else "Highest"
    parts = [
        f'<section id="d{number}"><h2>{escape(a.dataset)}</h2><p class="facts">{facts}. '
        f"{escape(a.metric)}: <code>{escape(a.signatures[a.metric])}</code></p>",
        f'<p class="said">{escape(tables.conclusion(a))}</p>',
        "<h3>Scores and costs</h3>",
        f"<p>Brackets are {100 * a.options.level:g} % confidence intervals "
        + (
            "over sentences; each configuration has one run."
            if one_each
            else "over seeds and sentences; with a single run, over sentences only. ± is the standard deviation "
            "between seeds."
        )
        + f" {order} {escape(a.metric)} first; click a heading to sort.</p>",
        _table(tables.headings(a), tables.rows(a), f"scores{number}"),
        _others(a, number),
        _charts(a),
        _features(a, number),
        significance(a),
        _attention(a, number),
        _explorer(number, examples),
        _list([*a.notes, *examples.notes]),
        "</section>",
    ]
    return "\n".join(part for part in parts if part)


def _table(head: Sequence[str], rows: Iterable[Sequence[Cell]], name: str) -> str:
    """Return a table that the page sorts by a click on a heading; the first cell of a row is its heading."""
    titles = "".join(
        f'<th scope="col"><button type="button">{escape(t) or "configuration"}</button></th>' for t in head
    )
    # Write the rows, with sort keys in attributes.
    body = []
    for row in rows:
        cells = [f'<th scope="row">{escape(row[0].text)}</th>']
        for cell in row[1:]:
            value = "" if cell.value is None else f' data-v="{cell.value!r}"'
            cells.append(f"<td{value}>{escape(cell.text)}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    inside = f"<table class=sortable><thead><tr>{titles}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return f'<div class="wide" id="{name}" tabindex="0" role="region" aria-label="table">{inside}</div>'


def _others(a: Analysis, number: int) -> str:
    """Return the folded table of the figures that are in no other table."""
    head, rows = tables.other_figures(a)
    if len(head) < 2:
        return ""
    table = _table(head, rows, f"others{number}")
    return f"<details><summary>Other metrics</summary>{table}</details>"


def _charts(a: Analysis) -> str:
    """Return all charts of a dataset."""
    scores = a.estimates[a.metric]
    found = []
    # Draw the main metric over each cost that differs between entries.
    for which in COSTS:
        label = tables.cost_title(a, which)
        points = {
            name: Point(a.costs[name][which], e.score, e.low, e.high, tables.estimated(a.metric, e, "").text)
            for name, e in ((name, scores[name]) for name in a.names)
            if a.costs[name].get(which)
        }
        if len(points) > 1 and len({p.x for p in points.values()}) > 1:
            found.append((f"{a.metric} versus {label}", charts.scatter(points, label, a.metric)))
    # Draw all other charts.
    images = [*_curves(a), *_attention_curves(a), *_sliced(a)]
    cost = _choices("Quality and cost", found)
    return cost + "".join(f"<figure><figcaption>{escape(t)}</figcaption>{svg}</figure>" for t, svg in images if svg)


def _choices(title: str, found: Sequence[tuple[str, str]]) -> str:
    """Return charts of which the first is shown and the others are folded; the printed page shows all."""
    if not found:
        return ""
    first, *others = found
    parts = [f"<h3>{title}</h3><figure><figcaption>{escape(first[0])}</figcaption>{first[1]}</figure>"]
    if others:
        inside = "".join(f"<figure><figcaption>{escape(t)}</figcaption>{svg}</figure>" for t, svg in others)
        parts.append(f"<details><summary>Other costs</summary>{inside}</details>")
    return "".join(parts)


def _curves(a: Analysis) -> list[tuple[str, str]]:
    """Return the learning curves of likelihood and of the main metric, as (title, SVG)."""
    found = []
    losses = _losses(a)
    for metric in dict.fromkeys([*losses, a.metric]):
        label = "loss (nats per token)" if metric == "nll" else metric
        svg = charts.lines(_curve(a, metric), "updates", f"validation {label}", log=metric in losses)
        found.append((f"Learning curve: validation {label}", svg))
    return found


def _attention_curves(a: Analysis) -> list[tuple[str, str]]:
    """Return the curves of the entropy and of the onset of attention, as (title, SVG)."""
    entropy = charts.lines(_curve(a, "attention_normalized_entropy"), "updates", "normalised entropy")
    found = [("Entropy of attention during training (1 = uniform weights)", entropy)]
    title = "Loss increase with averaged attention (each row is replaced by the mean row of its sentence)"
    for loss in _losses(a):
        curve = _curve(a, f"{loss}_increase_averaged")
        if loss == "nll":
            svg = charts.lines(curve, "updates", "loss increase (nats per token)")
            found.append((f"{title}: attention begins at {ONSET} nats per token", svg))
        else:
            found.append((title, charts.lines(curve, "updates", f"increase of {loss}")))
    return found


def _losses(a: Analysis) -> list[str]:
    """Return the names of the losses that validation measured; a sparse output layer has a loss of its own."""
    columns = {key for name in a.names for row in a.curves[name] for key in row}
    sparse = sorted(name for key in columns if SPARSE_LOSS.matches(name := key.removeprefix("validation/")))
    return ["nll", *sparse] if "validation/nll" in columns or not sparse else sparse


def _curve(a: Analysis, metric: str) -> dict[str, list[Point]]:
    """Return the validation curve of a metric for each entry."""
    key = f"validation/{metric}"
    return {
        name: [Point(row["step"], row[key]) for row in a.curves[name] if {"step", key} <= row.keys()]
        for name in a.names
    }


def _sliced(a: Analysis) -> list[tuple[str, str]]:
    """Return the charts by source length, place and frequency, as (title, SVG)."""
    found = []
    # Main metric by source length.
    if a.lengths:
        series = {name: [Point(n, s.score, s.low, s.high) for n, s in enumerate(a.by_length[name])] for name in a.names}
        ticks = [group.name for group in a.lengths]
        origin = a.entries[0].runs[0].origin
        unit = "letters" if origin is not None and origin.by_letter else "words"
        svg = charts.lines(series, f"source length ({unit})", a.metric, ticks=ticks)
        found.append((f"{a.metric} by source length", svg))
    # Recall of reference words by place and by frequency.
    kinds: list[tuple[str, str, Mapping[str, Sequence[tuple[Group, Sliced]]]]] = [
        ("position in the reference", "Recall of reference words by their position", a.by_place),
        ("occurrences in the training targets", "Recall of reference words by training frequency", a.by_frequency),
    ]
    for label, title, groups in kinds:
        known = {name: groups[name] for name in a.names if name in groups}
        if not known:
            continue
        ticks = list(dict.fromkeys(group.name for found in known.values() for group, _ in found))
        series = {
            name: [Point(ticks.index(group.name), s.score, s.low, s.high) for group, s in found]
            for name, found in known.items()
        }
        found.append((title, charts.lines(series, label, "recall", ticks=ticks)))
    return found


def _features(a: Analysis, number: int) -> str:
    """Return the folded table of the main metric by feature of the source."""
    if not a.features:
        return ""
    rows = [[Cell(group.name), Cell(f"{group.size:,}", group.size)] for group in a.features]
    for name in a.names:
        for row, found in zip(rows, a.by_feature[name], strict=True):
            score = Estimate(found.score, found.low, found.high, None, 1)
            row.append(tables.estimated(a.metric, score, "[{low}, {high}]"))
    table = _table(["feature", "records", *a.names], rows, f"features{number}")
    return f"<details><summary>{escape(a.metric)} by feature</summary>{table}</details>"


def _attention(a: Analysis, number: int) -> str:
    """Return the table of attention statistics and the matrix of agreement."""
    head, rows = tables.attention_table(a)
    if len(head) < 2:
        return ""
    # Explain the columns.
    meanings = {m.removeprefix("attention_"): _meaning(m) for m in tables.attention_metrics(a)}
    if a.onsets:
        onset = (
            "updates until averaged attention (each row is replaced by the mean row of its sentence) increases the "
            f"validation loss by at least {ONSET} nats per token"
        )
        meanings = {"onset": onset, **meanings}
    meaning = "; ".join(f"<b>{escape(name)}</b> {escape(text)}" for name, text in meanings.items())
    parts = [
        "<h3>Attention statistics</h3><p>Cross-attention of the last layer on the model's outputs. Faithfulness (loss "
        "increases, erasure) is measured on the references.</p>",
        _table(head, rows, f"attention{number}"),
        f'<p class="fine">{meaning}</p>',
    ]
    # Show the agreement of each pair.
    if a.common is not None:
        place = {entry.name: n for n, entry in enumerate(a.entries)}
        common = a.common

        def cell(row: str, column: str) -> str:
            share = common[place[row], place[column]]
            return "<td></td>" if np.isnan(share) else f'<td style="--w:{share:.2f}">{100 * share:.0f}</td>'

        empty = ""
        if np.isnan(common).any():
            empty = " Empty cells: no attention on the same references (other toolkits give attention on outputs)."
        parts.append(
            "<h3>Agreement of attention</h3><p>Percentage of attention that two configurations give to the same source "
            f"words, averaged over the words of the references.{empty}</p>"
            + matrix(a.names, cell, "agreement", "shared")
        )
    return "".join(parts)


def _meaning(name: str) -> str:
    """Return the description of a metric with its unit."""
    metric = get_metric(name)
    return f"{metric.description} ({metric.unit})" if metric.unit else metric.description


def _explorer(number: int, examples: ExampleStore) -> str:
    """Return the placeholder that the script fills with the examples."""
    if not examples.examples:
        return ""
    return (
        f'<h3 id="explorer{number}">Example explorer</h3><div class="explorer" data-set="{number}">'
        "<noscript>The explorer needs JavaScript.</noscript></div>"
    )


def _ranking(ranking: Ranking) -> str:
    """Return the section with the ranking over all datasets."""
    return (
        f"<section><h2>Ranking over {ranking.datasets} datasets</h2><p>Mean ranks. A bar joins configurations without "
        f"a significant difference (Nemenyi, 0.05). Friedman test: p = {ranking.p:.3g}.</p>"
        f"<figure>{charts.critical_difference(ranking)}</figure></section>"
    )


def _list(notes: Sequence[str]) -> str:
    """Return notes as a list; empty without notes."""
    return f"<ul class=notes>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>" if notes else ""
