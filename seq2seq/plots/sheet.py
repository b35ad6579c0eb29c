"""Sheet of an image caption: the image once for each word, bright where the model attended; with the arrays.

Cells with attention stay bright and in colour, all others are dark and grey, so that colour-blind readers see the
difference. The number below an image is the weight that full brightness stands for. A solid box marks the choice of a
single cell, a dashed box is the gold region of a word, and a bar below the image is the attention on a sentinel. A
scale and a legend at the bottom explain this.

Letters: T target pieces, J target words, S cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from seq2seq.files.writing import writing
from seq2seq.metrics.words import merge
from seq2seq.plots.fonts import families, label, lines
from seq2seq.plots.saving import DPI, PLAIN, Style, save_figure
from seq2seq.plots.shading import percent

Array = NDArray[np.float64]
PANEL, GAP, NAME, LINE = 1.7, 0.14, 0.34, 0.17  # inches of a panel, a gap, a name and a line of text
NUMBER, FOOT, SCALE = 0.16, 0.3, 1.1  # height of a number and of the scale, and width of the scale, in inches
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

    @classmethod
    def of(
        cls, words: Sequence[str], alignment: ArrayLike, target_words: Sequence[int], sentinel: ArrayLike | None = None
    ) -> ImageAttention:
        """Average the attention over the pieces of each word.

        Args:
            words: Words of the caption (J,).
            alignment: Attention (T, S).
            target_words: Number of each piece's word (T,); -1 for ``</s>``.
            sentinel: Attention on the sentinel (T,).
        """
        outside = None if sentinel is None else merge(np.asarray(sentinel)[:, None], [0], target_words)[:, 0]
        return cls(list(words), merge(alignment, np.arange(np.shape(alignment)[1]), target_words), outside)


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
    style: Style = PLAIN,
) -> list[Path]:
    """Write DIRECTORY/RECORD_sheet.png and .npz, and return the paths of the sheet in its formats.

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
        style: Format of the sheet.
    """
    stem = Path(directory) / f"{record:05d}_sheet"
    # Draw the sheet, and store the arrays.
    looks = ImageAttention.of(words, alignment, target_words, sentinel)
    figure = draw(image, looks, cells, extent, regions=regions, title=title or f"image {record}")
    drawings = save_figure(figure, stem, style)
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
    return drawings


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
    width = max(width, GAP + SCALE + 2.7)  # room for the scale
    # Make the figure, with its title.
    head = lines(title, int(LETTERS * width))
    top = 0.4 + LINE * (len(head) - 1)
    marks = _marks(looks, regions)
    below = NUMBER + (0 if looks.sentinel is None else BAR)
    pitch = NAME + high + below + GAP
    size = width, top + down * pitch + (FOOT + LINE * len(marks) if looks.words else 0)
    figure = Figure(figsize=size, dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    fonts = families([*looks.words, *head])
    small: dict[str, Any] = {"family": fonts, "fontsize": 9, "parse_math": False}
    for line, text in enumerate(head):
        figure.text(GAP / size[0], 1 - (0.26 + line * LINE) / size[1], text, **small)
    # Draw the panels.
    colours = np.asarray(image.convert("RGB"), np.float64) / 255.0
    for place in range(count):
        row, column = divmod(place, across)
        left = GAP + column * (wide + GAP)
        bottom = size[1] - top - row * pitch - NAME - high
        axes = figure.add_axes((left / size[0], bottom / size[1], wide / size[0], high / size[1]))
        # Write the word above the image.
        word = place - 1
        name = label(looks.words[word]) if place else "image"
        axes.set_title(name, pad=3, **small, color="black" if place else "0.4")
        axes.set_axis_off()
        if not place:
            _show(axes, colours)
            continue
        # Show where the word attends.
        _word(axes, colours, looks.weights[word], np.asarray(cells), extent)
        if regions is not None:
            for box in np.reshape(np.asarray(regions[word], np.float64), (-1, 4)):
                _frame(axes, box, colours.shape, GOLD, dashed=True)
        # Write the weight of full brightness, and draw the attention on the sentinel.
        number = percent(brightest(looks.weights[word], extent))
        corner = (left + wide) / size[0], (bottom - below + NUMBER * 0.25) / size[1]
        figure.text(*corner, number, ha="right", fontsize=7, color="0.4")
        if looks.sentinel is not None:
            bar = figure.add_axes((left / size[0], (bottom - BAR) / size[1], wide / size[0], BAR / size[1]))
            bar.barh(0, looks.sentinel[word], color=OUTSIDE)
            bar.set(xlim=(0, 1), xticks=[], yticks=[])
            for spine in bar.spines.values():
                spine.set(linewidth=0.5, color="0.6")
    if looks.words:
        _explain(figure, marks)
    return figure


def brightest(weights: Array, extent: Sequence[float]) -> float:
    """Return the weight that full brightness stands for: the largest, but at least twice uniform attention.

    Args:
        weights: Attention on the cells (S,).
        extent: Number of rows and of columns that the image fills.
    """
    rows, columns = (ceil(size) for size in extent)
    return float(max(weights.max(initial=0), 2.0 / (rows * columns), 1e-12))


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
    seen = 0.0, 0.0, extent[1], extent[0]  # part of the grid that is not padding
    # Enlarge the grid to the image.
    small = Image.fromarray((grid / brightest(weights, extent)).astype(np.float32))
    smooth = small.resize((width, height), Image.Resampling.BICUBIC, box=seen)
    return np.asarray(smooth, np.float64).clip(0.0, 1.0)


def _word(axes: Axes, colours: Array, weights: Array, cells: NDArray[np.int64], extent: Sequence[float]) -> None:
    """Draw the attention of a word as light on the image, and a box around the only cell that it chose."""
    height, width = colours.shape[:2]
    # Mix the image with a dark, grey one.
    bright = light(weights, cells, extent, height, width)[..., None]
    grey = colours.mean(2, keepdims=True) * DIM
    _show(axes, colours * bright + grey * (1.0 - bright))
    if _is_single(weights):
        (row, column), (rows, columns) = cells[int(weights.argmax())], extent
        box = column / columns, row / rows, min(1.0, (column + 1) / columns), min(1.0, (row + 1) / rows)
        _frame(axes, box, colours.shape, CHOSEN)


def _is_single(weights: Array) -> bool:
    """Return whether all attention is on a single cell."""
    return bool(weights.max(initial=0) > 0 and weights.max() >= ONE * weights.sum())


def _marks(looks: ImageAttention, regions: Sequence[Sequence[float]] | None) -> list[Patch]:
    """Return the entries of the legend: the marks that are on some panel."""
    marks = []
    if looks.sentinel is not None:
        marks.append(Patch(color=OUTSIDE, label="bar: attention on the sentinel, from 0 to 100\u00a0%"))
    if any(_is_single(weights) for weights in looks.weights):
        marks.append(Patch(facecolor="none", edgecolor=CHOSEN, label="the only cell with attention"))
    if regions is not None and any(map(len, regions)):
        marks.append(Patch(facecolor="none", edgecolor=GOLD, linestyle="--", label="gold region of the word"))
    return marks


def _explain(figure: Figure, marks: list[Patch]) -> None:
    """Draw the scale of brightness and the legend at the bottom of a sheet."""
    wide, high = figure.get_size_inches()
    # Draw the scale from dark to bright, with its ends.
    base = GAP + LINE * len(marks)
    scale = figure.add_axes(((GAP + 0.12) / wide, base / high, SCALE / wide, 0.1 / high), label="scale")
    scale.imshow(np.linspace(DIM / 2, 1, 64)[None], vmin=0, vmax=1, cmap="gray", aspect="auto")
    scale.set(xticks=[], yticks=[])
    for spine in scale.spines.values():
        spine.set(linewidth=0.5, color="0.6")
    style: dict[str, Any] = {"fontsize": 7.5, "va": "center_baseline"}
    figure.text(GAP / wide, (base + 0.05) / high, "0", **style)
    meaning = "weight, up to the number below the image"
    figure.text((GAP + SCALE + 0.2) / wide, (base + 0.05) / high, meaning, **style)
    # Draw the legend.
    if marks:
        look = {"frameon": False, "borderaxespad": 0, "borderpad": 0, "fontsize": 7.5, "labelspacing": 0.4}
        figure.legend(handles=marks, loc="lower left", bbox_to_anchor=(GAP / wide, GAP / 2 / high), **look)


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
