"""Running text in a figure: words are measured, broken into lines, put in the order of their script, and shaded."""

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
from seq2seq.plots.saving import DPI
from seq2seq.plots.shading import ShadedWord, right_to_left

SIZE = 9.0  # points
LIMIT = 48  # columns of a word; a longer word is cut


@dataclass
class Pen:
    """Tool that measures words and collects the texts and boxes of a figure; all lengths are inches from the top left.

    Args:
        fonts: Font families, in the order in which they are tried.
        boxes: Upper left corner, width and height of each collected box.
        colours: Colour of each box.
        texts: Left end, baseline, text and style of each collected text.
        renderer: Renderer that measures words.
        known: Measured widths.
    """

    fonts: list[str]
    boxes: list[tuple[tuple[float, float], float, float]] = field(default_factory=list)
    colours: list[Any] = field(default_factory=list)
    texts: list[tuple[float, float, str, dict[str, Any]]] = field(default_factory=list)
    renderer: RendererAgg = field(default_factory=lambda: FigureCanvasAgg(Figure(dpi=DPI)).get_renderer())
    known: dict[str, float] = field(default_factory=dict)

    def width(self, text: str) -> float:
        """Return the width of a text.

        Args:
            text: Text in one line.
        """
        if text not in self.known:
            font = FontProperties(family=self.fonts, size=SIZE)
            with without_glyph_warnings():
                self.known[text] = self.renderer.get_text_width_height_descent(text, font, False)[0] / DPI
        return self.known[text]

    def write(self, x: float, y: float, text: str, **style: Any) -> None:
        """Add a text to the figure.

        Args:
            x: Left end of the text.
            y: Baseline of the text.
            text: Text in one line.
            style: Properties of matplotlib's text.
        """
        self.texts.append((x, y, text, {"family": self.fonts, "fontsize": SIZE, "parse_math": False, **style}))

    def box(self, x: float, y: float, wide: float, high: float, colour: Any) -> None:
        """Add a filled box, above the earlier ones.

        Args:
            x: Left side.
            y: Upper side.
            wide: Width.
            high: Height.
            colour: Colour of the box.
        """
        self.boxes.append(((x, y), wide, high))
        self.colours.append(colour)

    def finish(self, figure: Figure) -> None:
        """Draw all texts and boxes on a figure, below its other axes.

        Args:
            figure: Figure to draw on.
        """
        # Cover the figure with axes that count inches from the top left.
        wide, high = figure.get_size_inches()
        sheet = figure.add_axes((0, 0, 1, 1), xlim=(0, wide), ylim=(high, 0), zorder=-1)
        sheet.set_axis_off()
        # Draw all boxes as one collection, which is fast.
        corners = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h)] for (x, y), w, h in self.boxes]
        sheet.add_collection(PolyCollection(corners, facecolors=self.colours, linewidths=0), autolim=False)
        for x, y, text, style in self.texts:
            sheet.text(x, y, text, **style)


def wrap(words: Sequence[ShadedWord], pen: Pen, room: float) -> list[list[int]]:
    """Return the lines of a text, as places of words.

    Args:
        words: Words of the text.
        pen: Pen that measures the words.
        room: Width of a line in inches.
    """
    lines: list[list[int]] = []
    x = 0.0
    for token_index, word in enumerate(words):
        x += 0.0 if word.joined else pen.width("n") * 0.6
        # Begin a new line if the word does not fit.
        if not lines or x + pen.width(name_of(word)) > room:
            lines.append([])
            x = 0.0
        lines[-1].append(token_index)
        x += pen.width(name_of(word))
    return lines


def word_positions(
    words: Sequence[ShadedWord], line: list[int], pen: Pen, backwards: bool, room: float
) -> Iterator[tuple[int, float]]:
    """Yield (index, x) of each word of a line, in the order of the script.

    Words of the other direction are reversed among themselves.

    Args:
        words: Words of the text.
        line: Places of the words of the line.
        pen: Pen that measures the words.
        backwards: Whether the text runs from right to left.
        room: Width of the line in inches.
    """
    # Divide the line into runs of one direction.
    runs: list[tuple[bool, list[int]]] = []
    for token_index in line:
        own = right_to_left(words[token_index].text)
        turned = own is not None and own != backwards
        if not runs or runs[-1][0] != turned:
            runs.append((turned, []))
        runs[-1][1].append(token_index)
    # Reverse the runs of the other direction.
    order = [token_index for turned, run in runs for token_index in (reversed(run) if turned else run)]
    # Place the words.
    x = 0.0
    for n, token_index in enumerate(order):
        wide = pen.width(name_of(words[token_index]))
        x += 0.0 if n == 0 or words[token_index].joined else pen.width("n") * 0.6
        yield token_index, room - x - wide if backwards else x
        x += wide


def name_of(word: ShadedWord) -> str:
    """Return a word as it is drawn.

    Args:
        word: Word to draw.
    """
    return label(word.text, LIMIT)
