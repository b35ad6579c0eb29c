"""What a chart's axes say, read from its SVG."""

from __future__ import annotations

import re

import pytest

from seq2seq.comparison.charts import Point, lines, scatter


def ticks(svg: str, anchor: str) -> list[tuple[float, str]]:
    """Place and text of the numbers along an axis: y where they end at it, x where they stand in the middle."""
    place = "y" if anchor == "end" else "x"
    found = re.findall(rf'<text x="([\d.]+)" y="([\d.]+)" text-anchor="{anchor}">([\d.]+[kMG]?)</text>', svg)
    return [(float(y if place == "y" else x), text) for x, y, text in found]


@pytest.mark.parametrize(
    "low, high, told",
    [(3.3, 3.9, ["3.4", "3.6", "3.8", "4", "4.2"]), (0.5, 90.0, ["0.5", "1", "2", "5", "10", "20", "50"])],
)
def test_a_logarithmic_axis_has_numbers_however_narrow(low: float, high: float, told: list[str]) -> None:
    found = ticks(lines({"one": [Point(1, high), Point(2, low)]}, "updates", "nats", log=True), "end")
    assert [text for _, text in found] == told
    assert [at for at, _ in found] == sorted((at for at, _ in found), reverse=True)  # upwards


def test_parameters_that_are_nearly_alike() -> None:
    points = {"one": Point(4.9e6, 0.2), "two": Point(5.1e6, 0.3)}
    assert [text for _, text in ticks(scatter(points, "parameters", "cider"), "middle")] == ["4.5M", "5M", "5.5M"]
