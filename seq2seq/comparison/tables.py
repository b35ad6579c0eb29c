"""Tables of a comparison: Markdown for readers, LaTeX for papers, CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from seq2seq.comparison.analysis import COSTS, Analysis
from seq2seq.comparison.statistics import Estimate
from seq2seq.metrics.table import get_metric, members_of

MEBIBYTE = 2**20
ALPHA = 0.05
"""Significance level."""
ATTENTION = (
    "attention_entropy",
    "attention_effective_positions",
    "attention_sparsity",
    "attention_peak",
    "attention_monotonicity",
    "attention_coverage_min",
    "attention_disagreement",
    "attention_sentinel",
)
"""Statistics of attention that have a column. The others are almost redundant."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str  # what the table shows
    value: float | None = None  # sort key; None sorts last


def columns(analysis: Analysis) -> list[str]:
    """Return the metrics that have a column: the main metric, other metrics of outputs, and those with gold alignments.

    Args:
        analysis: Analysis of one dataset.
    """
    others = [m for m in analysis.estimates if m != analysis.metric]
    return [analysis.metric, *(m for group in ("outputs", "gold") for m in others if get_metric(m).group == group)]


def attention_metrics(analysis: Analysis) -> list[str]:
    """Return the metrics that describe attention: statistics of its weights, and faithfulness.

    Args:
        analysis: Analysis of one dataset.
    """
    statistics = [m for m in ATTENTION if m in analysis.plain or m in analysis.estimates]
    return statistics + members_of("faithfulness", (*analysis.estimates, *analysis.plain))


def rows(analysis: Analysis, *, interval: str = "[{low}, {high}]") -> list[list[Cell]]:
    """Return the rows of the main table, best first: name, seeds, metrics with intervals, costs.

    Args:
        analysis: Analysis of one dataset.
        interval: Format of a confidence interval.
    """
    seeds = {entry.name: len(entry.runs) for entry in analysis.entries}
    costs = shown_costs(analysis)
    found = []
    for name in analysis.names:
        row = [Cell(name), Cell(str(seeds[name]), seeds[name])]
        row += [figure(analysis, metric, name, interval) for metric in columns(analysis)]
        row += [cost(which, analysis.costs[name].get(which)) for which in costs]
        found.append(row)
    return found


def headings(analysis: Analysis) -> list[str]:
    """Return the headings of the columns of ``rows``.

    Args:
        analysis: Analysis of one dataset.
    """
    return ["", "seeds", *columns(analysis), *(cost_title(analysis, which) for which in shown_costs(analysis))]


def cost_title(analysis: Analysis, which: str) -> str:
    """Return the heading of a cost; the heading of the time to a quality has the quality.

    Args:
        analysis: Analysis of one dataset.
        which: Key of ``COSTS``.
    """
    if which == "seconds_to_quality" and analysis.quality is not None:
        return f"time to validation {analysis.quality[0]} {analysis.quality[1]:.3g} (s)"
    return COSTS[which]


def plural(number: int, what: str) -> str:
    """Return a number with its noun: ``1 run``, ``2 runs``.

    Args:
        number: The number.
        what: The noun in the singular.
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def shown_costs(analysis: Analysis) -> list[str]:
    """Return the costs that at least one entry has.

    Args:
        analysis: Analysis of one dataset.
    """
    return [which for which in COSTS if any(which in costs for costs in analysis.costs.values())]


def figure(analysis: Analysis, metric: str, name: str, interval: str = "[{low}, {high}]") -> Cell:
    """Return the score of an entry: with an interval, with a standard deviation only, or a dash without a score.

    Args:
        analysis: Analysis of one dataset.
        metric: Name of the metric.
        name: Name of the entry.
        interval: Format of a confidence interval.
    """
    # Prefer a score with an interval.
    if (found := analysis.estimates.get(metric, {}).get(name)) is not None:
        return estimated(metric, found, interval)
    if (known := analysis.plain.get(metric, {}).get(name)) is None:
        return Cell("–")
    mean, sd = known
    digits = get_metric(metric).digits
    return Cell(f"{mean:.{digits}f}" + ("" if sd is None else f" ± {sd:.{digits}f}"), mean)


def estimated(metric: str, found: Estimate, interval: str) -> Cell:
    """Return a score as ``98.7 ± 0.3 [97.9, 99.2]``: mean, standard deviation between seeds, confidence interval.

    Args:
        metric: Name of the metric.
        found: The score.
        interval: Format of a confidence interval; empty for none.
    """
    digits = get_metric(metric).digits
    spread = "" if found.sd is None else f" ± {found.sd:.{digits}f}"
    around = interval.format(low=f"{found.low:.{digits}f}", high=f"{found.high:.{digits}f}")
    return Cell(f"{found.score:.{digits}f}{spread} {around}".strip(), found.score)


def cost(which: str, value: float | None) -> Cell:
    """Return a cost as a cell, in the unit of its heading.

    Args:
        which: Key of ``COSTS``.
        value: The cost; memory is in bytes. None gives a dash.
    """
    if value is None:
        return Cell("–")
    if which == "update_memory":
        return Cell(f"{value / MEBIBYTE:,.0f}", value)
    return Cell(f"{value:,.1f}" if value < 100 else f"{value:,.0f}", value)


def attention_table(analysis: Analysis) -> tuple[list[str], list[list[Cell]]]:
    """Return the table of attention statistics and faithfulness, as (headings, rows).

    Args:
        analysis: Analysis of one dataset.
    """
    names = attention_metrics(analysis)
    onsets = bool(analysis.onsets)
    found = [
        [Cell(name), *([onset(analysis, name)] if onsets else []), *(figure(analysis, m, name) for m in names)]
        for name in analysis.names
    ]
    return ["", *(["onset"] if onsets else []), *(m.removeprefix("attention_") for m in names)], found


def onset(analysis: Analysis, name: str) -> Cell:
    """Return the onset of attention in updates: ``350``, ``350 (never in 1 of 3)`` or ``never``.

    Args:
        analysis: Analysis of one dataset.
        name: Name of the entry.
    """
    if (known := analysis.onsets.get(name)) is None:
        return Cell("–")
    if known.updates is None:
        return Cell("never")
    some = f" (never in {known.never} of {known.runs})" if known.never else ""
    return Cell(f"{known.updates:,.0f}{some}", known.updates)


def other_figures(analysis: Analysis) -> tuple[list[str], list[list[Cell]]]:
    """Return the table of metrics that are in no other table, as (headings, rows).

    These are likelihoods and metrics without an interval.

    Args:
        analysis: Analysis of one dataset.
    """
    names = [m for m in members_of("likelihood", analysis.estimates) if m != analysis.metric]
    names += [m for m in analysis.plain if m not in attention_metrics(analysis)]
    return ["", *names], [[Cell(name), *(figure(analysis, m, name) for m in names)] for name in analysis.names]


def markdown(analyses: Sequence[Analysis]) -> str:
    """Return the tables of all datasets in Markdown.

    Args:
        analyses: Analysis of each dataset.
    """
    parts = []
    for analysis in analyses:
        title = f"{_marked(analysis.dataset)}, {_marked(analysis.split)}: {plural(analysis.records, 'record')}"
        # Write the title with the conclusion.
        lower = [m for m in (*analysis.estimates, *analysis.plain) if get_metric(m).lower_is_better]
        smaller = f" Lower is better: {', '.join(lower)}." if lower else ""
        parts.append(f"### {title}\n\n{_marked(conclusion(analysis))}{smaller}\n")
        # Write each table that has columns.
        for titles, lines in ((headings(analysis), rows(analysis)), attention_table(analysis), other_figures(analysis)):
            if len(titles) > 1:
                ruler = ["---", *["---:"] * (len(titles) - 1)]
                cells = [titles, ruler, *([cell.text for cell in line] for line in lines)]
                escaped = (list(map(_marked, line)) for line in cells)
                parts.append("\n".join(f"| {' | '.join(line)} |" for line in escaped) + "\n")
    return "\n".join(parts)


def latex(analyses: Sequence[Analysis]) -> str:
    """Return the main table of each dataset in LaTeX (booktabs), without intervals.

    The best entry is bold, and so is each entry that does not differ significantly from it.

    Args:
        analyses: Analysis of each dataset.
    """
    parts = []
    for analysis in analyses:
        # Choose the bold entries.
        best = {analysis.names[0], *undecided(analysis, analysis.names[0])}
        against = analysis.options.baseline
        bold = (
            "no significant difference to the best"
            if against is None
            else f"the best; others were tested against {against}"
        )
        caption = _tex(" ".join(f"{analysis.dataset}, {analysis.split}; bold {analysis.metric}: {bold}".split()))
        wanted = columns(analysis)
        lines = [" & ".join(["", *(_tex(m) for m in wanted)]) + r" \\", r"\midrule"]
        for name in analysis.names:
            cells = [figure(analysis, m, name, "").text.replace("±", r"$\pm$") for m in wanted]
            cells[0] = rf"\textbf{{{cells[0]}}}" if name in best else cells[0]
            lines.append(" & ".join([_tex(name), *cells]) + r" \\")
        body = "\n".join(lines)
        parts.append(
            f"% {caption}; intervals are in table.md; needs \\usepackage{{booktabs}}\n"
            rf"\begin{{tabular}}{{l{'r' * len(wanted)}}}" + "\n\\toprule\n" + body + "\n\\bottomrule\n\\end{tabular}\n"
        )
    return "\n".join(parts)


def comma_separated(analyses: Sequence[Analysis]) -> str:
    """Return all figures in CSV, with one line for each entry and metric.

    Args:
        analyses: Analysis of each dataset.
    """
    file = io.StringIO()
    write = csv.writer(file)
    safe = {name: _no_formula(name) for a in analyses for name in a.names}
    write.writerow(["dataset", "split", "entry", "seeds", "metric", "score", "low", "high", "sd", "signature"])
    for a in analyses:
        # Metrics without and with intervals.
        for metric, known in a.plain.items():
            for name, (mean, spread) in known.items():
                sd = "" if spread is None else spread
                write.writerow([a.dataset, a.split, safe[name], "", metric, mean, "", "", sd, a.signatures[metric]])
        for metric, found in a.estimates.items():
            for name, e in found.items():
                sd = "" if e.sd is None else e.sd
                write.writerow(
                    [a.dataset, a.split, safe[name], e.runs, metric, e.score, e.low, e.high, sd, a.signatures[metric]]
                )
        # Onsets and costs.
        for name, onset in a.onsets.items():
            of = f"updates until attention begins, never in {onset.never} of {onset.runs}"
            updates = "" if onset.updates is None else onset.updates
            write.writerow([a.dataset, a.split, safe[name], onset.runs, "onset", updates, "", "", "", of])
        for which in COSTS:
            for name in a.names:
                if (value := a.costs[name].get(which)) is not None:
                    write.writerow([a.dataset, a.split, safe[name], "", which, value, "", "", "", cost_title(a, which)])
    return file.getvalue()


def _no_formula(text: str) -> str:
    """Quote a text that a spreadsheet would take for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _marked(text: str) -> str:
    """Escape a text for a line or a table cell in Markdown."""
    return "".join("\\" + mark if mark in "\\|`<" else mark for mark in " ".join(text.split()))


def undecided(analysis: Analysis, name: str, alpha: float = ALPHA) -> list[str]:
    """Return the entries without a significant difference to an entry on the main metric.

    Args:
        analysis: Analysis of one dataset.
        name: Name of the entry.
        alpha: Significance level.

    Returns:
        Names of entries that ``name`` was tested against.
    """
    pairs = analysis.differences.get(analysis.metric, [])
    mine = [d for d in pairs if name in (d.a, d.b) and d.adjusted >= alpha]
    return [d.b if d.a == name else d.a for d in mine]


def conclusion(analysis: Analysis) -> str:
    """Return the conclusion on the main metric, in one to three sentences.

    Args:
        analysis: Analysis of one dataset.
    """
    # Name the best entry.
    names, against = analysis.names, analysis.options.baseline
    best, found = names[0], analysis.estimates[analysis.metric]
    score = estimated(analysis.metric, found[best], "[{low}, {high}]").text
    direction = "lowest" if get_metric(analysis.metric).lower_is_better else "highest"
    if len(names) == 1:
        return f"{best} has {analysis.metric} {score}."
    text = f"{best} has the {direction} {analysis.metric}, {score}."
    pairs = [d for d in analysis.differences.get(analysis.metric, []) if best in (d.a, d.b)]
    if not pairs:
        return text
    # Name the entries without a significant difference to it.
    close, level = undecided(analysis, best), how_corrected(analysis, analysis.metric)
    if against is not None and against != best:
        differs = "differs significantly from" if not close else "does not differ significantly from"
        text += f" It {differs} {against} (p {'<' if not close else '>='} {ALPHA}{level})."
        text += " The other configurations were not tested against it."
    elif not close:
        others = f"each of the {len(pairs)} others" if len(pairs) > 1 else "the other"
        text += f" It differs significantly from {others} (p < {ALPHA}{level})."
    elif len(close) == len(pairs):
        text += f" It does not differ significantly from any other (p >= {ALPHA}{level})."
    else:
        text += f" It does not differ significantly from {', '.join(close)} (p >= {ALPHA}{level})."
    # Say where the test knows nothing of seeds.
    single = sum(not d.seeds for d in pairs)
    if single == len(pairs):
        text += " With single runs this holds for these runs only; other seeds may change it."
    elif single:
        text += " Where one side has a single run and the other at most two, this holds for these runs only."
    return text


def how_corrected(analysis: Analysis, metric: str) -> str:
    """Return how p was corrected for the number of tested pairs, as the end of a sentence.

    Args:
        analysis: Analysis of one dataset.
        metric: Name of the metric.
    """
    pairs = plural(len(analysis.differences.get(metric, [])), "pair")
    how = analysis.options.correction
    return f" after {how.capitalize()}'s correction for {pairs}" if how != "none" else ", not corrected"


def _tex(text: str) -> str:
    """Escape a text for LaTeX."""
    marks = {mark: "\\" + mark for mark in "&%$#_{}"}
    marks |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(marks.get(letter, letter) for letter in text)


def terminal_table(analysis: Analysis) -> str:
    """Return a table for the terminal, with the main metric and the tested metrics of attention.

    Args:
        analysis: Analysis of one dataset.
    """
    wanted = columns(analysis)[:1] + [m for m in columns(analysis)[1:] if m in analysis.differences]
    lines = [["", "seeds", *wanted]]
    for row, name in zip(rows(analysis), analysis.names, strict=True):
        cells = [figure(analysis, m, name).text for m in wanted]
        lines.append([row[0].text, row[1].text, *cells])
    # Pad each column to its longest cell.
    wide = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, wide, strict=True)).rstrip() for line in lines)
