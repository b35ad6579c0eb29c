"""Heat-maps of attention: tokens on both axes, one panel for each head, one row of panels for each layer.

All cells are squares of one size, with colours on a fixed scale from 0 to 1. A row is a target position, from top to
bottom, and a column is a source position. The figure grows with the number of tokens up to a limit; then cells and
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
from matplotlib.transforms import ScaledTranslation
from numpy.typing import ArrayLike, NDArray

from seq2seq.compat.matplotlib import without_glyph_warnings
from seq2seq.files.writing import writing
from seq2seq.plots.fonts import families, label, width

Cell = tuple[int, int]  # (column, row): (source, target)

DPI = 150
CELL = 0.26  # inches of a cell's side, if there is room
SIDE = 26.0  # inches of all panels together
GAP = 0.35  # inches between panels, with room for the panel's name
SMALLEST = 4.0  # points of the smallest letters; in smaller cells, only every n-th token has a name
COLOURS, SURE, POSSIBLE = "Blues", "#d1495b", "#edae49"


def save(
    stem: str | Path,
    weights: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    gold: Iterable[Cell] = (),
    possible: Iterable[Cell] = (),
    title: str = "",
) -> Path:
    """Write STEM.png (see ``draw``) and STEM.npz, and return the path of the drawing.

    The file .npz has the arrays ``weights`` (float32, as given), ``rows`` (T,) and ``columns`` (S,) (the tokens), and
    ``gold`` and ``possible`` (N, 2) (pairs [source, target]).

    Args:
        stem: Path of the files without suffix.
        weights: Attention (T, S), (H, T, S) or (L, H, T, S).
        rows: T target tokens.
        columns: S source tokens.
        gold: Cells of gold links.
        possible: Cells of links that are only possible.
        title: Title of the figure.
    """
    gold, possible = list(gold), list(possible)
    drawing, arrays = Path(f"{stem}.png"), Path(f"{stem}.npz")
    figure = draw(weights, rows, columns, gold=gold, possible=possible, title=title)
    with without_glyph_warnings(), writing(drawing) as temporary:
        figure.savefig(temporary, bbox_inches="tight", pad_inches=0.1)
    with writing(arrays) as temporary:
        np.savez_compressed(
            temporary,
            weights=np.asarray(weights, dtype=np.float32),
            rows=np.array(rows, dtype=np.str_),
            columns=np.array(columns, dtype=np.str_),
            gold=np.array(gold, dtype=np.int64).reshape(-1, 2),
            possible=np.array(possible, dtype=np.int64).reshape(-1, 2),
        )
    return drawing


def draw(
    weights: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    gold: Iterable[Cell] = (),
    possible: Iterable[Cell] = (),
    title: str = "",
) -> Figure:
    """Return a figure of attention.

    Cells of ``gold`` have a solid outline, cells of ``possible`` a dashed one.

    Args:
        weights: (T, S) = one panel; (H, T, S) = a panel for each head after their mean; (L, H, T, S) = layers in rows.
        rows: T target tokens.
        columns: S source tokens.
        gold: Cells of gold links.
        possible: Cells of links that are only possible.
        title: Title of the figure.

    Raises:
        ValueError: The weights do not fit the tokens.
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
    outlines = [(_outline(gold, w.shape[-2:]), SURE, "-"), (_outline(possible, w.shape[-2:]), POSSIBLE, "--")]

    # Make a figure of that size.
    names = [[label(token) for token in tokens] for tokens in (rows, columns)]
    wide, high = cell * len(columns), cell * len(rows)  # of a panel, in inches
    total = (across * (wide + GAP), down * (high + GAP))
    figure = Figure(figsize=total, dpi=DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    fonts = families([*names[0], *names[1], title])
    # Draw the panels with their outlines; only outer panels have token names.
    for place, (name, panel) in enumerate(flat):
        row, column = divmod(place, across)
        left, bottom = column * (wide + GAP), total[1] - row * (high + GAP) - high
        axes = figure.add_axes((left / total[0], bottom / total[1], wide / total[0], high / total[1]))
        image = axes.imshow(panel, vmin=0, vmax=1, cmap=COLOURS, aspect="auto", interpolation="nearest")
        for segments, colour, style in outlines:
            axes.add_collection(
                LineCollection(segments, colors=colour, linestyles=style, linewidths=4 * cell**0.5, clip_on=False)
            )
        _name_axes(axes, names[0] if column == 0 else None, names[1] if row == 0 else None, cell, fonts)
        axes.set_xlabel(name, fontsize=8, color="0.3")
    # Add the colour scale and the title.
    tall = min(high, 2.5) / total[1]
    bar = figure.add_axes((1 + (0.15 - GAP) / total[0], 1 - tall, 0.12 / total[0], tall))
    figure.colorbar(image, cax=bar, extend=_beyond(w))
    bar.tick_params(labelsize=7)
    _entitle(canvas, title, fonts)
    return figure


def _panels(w: NDArray[np.float64]) -> list[list[tuple[str, NDArray[np.float64]]]]:
    """Return (name, (T, S)) of each panel, layer by layer. With several heads, their mean comes first."""
    w = w.reshape((1,) * (4 - w.ndim) + w.shape)
    layers = [f"layer {n} " if len(w) > 1 else "" for n in range(1, len(w) + 1)]
    return [
        [(f"{layer}mean", heads.mean(0))] * (len(heads) > 1)
        + [(f"{layer}head {n}" if len(heads) > 1 else layer.strip(), head) for n, head in enumerate(heads, 1)]
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
    """Write the tokens at the left and at the top; those at the top are turned unless all fit into their cells."""
    # Choose the size of the letters, and how many tokens have a name.
    size = min(9.0, max(SMALLEST, cell * 72 * 0.75))
    every = max(1, ceil(SMALLEST * 1.2 / (cell * 72)))
    style: dict[str, Any] = {"fontsize": size, "family": fonts, "parse_math": False}
    axes.tick_params(length=0, pad=2)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("bottom")
    axes.set_xticks([])
    axes.set_yticks([])
    # Write the tokens.
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


def _entitle(canvas: FigureCanvasAgg, title: str, fonts: list[str]) -> None:
    """Write the title above the tokens of the top row."""
    figure = canvas.figure
    first = figure.axes[0]
    with without_glyph_warnings():
        tokens = first.xaxis.get_tightbbox(canvas.get_renderer()) or first.bbox
    height = (tokens.y1 + 0.12 * DPI) / figure.bbox.height
    figure.text(0, height, title, family=fonts, fontsize=10, parse_math=False)


def _beyond(w: NDArray[np.float64]) -> str:
    """Return which ends of the colour scale are exceeded by some weight."""
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[
        bool(w.min() < 0), bool(w.max() > 1 + 1e-6)
    ]
