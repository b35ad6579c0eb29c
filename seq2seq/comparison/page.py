"""The report: one HTML file that needs nothing else."""

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
from seq2seq.comparison.tables import Cell
from seq2seq.metrics.faithfulness import ONSET
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
    """Return the whole page as HTML."""
    sections = [
        _section(n, analysis, found) for n, (analysis, found) in enumerate(zip(analyses, examples, strict=True))
    ]
    links = "".join(f'<a href="#d{n}">{escape(a.dataset)}</a>' for n, a in enumerate(analyses))
    data = [
        {"entries": a.names, "pools": found.pools, "examples": found.examples}
        for a, found in zip(analyses, examples, strict=True)
    ]
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
    one_each = all(len(entry.runs) == 1 for entry in a.entries)
    runs = tables.plural(sum(len(entry.runs) for entry in a.entries), "run")
    of = f"{tables.plural(a.records, 'record')} of {escape(a.split)}"
    facts = f"{of}; {runs} of {tables.plural(len(a.entries), 'configuration')}"
    order = "Lowest" if get_metric(a.metric).lower_is_better else "Highest"
    parts = [
        f'<section id="d{number}"><h2>{escape(a.dataset)}</h2><p class="facts">{facts}. '
        f"{escape(a.metric)}: <code>{escape(a.signatures[a.metric])}</code></p>",
        f'<p class="said">{escape(tables.conclusion(a))}</p>',
        "<h3>Scores and costs</h3>",
        f"<p>In brackets {100 * a.options.level:g} % intervals: "
        + (
            "over sentences, of one run each."
            if one_each
            else "over seeds and sentences together, or over sentences where there is one run. ± is the standard "
            "deviation between seeds."
        )
        + f" {order} {escape(a.metric)} first; a heading sorts.</p>",
        _table(tables.headings(a), tables.rows(a), f"scores{number}"),
        _others(a, number),
        _charts(a),
        significance(a),
        _attention(a, number),
        _explorer(number, examples),
        _list([*a.notes, *examples.notes]),
        "</section>",
    ]
    return "\n".join(part for part in parts if part)


def _table(head: Sequence[str], rows: Iterable[Sequence[Cell]], name: str) -> str:
    """Sorted by its headings; names are row headings."""
    titles = "".join(
        f'<th scope="col"><button type="button">{escape(t) or "configuration"}</button></th>' for t in head
    )
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
    head, rows = tables.other_figures(a)
    if len(head) < 2:
        return ""
    told = _table(head, rows, f"others{number}")
    return f"<details><summary>Other figures</summary>{told}</details>"


def _charts(a: Analysis) -> str:
    scores = a.estimates[a.metric]
    found = []
    for which in COSTS:
        label = tables.cost_title(a, which)
        points = {
            name: Point(a.costs[name][which], e.score, e.low, e.high, tables.estimated(a.metric, e, "").text)
            for name, e in ((name, scores[name]) for name in a.names)
            if a.costs[name].get(which)
        }
        if len(points) > 1 and len({p.x for p in points.values()}) > 1:
            found.append((f"{a.metric} against {label}", charts.scatter(points, label, a.metric)))
    images = [*_curves(a), *_attention_curves(a), *_sliced(a)]
    cost = _choices("Quality against cost", found)
    return cost + "".join(f"<figure><figcaption>{escape(t)}</figcaption>{svg}</figure>" for t, svg in images if svg)


def _choices(title: str, found: Sequence[tuple[str, str]]) -> str:
    """Charts of which one is shown; on paper all."""
    if not found:
        return ""
    first, *others = found
    parts = [f"<h3>{title}</h3><figure><figcaption>{escape(first[0])}</figcaption>{first[1]}</figure>"]
    if others:
        inside = "".join(f"<figure><figcaption>{escape(t)}</figcaption>{svg}</figure>" for t, svg in others)
        parts.append(f"<details><summary>Against other costs</summary>{inside}</details>")
    return "".join(parts)


def _curves(a: Analysis) -> list[tuple[str, str]]:
    """Validation, by likelihood and by the main metric."""
    found = []
    for metric in sorted({"nll", a.metric}, reverse=True):
        label = "nats a token" if metric == "nll" else metric
        svg = charts.lines(_curve(a, metric), "updates", f"validation {label}", log=metric == "nll")
        found.append((f"Learning curves: validation/{metric}", svg))
    return found


def _attention_curves(a: Analysis) -> list[tuple[str, str]]:
    """How attention sharpens, and when it begins."""
    sharp = charts.lines(_curve(a, "attention_normalized_entropy"), "updates", "entropy, 1 is uniform")
    gain = charts.lines(_curve(a, "nll_increase_averaged"), "updates", "nats a token")
    return [
        ("Entropy of attention, as a share of that of uniform weights", sharp),
        (f"What the mean row of each sentence costs: attention has begun once this is {ONSET} nats a token", gain),
    ]


def _curve(a: Analysis, metric: str) -> dict[str, list[Point]]:
    """Return what validations measured of a metric, for each entry."""
    key = f"validation/{metric}"
    return {
        name: [Point(row["step"], row[key]) for row in a.curves[name] if {"step", key} <= row.keys()]
        for name in a.names
    }


def _sliced(a: Analysis) -> list[tuple[str, str]]:
    found = []
    if a.lengths:
        series = {name: [Point(n, s.score, s.low, s.high) for n, s in enumerate(a.by_length[name])] for name in a.names}
        ticks = [group.name for group in a.lengths]
        svg = charts.lines(series, "words of the source", a.metric, ticks=ticks)
        found.append((f"{a.metric} by length of the source", svg))
    kinds: list[tuple[str, str, Mapping[str, Sequence[tuple[Group, Sliced]]]]] = [
        ("place in the reference", "Recall of words by place in the reference", a.by_place),
        ("times in the training targets", "Recall of words by frequency in training", a.by_frequency),
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


def _attention(a: Analysis, number: int) -> str:
    head, rows = tables.attention_table(a)
    if len(head) < 2:
        return ""
    known = [m for m in (*tables.ATTENTION, *tables.FAITHFULNESS) if m in a.plain or m in a.estimates]
    meanings = {m.removeprefix("attention_"): _meaning(m) for m in known}
    if a.onsets:
        onset = f"updates until a validation at which the mean row of each sentence costs {ONSET} nats a token or more"
        meanings = {"onset": onset, **meanings}
    meaning = "; ".join(f"<b>{escape(name)}</b> {escape(text)}" for name, text in meanings.items())
    parts = [
        "<h3>Attention itself</h3><p>Last cross layer, of outputs; what is lost or erased, of references.</p>",
        _table(head, rows, f"attention{number}"),
        f'<p class="fine">{meaning}</p>',
    ]
    if a.common is not None:
        place = {entry.name: n for n, entry in enumerate(a.entries)}
        common = a.common

        def cell(row: str, column: str) -> str:
            share = common[place[row], place[column]]
            return "<td></td>" if np.isnan(share) else f'<td style="--w:{share:.2f}">{100 * share:.0f}</td>'

        empty = ""
        if np.isnan(common).any():
            empty = " Empty: nothing to compare (other toolkits keep attention of their outputs)."
        parts.append(
            "<h3>Do they look at the same words?</h3><p>Share of attention, in percent, that two have in common on the "
            f"same references, word by word.{empty}</p>" + matrix(a.names, cell, "agreement", "shared")
        )
    return "".join(parts)


def _meaning(name: str) -> str:
    """Return what a metric says, with its unit."""
    metric = get_metric(name)
    return f"{metric.description} ({metric.unit})" if metric.unit else metric.description


def _explorer(number: int, examples: ExampleStore) -> str:
    if not examples.examples:
        return ""
    return (
        f'<h3 id="explorer{number}">Explorer</h3><div class="explorer" data-set="{number}">'
        "<noscript>The explorer needs a browser that runs scripts.</noscript></div>"
    )


def _ranking(ranking: Ranking) -> str:
    return (
        f"<section><h2>Over {ranking.datasets} datasets</h2><p>Mean ranks; a bar joins systems "
        f"without a significant difference (Nemenyi, 0.05). Friedman: p = {ranking.p:.3g}.</p>"
        f"<figure>{charts.critical_difference(ranking)}</figure></section>"
    )


def _list(notes: Sequence[str]) -> str:
    return f"<ul class=notes>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>" if notes else ""
