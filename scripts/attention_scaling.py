"""``scripts/benchmark.py attention``: time and memory of attention, as tables and a plot.

It measures self-attention over the length S, several forms of additive attention, and the cost of returning weights.
``peers/attention.py`` has the workers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import log2
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from peers.attention import SDPA, mechanism
from peers.benchmark_runner import Figures, Side, contest

from seq2seq.attention.types import SourceSpec
from seq2seq.config.instantiate import CONF
from seq2seq.errors import UserError

LEAST = 0.2  # minimum seconds of measurement per figure and round
PATIENCE = 15.0  # expected seconds of a step above which a side is left out
FORMS = ("projections", "naive", "loop", "ours")
COMPILED = ("naive, compiled", "ours, compiled")
ADDITIVE = {"batch": 32, "targets": 50, "positions": 50, "hidden": 512, "width": 512}
WEIGHTS = ("need_weights=False", "need_weights=True")
WIDE = {
    "sliding_window": "window.reach={0}",
    "dilated": "window.reach={0}",  # same number of keys, twice the distance
    "block_local": "window.size={1}",
    "longformer": "window.reach={0}",
    "big_bird": "window.reach={0}",
    "adaptive_span": "window.max_span={0}",
}
"""Options that set the window: {0} positions to each side, {1} in total."""
MEBIBYTE = 2**20


def choices(window: int, width: int, heads: int, causal: bool) -> list[str]:
    """Return the default sides: SDPA, and each self-attention that is possible in the encoder or decoder.

    A side is the name of a file of conf/self_attention with options, in one line.

    Args:
        window: Positions that windows see on each side.
        width: Width of the states.
        heads: Number of heads.
        causal: Self-attention of the decoder (True) or of the encoder (False).
    """
    names = [SDPA]
    for name in _known():
        line = f"{name} {WIDE[name].format(window, 2 * window)}" if name in WIDE else name
        # Leave out mechanisms that refuse this use.
        try:
            mechanism("self_attention", line, width, heads, SourceSpec(width, is_self=True, causal=causal))
        except UserError:
            continue
        names.append(line)
    return names


def _known() -> list[str]:
    """Return the names of all self-attentions."""
    return sorted(path.stem for path in (CONF / "self_attention").glob("*.yaml"))


def over_lengths(
    lengths: Sequence[int], names: Sequence[str], rounds: int, threads: int, folder: Path, bytes_: float, **task: Any
) -> dict[str, list[Figures]]:
    """Measure self-attention over several lengths; skip a side where it would need too much memory or time.

    Args:
        lengths: Lengths S, in rising order.
        names: Sides.
        rounds: Number of measured rounds.
        threads: Number of CPU threads of each side.
        folder: Folder for the logs of the workers.
        bytes_: Memory limit of all sides together.
        task: Further options of the worker (``peers.attention``).

    Returns:
        {S: figures of each side}.
    """
    found: dict[str, list[Figures]] = {}
    last: dict[str, tuple[int, Figures]] = {}
    for length in lengths:
        # The first length has no earlier figures to extrapolate from.
        chosen = affordable(last, length, bytes_) if last else names
        about = {"what": "curve", "model": f"S={length}", "length": length, "least": LEAST, **task}
        results = _contest(chosen, about, rounds, threads, folder)
        found[f"{length}"] = results
        last |= {result["side"]: (length, result) for result in results}
    return found


def check(names: Sequence[str], also: Sequence[str] = (SDPA,)) -> None:
    """Check the names of sides.

    Args:
        names: Sides, as "NAME KEY=VALUE ...".
        also: Names that are allowed beside those of conf/self_attention.

    Raises:
        UserError: A name is unknown.
    """
    known = [*also, *_known()]
    for name in names:
        if not name.split() or name.split()[0] not in known:
            raise UserError(f"--sides {name!r}: unknown side; use 'NAME KEY=VALUE ...' with one of {', '.join(known)}")


def affordable(last: dict[str, tuple[int, Figures]], length: int, bytes_: float) -> list[str]:
    """Return the sides whose expected memory and time are within the limits.

    Expected figures grow with the square of the length. The smallest sides are taken first, until their total memory
    reaches the limit, because all workers stay in memory together.

    Args:
        last: {side: (S, figures)} of the last measurement of each side.
        length: Next length S.
        bytes_: Memory limit of all sides together.
    """
    # Extrapolate from the last length.
    expected = {}
    for name, (was, result) in last.items():
        growth = (length / was) ** 2
        expected[name] = growth * max(result["peak"].values()), growth * max(result["times"].values())

    # Take the smallest sides.
    chosen, total = set(), 0.0
    for name, (size, took) in sorted(expected.items(), key=lambda item: item[1]):
        total += size
        if total <= bytes_ and took <= PATIENCE:
            chosen.add(name)
    return [name for name in expected if name in chosen]


def additive(rounds: int, threads: int, folder: Path, *, compiled: bool, **sizes: int) -> list[Figures]:
    """Measure a training step of additive attention in each form.

    Args:
        rounds: Number of measured rounds.
        threads: Number of CPU threads of each side.
        folder: Folder for the logs of the workers.
        compiled: Also measure forms with ``torch.compile``.
        sizes: Changes of ``ADDITIVE``.
    """
    about = {"what": "additive", "model": "additive", "least": LEAST, **ADDITIVE, **sizes}
    return _contest((*FORMS, *(COMPILED if compiled else ())), about, rounds, threads, folder)


def weights(rounds: int, threads: int, folder: Path, *, length: int = 512, **task: Any) -> list[Figures]:
    """Measure multi-head attention with and without returned weights.

    Args:
        rounds: Number of measured rounds.
        threads: Number of CPU threads of each side.
        folder: Folder for the logs of the workers.
        length: Length S = T.
        task: Further options of the worker.
    """
    about = {"what": "weights", "model": "weights", "least": LEAST, "length": length, "batch": 8, **task}
    return _contest(WEIGHTS, about, rounds, threads, folder)


def _contest(names: Sequence[str], task: Figures, rounds: int, threads: int, folder: Path) -> list[Figures]:
    """Measure all sides in turn; ``times`` has the median over rounds of each figure."""
    sides = [Side(name, "fp32", (sys.executable, "-m", "peers.attention", name)) for name in names]
    results = contest(sides, task, rounds, threads, folder)
    for result in results:
        each = [done["times"] for done in result["rounds"]]
        result["times"] = {figure: median(times[figure] for times in each) for figure in each[0]}
    return results


def measured(report: Figures) -> list[Figures]:
    """Return all results of a report.

    Args:
        report: Result of ``benchmark.attend``.
    """
    curves = [result for results in report.get("curves", {}).values() for result in results]
    return [*curves, *report.get("additive", []), *report.get("weights", [])]


def tables(report: Figures) -> str:
    """Return the tables of a report, in Markdown.

    Args:
        report: Result of ``benchmark.attend``.
    """
    parts = []
    # Self-attention over S.
    if curves := report.get("curves"):
        slot = "causal" if report["causal"] else "not causal"
        lead = f"{report['width']} wide, {report['heads']} heads, {slot}, B = 1"
        parts += [
            f"Training step of attention without projections, ms ({lead}):\n\n" + _over(curves, _proper_step),
            f"The same with projections, ms:\n\n{_over(curves, _whole_step)}",
            f"Peak memory of a training step, without projections where possible, MiB:\n\n{_over(curves, _peak)}",
            f"S = {_focus(curves)}:\n\n{_at(curves[_focus(curves)])}",
        ]

    # The other measurements.
    if forms := report.get("additive"):
        parts.append(_forms(forms))
    if asked := report.get("weights"):
        parts.append(_asked(asked))
    return "\n\n".join(parts)


def _proper_step(result: Figures) -> float | None:
    return _ms(result["times"].get("step"))


def _whole_step(result: Figures) -> float | None:
    return _ms(result["times"].get("whole step"))


def _peak(result: Figures) -> float:
    peak: float = result["peak"].get("step", result["peak"].get("whole step"))
    return peak / MEBIBYTE


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _over(curves: dict[str, list[Figures]], figure: Any) -> str:
    """Return a table with a row per side, a column per S, and the growth S^x between the last two columns."""
    rows = [["side", *(f"S = {length}" for length in curves), "grows as"]]
    for name, series in _series(curves, figure).items():
        known = [(length, value) for length, value in series.items() if value]
        # Fit a power of S to the last two lengths.
        growth = ""
        if len(known) > 1:
            (short, before), (long, after) = known[-2:]
            growth = f"S^{log2(after / before) / log2(long / short):.1f}"
        rows.append([name, *(_number(series.get(int(length))) for length in curves), growth])
    return _markdown([row for row in rows if any(row[1:])])


def _series(curves: dict[str, list[Figures]], figure: Any) -> dict[str, dict[int, float | None]]:
    """Return {side: {S: figure}}."""
    found: dict[str, dict[int, float | None]] = {}
    for length, results in curves.items():
        for result in results:
            found.setdefault(result["side"], {})[int(length)] = figure(result)
    return found


def _focus(curves: dict[str, list[Figures]]) -> str:
    """Return the S of the detailed table: 4096 if it was measured, else the last one."""
    return "4096" if "4096" in curves else list(curves)[-1]


def _at(results: list[Figures]) -> str:
    """Return a table that compares each side with SDPA, and with multi_head where projections are included."""
    base = {result["side"]: result["times"] for result in results}
    proper, whole = base.get(SDPA, {}), base.get("multi_head", {})
    # Compare training steps only.
    rows = [["side", "forward, ms", "step, ms", "faster than sdpa", "with projections, ms", "faster than multi_head"]]
    for name, times in base.items():
        rows.append([name, *(_number(_ms(times.get(figure))) for figure in ("forward", "step"))])
        rows[-1].append(_ratio(proper.get("step"), times.get("step")))
        rows[-1] += [_number(_ms(times.get("whole step"))), _ratio(whole.get("whole step"), times.get("whole step"))]
    return _markdown(rows)


def _forms(results: list[Figures]) -> str:
    """Return the table of the forms of additive attention; the time of W and U is subtracted."""
    # All forms contain the projections W and U, so subtract their time.
    took = {result["side"]: result["times"]["step"] for result in results}
    floor, kept = took["projections"], {result["side"]: result["saved"] for result in results}
    rows = [["form", "step, ms", "without W and U, ms", "of the loop's time", "kept for backward, MiB", "of naive's"]]
    for name in took:
        proper = took[name] - floor if name != "projections" else None
        rows.append([name, _number(_ms(took[name])), _number(_ms(proper))])
        rows[-1].append(_ratio(proper, took["loop"] - floor))
        rows[-1] += [_number(kept[name] / MEBIBYTE), _ratio(kept[name], kept["naive"])]
    sizes = "B = {batch}, T = {targets}, S = {positions}, A = {hidden}, width {width}".format(**ADDITIVE)
    return f"Additive attention, teacher-forced ({sizes}), a training step:\n\n{_markdown(rows)}"


def _asked(results: list[Figures]) -> str:
    """Return the table of attention with and without returned weights."""
    rows = [["multi_head", "forward, ms", "step, ms", "peak, MiB"]]
    for result in results:
        times = [_number(_ms(result["times"][f])) for f in ("forward", "step")]
        rows.append([result["side"], *times, _number(result["peak"]["step"] / MEBIBYTE)])
    # Both must give the same contexts.
    off = max(abs(a - b) for a, b in zip(*(result["context"] for result in results), strict=True))
    lead = f"With and without returned weights (S = T = 512, B = 8); contexts differ by at most {off:.0e}"
    return f"{lead}:\n\n{_markdown(rows)}"


def _number(value: float | None) -> str:
    """Return a number with three digits."""
    return "" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(over: float | None, under: float | None) -> str:
    return f"{over / under:.2f}" if over and under else ""


def _markdown(rows: list[list[str]]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, f"| --- |{' ---: |' * (len(rows[0]) - 1)}", *body])


def plot(report: Figures, path: Path) -> None:
    """Plot time and memory of a training step over S, with logarithmic axes.

    Args:
        report: Result of ``benchmark.attend``, with ``curves``.
        path: File of the image.
    """
    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    panels = (("Training step without projections", "ms", _proper_step), ("Peak memory of the step", "MiB", _peak))
    lengths = [int(length) for length in report["curves"]]
    for panel, (title, unit, of) in zip(axes, panels, strict=True):
        # Draw one curve per side.
        for place, (name, series) in enumerate(_series(report["curves"], of).items()):
            points = [(length, value) for length, value in series.items() if value]
            look: dict[str, Any] = {"color": "black", "linewidth": 2.5} if name == SDPA else {"color": f"C{place % 10}"}
            marker = "oosvD^"[place // 10] if name != SDPA else "o"
            panel.plot(*zip(*points, strict=True), marker=marker, markersize=4, label=name, **look) if points else None
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter(NullFormatter())

        # Draw guides that grow as S and S^2, from the lower left corner.
        for power, style in ((1, ":"), (2, "--")):
            low = panel.get_ylim()[0]
            guide = [low * (length / lengths[0]) ** power for length in lengths]
            panel.plot(lengths, guide, style, color="grey", linewidth=1, label=f"grows as S^{power}", zorder=0)

        # Label the axes.
        panel.set_xticks(lengths, [f"{length // 1024}k" if length >= 1024 else f"{length}" for length in lengths])
        panel.set_xlabel("S")
        panel.set_ylabel(unit)
        panel.set_title(title)
        panel.grid(alpha=0.3)
    axes[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=150)
