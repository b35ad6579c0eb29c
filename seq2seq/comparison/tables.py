"""The comparison as a table: for people (Markdown), for papers (LaTeX), for programs (CSV)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from seq2seq.comparison.analysis import COSTS, Analysis
from seq2seq.comparison.statistics import Estimate
from seq2seq.metrics.table import get_metric, names_of

MEBIBYTE = 2**20
ALPHA = 0.05
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
"""Statistics of attention that have a column. The others say almost the same."""
FAITHFULNESS = names_of("faithfulness")
LIKELIHOOD = names_of("likelihood")


@dataclass(frozen=True)
class Cell:
    """What a table shows, and what it sorts by."""

    text: str
    value: float | None = None


def columns(analysis: Analysis) -> list[str]:
    """Metrics of outputs, the main one first, and those of attention that gold tells of."""
    others = [m for m in analysis.estimates if m != analysis.metric]
    return [analysis.metric, *(m for group in ("outputs", "gold") for m in others if get_metric(m).group == group)]


def rows(analysis: Analysis, *, interval: str = "[{low}, {high}]") -> list[list[Cell]]:
    """Name, seeds, metrics with intervals, costs; best first."""
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
    """Return the headings of the columns of ``rows``."""
    return ["", "seeds", *columns(analysis), *(cost_title(analysis, which) for which in shown_costs(analysis))]


def cost_title(analysis: Analysis, which: str) -> str:
    """What a cost is, and of seconds to a quality, to which."""
    if which == "seconds_to_quality" and analysis.quality is not None:
        return f"s to validation {analysis.quality[0]} {analysis.quality[1]:.3g}"
    return COSTS[which]


def plural(number: int, what: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def shown_costs(analysis: Analysis) -> list[str]:
    """Those that anybody knows."""
    return [which for which in COSTS if any(which in costs for costs in analysis.costs.values())]


def figure(analysis: Analysis, metric: str, name: str, interval: str = "[{low}, {high}]") -> Cell:
    """What an entry has of a metric, as well as it is known."""
    if (found := analysis.estimates.get(metric, {}).get(name)) is not None:
        return estimated(metric, found, interval)
    if (known := analysis.plain.get(metric, {}).get(name)) is None:
        return Cell("–")
    mean, sd = known
    digits = get_metric(metric).digits
    return Cell(f"{mean:.{digits}f}" + ("" if sd is None else f" ± {sd:.{digits}f}"), mean)


def estimated(metric: str, found: Estimate, interval: str) -> Cell:
    """``98.7 ± 0.3 [97.9, 99.2]``: mean, standard deviation between seeds, confidence interval."""
    digits = get_metric(metric).digits
    spread = "" if found.sd is None else f" ± {found.sd:.{digits}f}"
    around = interval.format(low=f"{found.low:.{digits}f}", high=f"{found.high:.{digits}f}")
    return Cell(f"{found.score:.{digits}f}{spread} {around}".strip(), found.score)


def cost(which: str, value: float | None) -> Cell:
    """Return a cost as a short cell."""
    if value is None:
        return Cell("–")
    if which == "update_memory":
        return Cell(f"{value / MEBIBYTE:,.0f}", value)
    return Cell(f"{value:,.1f}" if value < 100 else f"{value:,.0f}", value)


def attention_table(analysis: Analysis) -> tuple[list[str], list[list[Cell]]]:
    """Head and rows of how attention behaves and whether it is faithful."""
    names = [m for m in (*ATTENTION, *FAITHFULNESS) if m in analysis.plain or m in analysis.estimates]
    onsets = bool(analysis.onsets)
    found = [
        [Cell(name), *([onset(analysis, name)] if onsets else []), *(figure(analysis, m, name) for m in names)]
        for name in analysis.names
    ]
    return ["", *(["onset"] if onsets else []), *(m.removeprefix("attention_") for m in names)], found


def onset(analysis: Analysis, name: str) -> Cell:
    """``350``, ``350 (never in 1 of 3)`` or ``never``: the update at which attention began, mean over runs."""
    if (known := analysis.onsets.get(name)) is None:
        return Cell("–")
    if known.updates is None:
        return Cell("never")
    some = f" (never in {known.never} of {known.runs})" if known.never else ""
    return Cell(f"{known.updates:,.0f}{some}", known.updates)


def other_figures(analysis: Analysis) -> tuple[list[str], list[list[Cell]]]:
    """Head and rows of what is in no other table: likelihood, what can't be drawn anew, what outputs are like."""
    names = [m for m in LIKELIHOOD if m in analysis.estimates and m != analysis.metric]
    names += [m for m in analysis.plain if m not in (*ATTENTION, *FAITHFULNESS)]
    return ["", *names], [[Cell(name), *(figure(analysis, m, name) for m in names)] for name in analysis.names]


def markdown(analyses: Sequence[Analysis]) -> str:
    """The tables of each dataset."""
    parts = []
    for analysis in analyses:
        title = f"{_marked(analysis.dataset)}, {_marked(analysis.split)}: {plural(analysis.records, 'record')}"
        lower = [m for m in (*analysis.estimates, *analysis.plain) if get_metric(m).lower_is_better]
        smaller = f" Lower is better: {', '.join(lower)}." if lower else ""
        parts.append(f"### {title}\n\n{_marked(conclusion(analysis))}{smaller}\n")
        for titles, lines in ((headings(analysis), rows(analysis)), attention_table(analysis), other_figures(analysis)):
            if len(titles) > 1:
                ruler = ["---", *["---:"] * (len(titles) - 1)]
                cells = [titles, ruler, *([cell.text for cell in line] for line in lines)]
                escaped = (list(map(_marked, line)) for line in cells)
                parts.append("\n".join(f"| {' | '.join(line)} |" for line in escaped) + "\n")
    return "\n".join(parts)


def latex(analyses: Sequence[Analysis]) -> str:
    """Return booktabs tables without intervals; the best and what does not differ significantly from it are bold."""
    parts = []
    for analysis in analyses:
        best = {analysis.names[0], *undecided(analysis, analysis.names[0])}
        against = analysis.options.baseline
        bold = (
            "no significant difference to the best"
            if against is None
            else f"the best; others were tested against {against}"
        )
        told = _tex(" ".join(f"{analysis.dataset}, {analysis.split}; bold {analysis.metric}: {bold}".split()))
        wanted = columns(analysis)
        lines = [" & ".join(["", *(_tex(m) for m in wanted)]) + r" \\", r"\midrule"]
        for name in analysis.names:
            cells = [figure(analysis, m, name, "").text.replace("±", r"$\pm$") for m in wanted]
            cells[0] = rf"\textbf{{{cells[0]}}}" if name in best else cells[0]
            lines.append(" & ".join([_tex(name), *cells]) + r" \\")
        body = "\n".join(lines)
        parts.append(
            f"% {told}; intervals are in table.md; needs \\usepackage{{booktabs}}\n"
            rf"\begin{{tabular}}{{l{'r' * len(wanted)}}}" + "\n\\toprule\n" + body + "\n\\bottomrule\n\\end{tabular}\n"
        )
    return "\n".join(parts)


def comma_separated(analyses: Sequence[Analysis]) -> str:
    """A line for each entry and metric."""
    file = io.StringIO()
    write = csv.writer(file)
    safe = {name: _no_formula(name) for a in analyses for name in a.names}
    write.writerow(["dataset", "split", "entry", "seeds", "metric", "score", "low", "high", "sd", "signature"])
    for a in analyses:
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
    """As a spreadsheet takes it for text."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _marked(text: str) -> str:
    """As Markdown takes it for text, in a line and in a table."""
    return "".join("\\" + mark if mark in "\\|`<" else mark for mark in " ".join(text.split()))


def undecided(analysis: Analysis, name: str, alpha: float = ALPHA) -> list[str]:
    """Return the entries that ``name`` was tested against and does not differ significantly from."""
    pairs = analysis.differences.get(analysis.metric, [])
    mine = [d for d in pairs if name in (d.a, d.b) and d.adjusted >= alpha]
    return [d.b if d.a == name else d.a for d in mine]


def conclusion(analysis: Analysis) -> str:
    """Return the conclusion on the main metric, in a sentence or two."""
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
    apart, level = undecided(analysis, best), how_corrected(analysis, analysis.metric)
    if against is not None and against != best:
        differs = "differs from" if not apart else "does not differ significantly from"
        text += (
            f" It {differs} {against} (p {'<' if not apart else '>='} 0.05{level}); others were not tested against it."
        )
    elif not apart:
        others = f"each of the {len(pairs)} others" if len(pairs) > 1 else "the other"
        text += f" It differs from {others} (p < 0.05{level})."
    elif len(apart) == len(pairs):
        text += f" It does not differ significantly from any other (p >= 0.05{level})."
    else:
        text += f" It does not differ significantly from {', '.join(apart)} (p >= 0.05{level})."
    alone = sum(not d.seeds for d in pairs)
    if alone == len(pairs):
        text += " With one run each, this holds for these runs only: other seeds may change it."
    elif alone:
        text += " Where one side has a single run and the other at most two, this holds for these runs only."
    return text


def how_corrected(analysis: Analysis, metric: str) -> str:
    """What was done to p for the number of pairs that were tested on a metric."""
    pairs = plural(len(analysis.differences.get(metric, [])), "pair")
    how = analysis.options.correction
    return f" after {how.capitalize()}'s correction for {pairs}" if how != "none" else ", not corrected"


def _tex(text: str) -> str:
    marks = {mark: "\\" + mark for mark in "&%$#_{}"}
    marks |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(marks.get(letter, letter) for letter in text)


def terminal_table(analysis: Analysis) -> str:
    """For a terminal: the main metric and those of attention, in columns."""
    wanted = columns(analysis)[:1] + [m for m in columns(analysis)[1:] if m in analysis.differences]
    lines = [["", "seeds", *wanted]]
    for row, name in zip(rows(analysis), analysis.names, strict=True):
        cells = [figure(analysis, m, name).text for m in wanted]
        lines.append([row[0].text, row[1].text, *cells])
    wide = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, wide, strict=True)).rstrip() for line in lines)
