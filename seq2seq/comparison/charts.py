"""Charts as SVG text.

The charts need no script. Their colours are CSS variables of the page. Labels and line styles tell the series apart
where colours cannot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10

from seq2seq.comparison.ranks import Ranking

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 62, 230, 14, 46
"""Margins around the plot area, in pixels."""
ROW = 14
"""Least distance between two names, in pixels."""
MAX_NAMED = 7
"""Largest number of series with a colour and a name. The others are thin and grey; a tooltip names them."""
DASHES = ("", "6 3", "2 3", "8 3 2 3", "", "6 3", "2 3")


@dataclass(frozen=True)
class Point:
    """One point of a chart; ``low`` to ``high`` is an interval of y."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    label: str = ""  # the text of its tooltip in a scatter chart


def lines(
    series: Mapping[str, Sequence[Point]], x: str, y: str, *, ticks: Sequence[str] = (), log: bool = False
) -> str:
    """Draw one line for each series.

    Args:
        series: {name: points}; the first ``MAX_NAMED`` series have names and colours.
        x: Label of the x axis.
        y: Label of the y axis.
        ticks: Names of x = 0, 1, ...; without names the ticks are numbers.
        log: Whether the y axis is logarithmic.

    Returns:
        The SVG text; empty without finite points.
    """
    known = {name: [p for p in points if isfinite(p.x) and isfinite(p.y)] for name, points in series.items()}
    known = {name: points for name, points in known.items() if points}
    if not known:
        return ""
    # Draw the axes around all points.
    frame = _Frame.around([p for points in known.values() for p in points], log=log)
    parts = frame.axes(x, y, ticks)
    names = list(known)
    # Draw the named series last, on top of the others.
    for place in reversed(range(len(names))):
        name, points = names[place], known[names[place]]
        # Draw the line in its colour and its dashes.
        path = "M" + "L".join(f"{frame.x(p.x):.1f} {frame.y(p.y):.1f}" for p in points)
        kind = f"s{place}" if place < MAX_NAMED else "rest"
        dash = f' stroke-dasharray="{DASHES[place]}"' if place < MAX_NAMED and DASHES[place] else ""
        band = ""
        # Draw the intervals of a named series.
        ranges = [(p.x, p.low, p.high) for p in points if p.low is not None and p.high is not None]
        if place < MAX_NAMED and len(ranges) == len(points):
            bars = (f"M{frame.x(x):.1f} {frame.y(low):.1f}V{frame.y(high):.1f}" for x, low, high in ranges)
            band = f'<path class="bar {kind}" d="{"".join(bars)}"/>'
        title = f"<title>{escape(name)}</title>"
        drawn = f'<path class="line {kind}"{dash} d="{path}">{title}</path>'
        # A line through one point is invisible: draw a dot.
        if len(points) == 1:
            x_at, y_at = frame.x(points[0].x), frame.y(points[0].y)
            drawn = f'<circle class="dot {kind}" cx="{x_at:.1f}" cy="{y_at:.1f}" r="4">{title}</circle>'
        parts.append(f"<g>{band}{drawn}</g>")
    # Write each name at the end of its line.
    ends = {name: frame.y(known[name][-1].y) for name in names[:MAX_NAMED]}
    parts.append(_names(ends))
    return frame.svg(parts, f"{y} over {x}: {', '.join(names[:MAX_NAMED])}")


def scatter(points: Mapping[str, Point], x: str, y: str, *, log: bool = True) -> str:
    """Draw one point for each entry.

    Args:
        points: {entry: its point}; the first ``MAX_NAMED`` entries have names and colours.
        x: Label of the x axis.
        y: Label of the y axis.
        log: Whether the x axis is logarithmic; then points with x <= 0 are dropped.

    Returns:
        The SVG text; empty without finite points.
    """
    known = {n: p for n, p in points.items() if isfinite(p.x) and isfinite(p.y) and (p.x > 0 or not log)}
    if not known:
        return ""
    frame = _Frame.around(list(known.values()), log_x=log)
    parts = frame.axes(x, y, ())
    # Draw the named points last, on top of the others.
    for place, (name, p) in reversed(list(enumerate(known.items()))):
        kind = f"s{place}" if place < MAX_NAMED else "rest"
        at = f"{frame.x(p.x):.1f}", f"{frame.y(p.y):.1f}"
        bar = ""
        if p.low is not None and p.high is not None:
            bar = f'<path class="bar {kind}" d="M{at[0]} {frame.y(p.low):.1f}V{frame.y(p.high):.1f}"/>'
        title = f"<title>{escape(name)}: {escape(p.label)}</title>"
        parts.append(f'<g>{bar}<circle class="dot {kind}" cx="{at[0]}" cy="{at[1]}" r="4">{title}</circle></g>')
    # Write each name at the height of its point.
    first = list(known)[:MAX_NAMED]
    parts.append(_names({name: frame.y(known[name].y) for name in first}))
    return frame.svg(parts, f"{y} against {x}: {', '.join(first)}")


def critical_difference(ranking: Ranking) -> str:
    """Draw mean ranks on a line, with a bar for each group of systems without a significant difference.

    Args:
        ranking: Ranks of the systems over several datasets.

    Returns:
        The SVG text.
    """
    names = list(ranking.ranks)
    # Compute the size of the chart.
    wide, row = WIDTH - 40, 18
    high = 60 + row * ((len(names) + 1) // 2) + 12 * len(ranking.groups())

    def at(rank: float) -> float:
        """Return the horizontal pixel of a rank."""
        return 20 + (rank - 1) / max(1, len(names) - 1) * wide

    # Draw the axis of ranks.
    parts = [f'<path class="axis" d="M{at(1):.1f} 40H{at(len(names)):.1f}"/>']
    parts += [f'<text x="{at(n):.1f}" y="30" text-anchor="middle">{n}</text>' for n in range(1, len(names) + 1)]
    # Draw a bar for each group.
    bottom = 46
    for first, last in ranking.groups():
        parts.append(
            f'<path class="group" d="M{at(ranking.ranks[first]) - 3:.1f} {bottom}H{at(ranking.ranks[last]) + 3:.1f}"/>'
        )
        bottom += 8
    # Write the better half of the names at the left, the other half at the right.
    half = (len(names) + 1) // 2
    for place, name in enumerate(names):
        left = place < half
        level = bottom + 14 + row * (place if left else len(names) - 1 - place)
        end, anchor = (4, "start") if left else (WIDTH - 4, "end")
        rank = at(ranking.ranks[name])
        parts.append(f'<path class="tie" d="M{rank:.1f} 40V{level - 4}H{end}"/>')
        text = f"{escape(name)} {ranking.ranks[name]:.2f}"
        parts.append(f'<text x="{end}" y="{level - 7}" text-anchor="{anchor}">{text}</text>')
    # Draw a bar as long as the critical difference.
    reach = at(1 + ranking.critical) if ranking.critical < len(names) - 1 else at(len(names))
    parts.append(f'<path class="group" d="M20 12H{reach:.1f}"/><text x="24" y="9">CD {ranking.critical:.2f}</text>')
    ranks = ", ".join(f"{n} {r:.2f}" for n, r in ranking.ranks.items())
    return _svg(parts, f"mean ranks: {ranks}; critical difference {ranking.critical:.2f}", WIDTH, high)


@dataclass(frozen=True)
class _Frame:
    """Axes of a chart: the ranges of x and y, and their mapping to pixels."""

    left: float
    right: float
    bottom: float
    top: float
    log_x: bool = False
    log_y: bool = False

    @staticmethod
    def around(points: Sequence[Point], *, log: bool = False, log_x: bool = False) -> _Frame:
        """Return axes that hold all points and their intervals, with small margins."""
        xs = [p.x for p in points]
        ys = [v for p in points for v in (p.y, p.low, p.high) if v is not None and isfinite(v)]
        left, right = min(xs), max(xs)
        low, high = min(ys), max(ys)
        if log:
            # Zeros and tiny values would stretch a logarithmic axis.
            low = max(low, high / 1e6)
        edge = 0.04 * (high - low) or 0.5
        # Leave a margin, and give a single value a range.
        if log_x:
            left, right = (left / 1.15, right * 1.15)
        elif left == right:
            left, right = left - 0.5, right + 0.5
        if log:
            edge = (high / low) ** 0.04 if high > low else 1.1
            return _Frame(left, right, low / edge, high * edge, log_x, log)
        return _Frame(left, right, low - edge, high + edge, log_x, log)

    def x(self, value: float) -> float:
        """Return the horizontal pixel of a value."""
        return LEFT + _share(value, self.left, self.right, self.log_x) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return the vertical pixel of a value."""
        return HEIGHT - BOTTOM - _share(value, self.bottom, self.top, self.log_y) * (HEIGHT - TOP - BOTTOM)

    def axes(self, x: str, y: str, names: Sequence[str]) -> list[str]:
        """Draw both axes, with labels ``x`` and ``y``; ``names`` are the ticks of x = 0, 1, ..., if any."""
        found = []
        # Write the ticks of the x axis.
        across = [(float(n), name) for n, name in enumerate(names)]
        for value, name in across or [(v, _short(v)) for v in _ticks(self.left, self.right, self.log_x)]:
            at = self.x(value)
            if LEFT - 1 <= at <= WIDTH - RIGHT + 1:
                found.append(
                    f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{escape(name)}</text>'
                )
        # Draw the ticks and grid lines of the y axis.
        for value in _ticks(self.bottom, self.top, self.log_y):
            at = self.y(value)
            found.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
            found.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{_short(value)}</text>')
        # Draw the axes and their labels.
        found.append(f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        found.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x)}</text>')
        up = (HEIGHT - BOTTOM + TOP) / 2
        found.append(f'<text transform="translate(14 {up}) rotate(-90)" text-anchor="middle">{escape(y)}</text>')
        return found

    def svg(self, parts: Sequence[str], description: str) -> str:
        """Return the chart as SVG, with a description for screen readers."""
        return _svg(parts, description, WIDTH, HEIGHT)


def _svg(parts: Sequence[str], description: str, width: int, height: int) -> str:
    """Wrap the parts of a chart in an SVG element."""
    head = f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(description)}">'
    return head + "".join(parts) + "</svg>"


def _names(ends: Mapping[str, float]) -> str:
    """Write names at the right, near the heights ``ends`` and without overlap."""
    order = sorted(enumerate(ends), key=lambda one: ends[one[1]])
    # Move names down until none overlaps the one above it.
    levels: list[float] = []
    for _, name in order:
        levels.append(max(ends[name], levels[-1] + ROW if levels else ends[name]))
    # Move names up where they leave the chart.
    lowest = float(HEIGHT - BOTTOM)
    for n in reversed(range(len(levels))):
        levels[n] = min(levels[n], lowest)
        lowest = levels[n] - ROW
    return "".join(
        f'<text class="name s{place}" x="{WIDTH - RIGHT + 8}" y="{at + 4:.1f}">{escape(_cut(name))}</text>'
        for (place, name), at in zip(order, levels, strict=True)
    )


def _cut(name: str, size: int = 33) -> str:
    """Cut the middle out of a long name: names differ most at their beginnings and ends."""
    return name if len(name) <= size else f"{name[: size // 2]}…{name[-(size // 2) :]}"


def _share(value: float, low: float, high: float, log: bool) -> float:
    """Return the relative position of a value between ``low`` (0) and ``high`` (1)."""
    if log:
        value, low, high = (log10(max(v, 1e-12)) for v in (value, low, high))
    return (value - low) / (high - low) if high > low else 0.5


def _ticks(low: float, high: float, log: bool, count: int = 5) -> list[float]:
    """Return round numbers between ``low`` and ``high``, about ``count`` on a linear axis."""
    if log:
        # Prefer powers of ten; add their double and fivefold if there are few.
        powers = range(floor(log10(low)), ceil(log10(high)) + 1)
        for steps in ((1,), (1, 2, 5)):
            if len(found := [v for p in powers for m in steps if low <= (v := 10.0**p * m) <= high]) > 2:
                return found
        # The range is less than a decade: linear steps suffice.
    rough = (high - low) / count
    if rough <= 0:
        return [low]
    unit = 10 ** floor(log10(rough))
    step = next((unit * m for m in (1, 2, 5, 10) if unit * m >= rough), unit * 10)
    return [n * step for n in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def _short(value: float) -> str:
    """Format a number with three digits and a unit prefix."""
    for size, mark in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{mark}"
    return f"{value:.3g}"
