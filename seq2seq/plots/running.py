"""Running text on a figure: words measured, broken into lines, set in their script's order and shaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from seq2seq.compat.matplotlib import without_glyph_warnings
from seq2seq.plots.fonts import label
from seq2seq.plots.heatmap import DPI
from seq2seq.plots.shading import ShadedWord, right_to_left

SIZE = 9.0  # points
LIMIT = 48  # columns of a word, from where it is cut


@dataclass
class Pen:
    """Measures words, and writes and shades a sheet: inches from the upper left corner."""

    fonts: list[str]
    boxes: list[tuple[tuple[float, float], float, float]] = field(default_factory=list)  # corner, width, height
    colours: list[Any] = field(default_factory=list)
    texts: list[tuple[float, float, str, dict[str, Any]]] = field(default_factory=list)
    renderer: RendererAgg = field(default_factory=lambda: FigureCanvasAgg(Figure(dpi=DPI)).get_renderer())
    known: dict[str, float] = field(default_factory=dict)

    def width(self, text: str) -> float:
        """Return the width of ``text`` in inches."""
        if text not in self.known:
            font = FontProperties(family=self.fonts, size=SIZE)
            with without_glyph_warnings():
                self.known[text] = self.renderer.get_text_width_height_descent(text, font, False)[0] / DPI
        return self.known[text]

    def write(self, x: float, y: float, text: str, **style: Any) -> None:
        """``text``, its baseline at y."""
        self.texts.append((x, y, text, {"family": self.fonts, "fontsize": SIZE, "parse_math": False, **style}))

    def box(self, x: float, y: float, wide: float, high: float, colour: Any) -> None:
        """A filled rectangle, over the earlier ones."""
        self.boxes.append(((x, y), wide, high))
        self.colours.append(colour)

    def finish(self, figure: Figure) -> None:
        """Put all of it on the figure, below its other axes."""
        wide, high = figure.get_size_inches()
        sheet = figure.add_axes((0, 0, 1, 1), xlim=(0, wide), ylim=(high, 0), zorder=-1)
        sheet.set_axis_off()
        corners = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h)] for (x, y), w, h in self.boxes]
        sheet.add_collection(PolyCollection(corners, facecolors=self.colours, linewidths=0), autolim=False)
        for x, y, text, style in self.texts:
            sheet.text(x, y, text, **style)


def wrap(words: Sequence[ShadedWord], pen: Pen, room: float) -> list[list[int]]:
    """Places of words, line by line."""
    lines: list[list[int]] = []
    x = 0.0
    for token_index, word in enumerate(words):
        x += 0.0 if word.joined else pen.width("n") * 0.6
        if not lines or x + pen.width(name_of(word)) > room:
            lines.append([])
            x = 0.0
        lines[-1].append(token_index)
        x += pen.width(name_of(word))
    return lines


def word_positions(
    words: Sequence[ShadedWord], line: list[int], pen: Pen, backwards: bool, room: float
) -> Iterator[tuple[int, float]]:
    """Yield (index, x) of each word of a line in its script's order; stretches of the other direction are reversed."""
    runs: list[tuple[bool, list[int]]] = []
    for token_index in line:
        own = right_to_left(words[token_index].text)
        turned = own is not None and own != backwards
        if not runs or runs[-1][0] != turned:
            runs.append((turned, []))
        runs[-1][1].append(token_index)
    order = [token_index for turned, run in runs for token_index in (reversed(run) if turned else run)]
    x = 0.0
    for n, token_index in enumerate(order):
        wide = pen.width(name_of(words[token_index]))
        x += 0.0 if n == 0 or words[token_index].joined else pen.width("n") * 0.6
        yield token_index, room - x - wide if backwards else x
        x += wide


def name_of(word: ShadedWord) -> str:
    """A word as it is drawn."""
    return label(word.text, LIMIT)
