"""Tests of charts: their numbers, names and lines, read from the SVG."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from seq2seq.comparison.charts import BOTTOM, HEIGHT, ROW, Point, lines, scatter


def ticks(svg: str, anchor: str) -> list[tuple[float, str]]:
    """Return position and text of an axis's numbers: y for the anchor "end", x for the anchor "middle"."""
    place = "y" if anchor == "end" else "x"
    found = re.findall(rf'<text x="([\d.]+)" y="([\d.]+)" text-anchor="{anchor}">([\d.]+[kMG]?)</text>', svg)
    return [(float(y if place == "y" else x), text) for x, y, text in found]


@pytest.mark.parametrize(
    "low, high, told",
    [
        (3.3, 3.9, ["3.4", "3.6", "3.8"]),
        (0.5, 40.0, ["0.5", "1", "2", "5", "10", "20"]),
        (0.5, 90.0, ["1", "10", "100"]),
    ],
)
def test_a_narrow_logarithmic_axis_has_numbers(low: float, high: float, told: list[str]) -> None:
    found = ticks(lines({"one": [Point(1, high), Point(2, low)]}, "updates", "nats", log=True), "end")
    assert [text for _, text in found] == told
    assert [at for at, _ in found] == sorted((at for at, _ in found), reverse=True)  # larger numbers are higher


def test_an_axis_of_similar_values_has_numbers() -> None:
    points = {"one": Point(4.9e6, 0.2), "two": Point(5.1e6, 0.3)}
    assert [text for _, text in ticks(scatter(points, "parameters", "cider"), "middle")] == ["4.5M", "5M", "5.5M"]


def test_names_of_lines_do_not_overlap() -> None:
    """Close names move apart, a distant name stays at the end of its line, and all names are inside the chart."""
    ends = {"low": 2.0, "lower": 1.0, "lowest": 1.0, "high": 90.0}
    svg = lines({name: [Point(0, 50), Point(1, end)] for name, end in ends.items()}, "x", "y")
    names = {name: float(y) for y, name in re.findall(r'class="name s\d" x="[\d.]+" y="([\d.]+)">(\w+)<', svg)}
    paths = dict(zip(ends, re.findall(r'class="line s\d"[^>]* d="M[\d. ]+L[\d.]+ ([\d.]+)"', svg)[::-1], strict=True))
    assert names["high"] == pytest.approx(float(paths["high"]) + 4, abs=0.1)
    heights = sorted(names.values())
    assert all(b - a >= ROW - 0.1 for a, b in pairwise(heights)) and heights[-1] <= HEIGHT - BOTTOM + 4.1


def test_a_line_of_one_point_is_a_dot() -> None:
    assert lines({"one": [Point(1, 2)]}, "x", "y").count("<circle") == 1
