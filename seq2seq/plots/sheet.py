"""Sheet of an image caption: the image once for each word, bright where the model attended; as PNG, with the arrays.

Cells with attention stay bright and in colour, all others are dark and grey, so that colour-blind readers see the
difference. A solid box marks the choice of a single cell, a dashed box is the gold region of a word, and a bar below
the image is the attention on a sentinel.

Letters: T target pieces, J target words, S cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from textwrap import wrap
from typing import Any
from unicodedata import east_asian_width

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from seq2seq.compat.matplotlib import without_glyph_warnings
from seq2seq.files.writing import writing
from seq2seq.metrics.words import merge
from seq2seq.plots.fonts import families, label
from seq2seq.plots.heatmap import DPI

Array = NDArray[np.float64]
PANEL, GAP, NAME, LINE = 1.7, 0.14, 0.34, 0.17  # inches of a panel, a gap, a name and a line of the title
LETTERS = 13  # letters of a title in an inch; letters of East Asia are twice as wide
ACROSS = 6  # panels side by side
BAR = 0.07  # height of a bar in inches
DIM = 0.35  # brightness of cells without attention
ONE = 0.99  # share of the attention from which a single cell counts as chosen
CHOSEN, GOLD, OUTSIDE = "#0072b2", "#d55e00", "#e69f00"


@dataclass(frozen=True)
class ImageAttention:
    """Attention of each word of a caption on the cells of its image."""

    words: list[str]  # (J,)
    weights: Array  # (J, S)
    sentinel: Array | None  # (J,) attention on the sentinel


def save_sheet(
    directory: str | Path,
    record: int,
    image: Image.Image,
    alignment: ArrayLike,
    cells: ArrayLike,
    extent: Sequence[float],
    words: Sequence[str],
    target_words: Sequence[int],
    *,
    sentinel: ArrayLike | None = None,
    regions: Sequence[Sequence[float]] | None = None,
    title: str = "",
) -> list[Path]:
    """Write DIRECTORY/RECORD_sheet.png and .npz, and return the path of the image.

    The arrays are ``alignment``, ``cells``, ``extent``, ``words``, ``target_words`` and ``sentinel``.

    Args:
        directory: Directory of the files.
        record: Number of the record, for the names of the files.
        image: Image of the caption.
        alignment: Attention (T, S).
        cells: Row and column of each cell (S, 2).
        extent: Number of rows and of columns that the image fills; the last ones may be filled in part.
        words: Words of the caption (J,).
        target_words: Number of each piece's word (T,); -1 for ``</s>``.
        sentinel: Attention on the sentinel (T,).
        regions: Gold boxes of each word (J,); only for a caption that equals the reference.
        title: Title of the sheet.
    """
    stem = Path(directory) / f"{record:05d}_sheet"
    # Average the attention over the pieces of each word.
    weights = merge(alignment, np.arange(np.shape(alignment)[1]), target_words)
    outside = None
    if sentinel is not None:
        outside = merge(np.asarray(sentinel)[:, None], [0], target_words)[:, 0]
    # Draw the sheet, and store the arrays.
    figure = draw(
        image,
        ImageAttention(list(words), weights, outside),
        cells,
        extent,
        regions=regions,
        title=title or f"record {record}",
    )
    file = Path(f"{stem}.png")
    with without_glyph_warnings(), writing(file) as temporary:
        figure.savefig(temporary)
    with writing(f"{stem}.npz") as temporary:
        np.savez_compressed(
            temporary,
            alignment=np.asarray(alignment, np.float32),
            cells=np.asarray(cells, np.int64),
            extent=np.asarray(extent, np.float64),
            words=np.array(words, np.str_),
            target_words=np.asarray(target_words, np.int64),
            sentinel=np.asarray([] if sentinel is None else sentinel, np.float32),
        )
    return [file]


def draw(
    image: Image.Image,
    looks: ImageAttention,
    cells: ArrayLike,
    extent: Sequence[float],
    *,
    regions: Sequence[Sequence[float]] | None = None,
    title: str = "",
) -> Figure:
    """Return a figure with the image itself, then a panel for each word.

    Args:
        image: Image of the caption.
        looks: Attention of each word.
        cells: Row and column of each cell (S, 2).
        extent: Number of rows and of columns that the image fills.
        regions: Gold boxes of each word (J,).
        title: Title of the figure.
    """
    # Find the size of a panel, and the number of panels side by side.
    shape, strip = image.height / image.width, image.width / image.height / 2
    wide = PANEL * (min(strip, ACROSS) if strip > 1 else min(1.0, 1.0 / shape))  # a strip of frames is wider
    high = wide * shape
    count = len(looks.words) + 1
    across = min(max(1, int(ACROSS * PANEL / wide)), count)
    down = ceil(count / across)
    width = GAP + across * (wide + GAP)
    # Make the figure, with its title.
    head = _lines(title, int(LETTERS * width))
    top = 0.4 + LINE * (len(head) - 1)
    size = width, top + down * (high + NAME + BAR + GAP)
    figure = Figure(figsize=size, dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    fonts = families([*looks.words, title])
    for line, text in enumerate(head):
        figure.text(GAP / size[0], 1 - (0.26 + line * LINE) / size[1], text, family=fonts, fontsize=9, parse_math=False)
    # Draw the panels.
    colours = np.asarray(image.convert("RGB"), np.float64) / 255.0
    for place in range(count):
        row, column = divmod(place, across)
        left = GAP + column * (wide + GAP)
        bottom = size[1] - top - row * (high + NAME + BAR + GAP) - NAME - high
        axes = figure.add_axes((left / size[0], bottom / size[1], wide / size[0], high / size[1]))
        # Write the word above the image.
        word = place - 1
        name = label(looks.words[word]) if place else "image"
        style: dict[str, Any] = {
            "family": fonts,
            "fontsize": 9,
            "parse_math": False,
            "color": "black" if place else "0.4",
        }
        axes.set_title(name, pad=3, **style)
        axes.set_axis_off()
        if not place:
            _show(axes, colours)
            continue
        # Show where the word attends.
        _word(axes, colours, looks.weights[word], np.asarray(cells), extent)
        if regions is not None:
            for box in np.reshape(np.asarray(regions[word], np.float64), (-1, 4)):
                _frame(axes, box, colours.shape, GOLD, dashed=True)
        # Draw the attention on the sentinel.
        if looks.sentinel is not None:
            bar = figure.add_axes((left / size[0], (bottom - BAR) / size[1], wide / size[0], BAR / size[1]))
            bar.barh(0, looks.sentinel[word], color=OUTSIDE)
            bar.set(xlim=(0, 1), xticks=[], yticks=[])
            for spine in bar.spines.values():
                spine.set(linewidth=0.5, color="0.6")
    return figure


def light(weights: Array, cells: NDArray[np.int64], extent: Sequence[float], height: int, width: int) -> Array:
    """Return the brightness (height, width) of pixels, from 0 to 1: smooth, and 1 at the brightest place.

    Uniform attention is half as bright, so that it does not look like attention with a centre.

    Args:
        weights: Attention on the cells (S,).
        cells: Row and column of each cell (S, 2).
        extent: Number of rows and of columns that the image fills.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    rows, columns = (ceil(size) for size in extent)
    # Put the weights on the grid, and scale them.
    grid = np.zeros((rows, columns))
    grid[tuple(cells.T)] = weights
    full = max(grid.max(), 2.0 / grid.size, 1e-12)
    seen = 0.0, 0.0, extent[1], extent[0]  # part of the grid that is not padding
    # Enlarge the grid to the image.
    small = Image.fromarray((grid / full).astype(np.float32))
    smooth = small.resize((width, height), Image.Resampling.BICUBIC, box=seen)
    return np.asarray(smooth, np.float64).clip(0.0, 1.0)


def _lines(text: str, width: int) -> list[str]:
    """Return a text in lines of at most ``width`` letters, broken between words, or inside a word that is too long."""
    wide = "\N{ZERO WIDTH SPACE}"  # stands beside a letter of double width
    spread = "".join(letter + wide * (east_asian_width(letter) in "WF") for letter in text)
    return [line.replace(wide, "") for line in wrap(spread, max(1, width))]


def _word(axes: Axes, colours: Array, weights: Array, cells: NDArray[np.int64], extent: Sequence[float]) -> None:
    """Draw the attention of a word as light on the image, and a box around the only cell that it chose."""
    height, width = colours.shape[:2]
    # Find out whether a single cell was chosen.
    chosen = int(weights.argmax()) if len(weights) else -1
    single = len(weights) > 0 and weights[chosen] >= ONE * max(weights.sum(), 1e-12) and weights[chosen] > 0
    # Mix the image with a dark, grey one.
    bright = light(weights, cells, extent, height, width)[..., None]
    grey = colours.mean(2, keepdims=True) * DIM
    _show(axes, colours * bright + grey * (1.0 - bright))
    if single:
        (row, column), (rows, columns) = cells[chosen], extent
        box = column / columns, row / rows, min(1.0, (column + 1) / columns), min(1.0, (row + 1) / rows)
        _frame(axes, box, colours.shape, CHOSEN)


def _show(axes: Axes, colours: Array) -> None:
    """Draw an image on axes."""
    axes.imshow(colours.clip(0.0, 1.0), aspect="auto", interpolation="bilinear")


def _frame(
    axes: Axes, box: Sequence[float] | Array, shape: tuple[int, ...], colour: str, *, dashed: bool = False
) -> None:
    """Draw a box (left, top, right, bottom, as shares of the image); a white line below makes it visible everywhere."""
    left, top, right, bottom = box
    height, width = shape[:2]
    corner, sides = (left * width - 0.5, top * height - 0.5), ((right - left) * width, (bottom - top) * height)
    for line, thick, style in (("white", 2.4, "-"), (colour, 1.3, "--" if dashed else "-")):
        axes.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=line, linewidth=thick, linestyle=style))
