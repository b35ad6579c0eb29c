"""Heat-maps of attention: words on both axes, one panel for each head, one row of panels for each layer.

All cells are squares of one size, with colours on a fixed scale from 0 to 1. A row is a target position, from top to
bottom, and a column is a source position. The figure grows with the number of words up to a limit; then cells and
letters become smaller.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.transforms import Bbox, ScaledTranslation
from numpy.typing import ArrayLike, NDArray

from seq2seq.compat.matplotlib import without_glyph_warnings
from seq2seq.files.writing import writing
from seq2seq.plots.fonts import families, label, lines, width
from seq2seq.plots.saving import DPI, PLAIN, Style, save_figure
from seq2seq.plots.units import Cell, Units, between, cells_between

CELL = 0.26  # inches of a cell's side, if there is room
SIDE = 26.0  # inches of all panels together
GAP = 0.35  # inches between panels, with room for the panel's name
LETTER = 0.065  # inches of a letter of a panel's name
SCALE = 0.9, 2.5  # smallest and largest height of the colour scale in inches
MARGIN = 0.1  # inches around everything
SMALLEST = 4.0  # points of the smallest letters; in smaller cells, only every n-th word has a name
COLOURS, SURE, POSSIBLE = "Blues", "#d1495b", "#edae49"
AXES = "output", "source"  # names of the rows and the columns


def save(
    stem: str | Path,
    weights: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    units: tuple[Units, Units] | None = None,
    gold: Iterable[Cell] = (),
    possible: Iterable[Cell] = (),
    title: str = "",
    axis_names: tuple[str, str] = AXES,
    style: Style = PLAIN,
) -> list[Path]:
    """Write STEM.png (see ``draw``) and STEM.npz, and return the paths of the drawing in its formats.

    The file .npz has the arrays ``weights`` (float32, as given), ``rows`` (T,) and ``columns`` (S,) (the pieces), and
    ``gold`` and ``possible`` (N, 2) (pairs [source, target]).

    Args:
        stem: Path of the files without suffix.
        weights: Attention (T, S), (H, T, S) or (L, H, T, S).
        rows: T target pieces.
        columns: S source pieces.
        units: Units to draw for the rows and for the columns; None = the pieces.
        gold: Cells of gold links, of pieces.
        possible: Cells of links that are only possible.
        title: Title of the figure.
        axis_names: Names of the rows and of the columns.
        style: Format of the drawing.
    """
    gold, possible = list(gold), list(possible)
    down, across = units or [Units(list(pieces), [*range(len(pieces))]) for pieces in (rows, columns)]
    figure = draw(
        between(weights, down, across),
        down.names,
        across.names,
        gold=cells_between(gold, down, across),
        possible=cells_between(possible, down, across),
        title=title,
        axis_names=axis_names,
    )
    drawings = save_figure(figure, stem, style)
    with writing(f"{stem}.npz") as temporary:
        np.savez_compressed(
            temporary,
            weights=np.asarray(weights, dtype=np.float32),
            rows=np.array(rows, dtype=np.str_),
            columns=np.array(columns, dtype=np.str_),
            gold=np.array(gold, dtype=np.int64).reshape(-1, 2),
            possible=np.array(possible, dtype=np.int64).reshape(-1, 2),
        )
    return drawings


def draw(
    weights: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    gold: Iterable[Cell] = (),
    possible: Iterable[Cell] = (),
    title: str = "",
    axis_names: tuple[str, str] = AXES,
) -> Figure:
    """Return a figure of attention.

    Cells of ``gold`` have a solid outline, cells of ``possible`` a dashed one; a legend explains them.

    Args:
        weights: (T, S) = one panel; (H, T, S) = a panel for each head after their mean; (L, H, T, S) = layers in rows.
        rows: T target words.
        columns: S source words.
        gold: Cells of gold links.
        possible: Cells of links that are only possible.
        title: Title of the figure; the lines after the first are smaller.
        axis_names: Names of the rows and of the columns.

    Raises:
        ValueError: The weights do not fit the words.
    """
    w = np.asarray(weights, dtype=np.float64)
    if not 2 <= w.ndim <= 4 or w.shape[-2:] != (len(rows), len(columns)) or not w.size:
        raise ValueError(f"weights {w.shape} don't fit {len(rows)} rows and {len(columns)} columns")
    # Arrange the panels, and find the size of a cell.
    panels = _panels(w)
    across = len(panels[0]) if len(panels) > 1 else _across(len(panels[0]), len(rows) / len(columns))
    flat = [panel for layer in panels for panel in layer]
    down = ceil(len(flat) / across)
    cell = min(CELL, (SIDE - GAP * across) / (across * len(columns)), (SIDE - GAP * down) / (down * len(rows)))
    outlines: dict[str, tuple[list[Any], str, Any]] = {
        "gold link": (_outline(gold, w.shape[-2:]), SURE, "-"),
        "possible link": (_outline(possible, w.shape[-2:]), POSSIBLE, "--"),
    }

    # Make a figure of that size. Names of panels must not touch.
    names = [[label(token) for token in tokens] for tokens in (rows, columns)]
    wide, high = cell * len(columns), cell * len(rows)  # of a panel, in inches
    broad = max(wide, LETTER * max(len(name) for name, _ in flat))  # of a panel with its name
    pitch = max(wide + GAP, broad + 0.1)
    total = (across * pitch, down * (high + GAP))
    figure = Figure(figsize=total, dpi=DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    fonts = families([*names[0], *names[1], *title.split("\n")])
    # Draw the panels with their outlines; only outer panels have names of words.
    for place, (name, panel) in enumerate(flat):
        row, column = divmod(place, across)
        left, bottom = column * pitch, total[1] - row * (high + GAP) - high
        axes = figure.add_axes((left / total[0], bottom / total[1], wide / total[0], high / total[1]))
        image = axes.imshow(panel, vmin=0, vmax=1, cmap=COLOURS, aspect="auto", interpolation="nearest")
        for segments, colour, style in outlines.values():
            axes.add_collection(
                LineCollection(segments, colors=colour, linestyles=style, linewidths=4 * cell**0.5, clip_on=False)
            )
        _name_axes(axes, names[0] if column == 0 else None, names[1] if row == 0 else None, cell, fonts)
        axes.set_xlabel(name, fontsize=8, color="0.3")
        if column == 0:
            axes.set_ylabel(axis_names[0], fontsize=9, color="0.3", labelpad=6)
        if row == 0:
            axes.set_title(axis_names[1], fontsize=9, color="0.3", pad=6)
    # Add the colour scale, the legend of outlines, and the title.
    right = (across - 1) * pitch + (wide + broad) / 2 + 0.15
    tall = min(max(total[1] - GAP, SCALE[0]), SCALE[1]) / total[1]
    bar = figure.add_axes((right / total[0], 1 - tall, 0.12 / total[0], tall))
    figure.colorbar(image, cax=bar, extend=_beyond(w))
    bar.tick_params(labelsize=7)
    bar.set_ylabel("attention weight", fontsize=8, color="0.3")
    marks = [
        Patch(facecolor="none", edgecolor=colour, linestyle=line, label=name)
        for name, (segments, colour, line) in outlines.items()
        if segments
    ]
    if marks:
        below = min(0 if flat[-1][0] else GAP - 0.08, total[1] * (1 - tall) - 0.15) / total[1]
        look: dict[str, Any] = {
            "frameon": False,
            "borderaxespad": 0,
            "borderpad": 0,
            "fontsize": 8,
            "handlelength": 1.2,
        }
        figure.legend(handles=marks, loc="upper left", bbox_to_anchor=(0, below), ncols=len(marks), **look)
    _entitle(canvas, title, fonts, max(right, 3.5))
    _fit(canvas)
    return figure


def _panels(w: NDArray[np.float64]) -> list[list[tuple[str, NDArray[np.float64]]]]:
    """Return (name, (T, S)) of each panel, layer by layer. With several heads, their mean comes first."""
    w = w.reshape((1,) * (4 - w.ndim) + w.shape)
    layers = [f"layer {n}, " if len(w) > 1 else "" for n in range(1, len(w) + 1)]
    return [
        [(f"{layer}mean", heads.mean(0))] * (len(heads) > 1)
        + [(f"{layer}head {n}" if len(heads) > 1 else layer.strip(", "), head) for n, head in enumerate(heads, 1)]
        for layer, heads in zip(layers, w, strict=True)
    ]


def _across(panels: int, shape: float) -> int:
    """Return how many panels of a shape (height / width) stand side by side, so that the figure is about square."""
    return min(panels, max(1, round(sqrt(panels * shape))))


def _outline(cells: Iterable[Cell], shape: tuple[int, ...]) -> list[list[tuple[float, float]]]:
    """Return the borders between marked and other cells, so that marked neighbours share one outline."""
    marked = np.zeros((shape[0] + 2, shape[1] + 2), dtype=bool)
    for column, row in cells:
        marked[row + 1, column + 1] = True
    # Find vertical and horizontal borders.
    vertical = [[(c - 0.5, r - 1.5), (c - 0.5, r - 0.5)] for r, c in np.argwhere(marked[:, 1:] != marked[:, :-1])]
    horizontal = [[(c - 1.5, r - 0.5), (c - 0.5, r - 0.5)] for r, c in np.argwhere(marked[1:] != marked[:-1])]
    return vertical + horizontal


def _name_axes(axes: Axes, rows: list[str] | None, columns: list[str] | None, cell: float, fonts: list[str]) -> None:
    """Write the words at the left and at the top; those at the top are turned unless all fit into their cells."""
    # Choose the size of the letters, and how many words have a name.
    size = min(9.0, max(SMALLEST, cell * 72 * 0.75))
    every = max(1, ceil(SMALLEST * 1.2 / (cell * 72)))
    style: dict[str, Any] = {"fontsize": size, "family": fonts, "parse_math": False}
    axes.tick_params(length=0, pad=2)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("bottom")
    axes.set_xticks([])
    axes.set_yticks([])
    # Write the words.
    if rows is not None:
        axes.set_yticks(range(0, len(rows), every), rows[::every], **style)
    if columns is not None:
        axes.set_xticks(range(0, len(columns), every), columns[::every], **style)
        if max(map(width, columns)) * size * 0.65 > cell * 72:  # too wide for their cells
            # Move the text from its baseline to the middle of a letter.
            middle = ScaledTranslation(0.36 * size / 72, 0, axes.figure.dpi_scale_trans)
            for tick in axes.get_xticklabels():
                tick.set(rotation=90, rotation_mode="anchor", ha="left", va="baseline")
                tick.set_transform(tick.get_transform() + middle)
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color="0.6")


def _entitle(canvas: FigureCanvasAgg, title: str, fonts: list[str], room: float) -> None:
    """Write the title in lines of at most ``room`` inches, above the names of the top row."""
    figure = canvas.figure
    # Find the top of the first panel with all its names.
    with without_glyph_warnings():
        tokens = figure.axes[0].get_tightbbox(canvas.get_renderer()) or figure.axes[0].bbox
    height = tokens.y1 / DPI + 0.12
    # Write the lines from the last to the first.
    first, *others = [lines(line, int(room / LETTER * 0.8)) for line in title.split("\n")]
    sized = [*((line, 10.0) for line in first), *((line, 8.5) for some in others for line in some)]
    style: dict[str, Any] = {"family": fonts, "parse_math": False}
    for line, size in reversed(sized):
        figure.text(0, height * DPI / figure.bbox.height, line, fontsize=size, **style)
        height += size / 72 * 1.4


def _fit(canvas: FigureCanvasAgg) -> None:
    """Give the figure the size of its content: panels, names, title and legend."""
    figure = canvas.figure
    with without_glyph_warnings():
        box = figure.get_tightbbox(canvas.get_renderer())
    (wide, high), size = figure.get_size_inches(), (box.width + 2 * MARGIN, box.height + 2 * MARGIN)

    def moved(x: float, y: float) -> tuple[float, float]:
        return (x * wide - box.x0 + MARGIN) / size[0], (y * high - box.y0 + MARGIN) / size[1]

    # Move everything, so that its size in inches stays the same.
    for axes in figure.axes:
        corners = axes.get_position().get_points()
        axes.set_position(Bbox([moved(*corner) for corner in corners]))
    for text in figure.texts:
        text.set_position(moved(*text.get_position()))
    for legend in figure.legends:
        place = legend.get_bbox_to_anchor()
        legend.set_bbox_to_anchor(moved(place.x0 / figure.bbox.width, place.y0 / figure.bbox.height))
    figure.set_size_inches(size)


def _beyond(w: NDArray[np.float64]) -> str:
    """Return which ends of the colour scale are exceeded by some weight."""
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[
        bool(w.min() < 0), bool(w.max() > 1 + 1e-6)
    ]
