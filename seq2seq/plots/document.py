"""Drawing of a document and its summary: words and sentences are shaded by their attention; as PNG, HTML and arrays.

At the top are the summary of the model and, beside it, the reference. The document is at the left; its shades are the
mean over the summary. At the right is the attention of each summary
word on each sentence, with the probability that the word was copied. A long document is reduced to its sentences with
most attention, and notes tell what is left out. The page (``page.py``) has the whole document.

Letters: T target pieces, S source pieces, H heads; J words of the summary, I words and N sentences of the document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from seq2seq.files.writing import write_text, writing
from seq2seq.plots.excerpt import Block, excerpt
from seq2seq.plots.fonts import families, label
from seq2seq.plots.heatmap import SURE
from seq2seq.plots.page import page
from seq2seq.plots.running import SIZE, Pen, name_of, word_positions, wrap
from seq2seq.plots.saving import DPI, PLAIN, Style, save_figure
from seq2seq.plots.shading import Array, ShadedWord, Shading, backwards, full, percent

LINES = 72  # largest number of lines of the document in a drawing
LONGEST = 20  # largest number of lines of a sentence
SMALL = 7.0  # points of small letters
LEADING, GAP = 0.2, 0.06  # inches from line to line, and between sentences
HEAD, LEGEND = 0.35, 1.2  # height in inches of the space above the heat-map, and of the legend
MARGIN, NUMBERS, TEXT, BETWEEN, SIDE = 0.2, 0.85, 7.4, 0.35, 5.0  # widths in inches, from left to right
ACROSS = NUMBERS + TEXT + BETWEEN + SIDE
NAMES = 1.75  # inches at the right side for the summary words and their bars
NOTICED = 0.005  # smallest attention outside the words that is shown
WORDS = LinearSegmentedColormap.from_list("words", ["#3182bd00", "#3182bdff"])
SENTENCES = LinearSegmentedColormap.from_list("sentences", ["#ffffff", "#c6c6c6"])
HEAT, COPIED, TRACK, FAINT = "Greys", "#d55e00", "#d9d9d9", "#595959"


def save_document(
    directory: str | Path,
    record: int,
    alignment: ArrayLike,
    source: Sequence[str],
    target: Sequence[str],
    source_words: Sequence[int],
    target_words: Sequence[int],
    *,
    sentences: Sequence[int] = (),
    copied: ArrayLike | None = None,
    origins: Sequence[int] | None = None,
    weights: Mapping[str, ArrayLike] | None = None,
    reference: str | None = None,
    title: str = "",
    style: Style = PLAIN,
) -> list[Path]:
    """Write DIRECTORY/RECORD_document.png, .html and .npz, and return the paths of the drawings and of the page.

    The arrays are ``alignment`` and ``copied`` (float32), ``source`` and ``target`` (the pieces), ``source_words``,
    ``target_words``, ``sentences`` and ``origins``, which are empty if not given, and ``weights`` of cross-attention by
    their names, cut to T and S.

    Args:
        directory: Directory of the files.
        record: Number of the record, for the names of the files.
        alignment: Attention to show (T, S).
        source: Source pieces (S,).
        target: Target pieces (T,).
        source_words: Number of each source piece's word (S,); -1 = special token.
        target_words: Number of each target piece's word (T,); -1 = special token.
        sentences: Number of each source piece's sentence (S,); empty = all are one sentence.
        copied: Probability that each target piece was copied (T,).
        origins: Gold: number of each target word's sentence, -1 = none; only for an output that equals the reference.
        weights: Attention to store, {"cross.L": (H, T, S)}.
        reference: Reference summary.
        title: Title of the drawing.
        style: Format of the drawing.
    """
    # Draw the figure and the page.
    shading = Shading.of(
        alignment,
        source,
        target,
        source_words,
        target_words,
        sentences=sentences,
        copied=copied,
        origins=origins,
    )
    title = title or f"document {record}"
    stem = Path(directory) / f"{record:05d}_document"
    drawings, html = save_figure(draw(shading, title, reference), stem, style), Path(f"{stem}.html")
    write_text(html, page(shading, title, reference))
    # Store the arrays.
    arrays = {
        "alignment": np.asarray(alignment, dtype=np.float32),
        "copied": np.asarray([] if copied is None else copied, dtype=np.float32),
        "source": np.array(source, dtype=np.str_),
        "target": np.array(target, dtype=np.str_),
        "source_words": np.array(source_words, dtype=np.int64),
        "target_words": np.array(target_words, dtype=np.int64),
        "sentences": np.array(sentences, dtype=np.int64),
        "origins": np.array([] if origins is None else origins, dtype=np.int64),
    }
    for name, heads in (weights or {}).items():
        if name.startswith("cross"):
            arrays[name] = np.asarray(heads, dtype=np.float32)[:, : len(target), : len(source)]
    with writing(f"{stem}.npz") as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)
    return [*drawings, html]


def draw(shading: Shading, title: str = "", reference: str | None = None) -> Figure:
    """Return the drawing: the summaries at the top, the document at the left, a heat-map at the right.

    Args:
        shading: Document with its attention.
        title: Title of the drawing.
        reference: Reference summary; None = there is none.
    """
    # Break the texts into lines, and find the height of each part.
    texts = [word.text for word in [*shading.document, *shading.summary]]
    pen = Pen(families([*texts, title, *(reference or "").split()]))
    blocks = excerpt(shading, _lines(shading, pen), LINES, LONGEST)
    room = ACROSS if reference is None else (ACROSS - BETWEEN) / 2
    summary = wrap(shading.summary, pen, room)
    beside = [ShadedWord(word) for word in (reference or "").split()]
    referred = wrap(beside, pen, room)
    top = MARGIN + 0.6
    body = top + max(1, len(summary), len(referred)) * (LEADING + 0.05) + 0.25
    left = sum(len(block.lines) * LEADING + GAP for block in blocks)
    right, heat = 0.0, None
    if shading.divided and shading.summary:
        heat = _Heat.of(shading, [block.sentence for block in blocks if block.sentence is not None])
        cell = heat.cell(max(left, 6.0))
        right = HEAD + cell[1] * len(shading.summary) + 0.75
    # Put the legend below the shorter side.
    below = left + 0.2 <= right
    high = body + (max(left + 0.2 + LEGEND, right) if below else max(left, right + LEGEND)) + MARGIN

    # Draw the parts.
    figure = Figure(figsize=(MARGIN + ACROSS + MARGIN, high), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    aside = MARGIN + ACROSS - SIDE
    pen.write(MARGIN, MARGIN + 0.12, label(title, 120), fontsize=SIZE + 2)
    pen.write(MARGIN, top - 0.22, "summary of the model", fontsize=SMALL, color=FAINT)
    pen.write(MARGIN + NUMBERS, body - 0.08, "document", fontsize=SMALL, color=FAINT)
    _draw_summary(pen, shading, summary, top, room)
    if reference is not None:
        pen.write(MARGIN + room + BETWEEN, top - 0.22, "reference", fontsize=SMALL, color=FAINT)
        _write_lines(pen, beside, referred, MARGIN + room + BETWEEN, top, room)
    _draw_blocks(pen, shading, blocks, body)
    if heat is not None:
        heat.draw(figure, pen, shading, aside, body, cell)
    _draw_legend(pen, shading, *((MARGIN + NUMBERS, body + left + 0.2) if below else (aside, body + right)))
    pen.finish(figure)
    return figure


def _lines(shading: Shading, pen: Pen) -> dict[int, list[list[int]]]:
    """Return {sentence: places of the words on each of its lines}."""
    wrapped = {}
    for sentence in dict.fromkeys(shading.sentences.tolist()):
        places = np.flatnonzero(shading.sentences == sentence).tolist()
        lines = wrap([shading.document[place] for place in places], pen, TEXT)
        wrapped[sentence] = [[places[n] for n in line] for line in lines]
    return wrapped


def _draw_summary(pen: Pen, shading: Shading, lines: list[list[int]], y: float, room: float) -> None:
    """Write the summary as running text; a bar below each word shows how far it was copied."""
    if not lines:
        pen.write(MARGIN, y, "the summary is empty", color=FAINT, style="italic")
    for place, x, base, wide in _write_lines(pen, shading.summary, lines, MARGIN, y, room):
        if shading.copied is not None:
            _bar(pen, x, base + 0.05, wide, 0.035, shading.copied[place])


def _write_lines(
    pen: Pen, words: Sequence[ShadedWord], lines: list[list[int]], x: float, y: float, room: float
) -> list[tuple[int, float, float, float]]:
    """Write running text, and return the index, left end, baseline and width of each word."""
    turned = backwards(words)
    written = []
    for n, line in enumerate(lines):
        base = y + n * (LEADING + 0.05)
        for place, left in word_positions(words, line, pen, turned, room):
            name = name_of(words[place])
            pen.write(x + left, base, name)
            written.append((place, x + left, base, pen.width(name)))
    return written


def _draw_blocks(pen: Pen, shading: Shading, blocks: list[Block], y: float) -> None:
    """Write the shown sentences of the document, shaded by their attention."""
    weights, shares = shading.mean(shading.weights), shading.mean(shading.shares)
    gold = set() if shading.origins is None else set(shading.origins.tolist())
    left, top, topmost = MARGIN + NUMBERS, full(weights), full(shares)
    for block in blocks:
        # Draw the number, share and shade of a sentence.
        high = len(block.lines) * LEADING
        first = y + LEADING * 0.72
        if block.sentence is not None:
            shade = SENTENCES(shares[block.sentence] / topmost)
            if shading.divided:
                pen.box(left - 0.06, y, TEXT + 0.12, high, shade)
            if block.sentence in gold:
                pen.box(left - 0.1, y, 0.04, high, SURE)
            pen.write(MARGIN + 0.28, first, str(block.sentence + 1), ha="right", fontsize=SIZE - 1)
            share = percent(shares[block.sentence])
            pen.write(left - 0.14, first, share, ha="right", fontsize=SMALL, color=FAINT)
        # Write the words, or a note on words that are left out.
        words = [shading.document[place] for line in block.lines if not isinstance(line, str) for place in line]
        turned = backwards(words)
        for n, line in enumerate(block.lines):
            base = first + n * LEADING
            if isinstance(line, str):
                pen.write(left, base, f"… {line} …", color=FAINT, style="italic", fontsize=SMALL)
                continue
            for place, x in word_positions(shading.document, line, pen, turned, TEXT):
                name = name_of(shading.document[place])
                shade = WORDS(max(0.0, weights[place]) / top)
                pen.box(left + x - 0.015, base - LEADING * 0.6, pen.width(name) + 0.03, LEADING * 0.82, shade)
                pen.write(left + x, base, name)
        y += high + GAP


@dataclass
class _Heat:
    """Heat-map of summary words and sentences: a column for each shown sentence, for all others, and for no word."""

    sentences: list[int]  # numbers of the shown sentences
    others: list[str]  # names of the other columns
    shares: Array  # (J, columns)

    @classmethod
    def of(cls, shading: Shading, sentences: list[int]) -> _Heat:
        """Make the heat-map; the columns for all others and for no word may be absent."""
        others, columns = [], [shading.shares[:, n] for n in sentences]
        if set(sentences) != set(shading.sentences.tolist()):
            others.append("left out")
            columns.append(shading.shares.sum(1) - shading.shares[:, sentences].sum(1))
        if shading.rest.max(initial=0) >= NOTICED:
            others.append("no word")
            columns.append(shading.rest)
        return cls(sentences, others, np.stack(columns, axis=1))

    def cell(self, room: float) -> tuple[float, float]:
        """Return width and height of a cell in inches: about as high as a line of text, if ``room`` allows it."""
        return min(0.22, (SIDE - NAMES) / self.shares.shape[1]), min(0.2, room / len(self.shares))

    def draw(self, figure: Figure, pen: Pen, shading: Shading, x: float, y: float, cell: tuple[float, float]) -> None:
        """Draw at (x, y) the summary words, a bar for the copy probability of each, the cells, and a scale below."""
        # Draw the cells, with outlines of the gold sentences.
        x, y = x + NAMES, y + HEAD
        rows, columns = self.shares.shape
        axes = _axes(figure, x, y, cell[0] * columns, cell[1] * rows)
        image = axes.imshow(self.shares, vmin=0, vmax=1, cmap=HEAT, aspect="auto", interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set(linewidth=0.5, color="0.6")
        for row, origin in enumerate([] if shading.origins is None else shading.origins.tolist()):
            if origin in self.sentences:
                corner = self.sentences.index(origin) - 0.5, row - 0.5
                axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=SURE, linewidth=1.2))

        # Write the words and their bars at the left.
        size = min(SMALL + 1, cell[1] * 72 * 0.75)  # points; below 5, only every n-th word has a name
        every = max(1, ceil(5 / size))
        gap = 0.08 if shading.copied is None else 0.6
        for row in range(0, rows, every):
            name, middle = label(shading.summary[row].text, 16), y + (row + 0.5) * cell[1]
            pen.write(x - gap, middle, name, ha="right", va="center_baseline", fontsize=max(5, size))
        if shading.copied is not None:
            pen.write(x - 0.3, y - 0.06, "copied", ha="center", fontsize=SMALL, color=FAINT)
            for row, share in enumerate(shading.copied):
                _bar(pen, x - 0.52, y + (row + 0.25) * cell[1], 0.44, cell[1] / 2, share)

        # Write the sentence numbers and the names of the other columns at the top.
        digits = len(str(max(self.sentences, default=0) + 1))
        step = ceil((0.08 + 0.06 * digits) / cell[0])
        for column, sentence in [*enumerate(self.sentences)][::step]:
            pen.write(x + (column + 0.5) * cell[0], y - 0.05, str(sentence + 1), ha="center", fontsize=SMALL)
        style = {"rotation": 90, "ha": "center", "va": "bottom", "fontsize": SMALL, "color": FAINT}
        for n, name in enumerate(self.others):
            middle = x + (len(self.sentences) + 0.5) * cell[0] + n * max(0.13, cell[0])
            pen.write(middle, y - 0.2, name, **style)

        # Draw the colour scale.
        scale = _axes(figure, x, y + cell[1] * rows + 0.12, 1.6, 0.08)
        figure.colorbar(image, cax=scale, orientation="horizontal")
        scale.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"], fontsize=SMALL)
        scale.tick_params(length=0, pad=2)
        scale.set_xlabel("share of a summary word's attention on each sentence", fontsize=SMALL, loc="left")


def _axes(figure: Figure, x: float, y: float, wide: float, high: float) -> Axes:
    """Return axes of a size in inches, with the upper left corner at (x, y)."""
    across, down = figure.get_size_inches()
    return figure.add_axes((x / across, 1 - (y + high) / down, wide / across, high / down))


def _bar(pen: Pen, x: float, y: float, wide: float, high: float, share: float) -> None:
    """Draw a bar that is filled as far as a word was copied."""
    pen.box(x, y, wide, high, TRACK)
    pen.box(x, y, wide * min(1, max(0, share)), high, COPIED)


def _draw_legend(pen: Pen, shading: Shading, x: float, y: float) -> None:
    """Draw the legend of the shades, bars and marks."""
    weights, shares = shading.mean(shading.weights), shading.mean(shading.shares)
    # Explain the shades.
    scales = [
        (WORDS, f"word: attention weight, from 0 to {percent(full(weights))} (mean over the summary)"),
        (SENTENCES, f"sentence: sum of its words' weights, from 0 to {percent(full(shares))}"),
    ]
    for colours, meaning in scales[: 1 + shading.divided]:
        for n in range(32):
            pen.box(x + 0.02 * n, y, 0.02, 0.13, colours(n / 31))
        pen.write(x + 0.75, y + 0.11, meaning, fontsize=SMALL + 1)
        y += 0.25
    # Explain the bars and the gold mark, if there are any.
    if shading.copied is not None:
        _bar(pen, x, y + 0.05, 0.64, 0.05, 0.7)
        pen.write(x + 0.75, y + 0.11, "probability that the word was copied", fontsize=SMALL + 1)
        y += 0.25
    if shading.origins is not None:
        pen.box(x + 0.3, y, 0.04, 0.13, SURE)
        pen.write(x + 0.75, y + 0.11, "gold: a sentence that words of the summary come from", fontsize=SMALL + 1)
        y += 0.25
    # Tell how much attention is not on words.
    rest = shading.mean(shading.rest[:, None])[0] if shading.summary else 0.0
    if rest >= NOTICED:
        pen.write(
            x,
            y + 0.11,
            f"{percent(rest)} of the attention is not on any word (but on </s>, for example)",
            fontsize=SMALL + 1,
        )
