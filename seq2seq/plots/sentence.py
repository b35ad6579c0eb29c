"""Drawings of all attention of a sentence pair: one drawing for each slot, with gold links on the cross-attention."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from seq2seq.batch import BOS, SPECIALS
from seq2seq.metrics.gold import GoldLinks
from seq2seq.metrics.links import Link
from seq2seq.metrics.words import overlap
from seq2seq.plots import heatmap
from seq2seq.plots.saving import PLAIN, Style
from seq2seq.plots.units import Cell, Units

_SLOTS = {
    "cross": ("cross-attention", ("output", "source")),
    "posterior": ("alignment given the whole output", ("output", "source")),
    "encoder_self": ("self-attention of the encoder", ("source", "source")),
    "decoder_self": ("self-attention of the decoder", ("output so far", "output so far")),
}
"""{slot: (its name in titles, names of its rows and columns)}."""


def save_sentence(
    directory: str | Path,
    record: int,
    weights: Mapping[str, ArrayLike],
    source: Sequence[str],
    target: Sequence[str],
    source_words: Sequence[int],
    target_words: Sequence[int],
    *,
    gold: GoldLinks | None = None,
    model: str = "",
    style: Style = PLAIN,
) -> list[Path]:
    """Write DIRECTORY/RECORD_SLOT.png and .npz for each slot, and return the paths of the drawings.

    A row of cross-attention has the name of the word that the steps predict. A row of decoder self-attention has the
    name of the word that the steps read, like its columns. Attention on a sentinel is one more column. The arrays are
    those of the pieces.

    Args:
        directory: Directory of the files.
        record: Number of the record, for the titles and the names of the files.
        weights: {"cross.0": (H, T, S), "encoder_self.0": (H, S, S), "decoder_self.0": (H, T, T), ...}, which may have
            padding at the end, {"sentinel.cross.0": (H, T, 1), ...}, and {"posterior.cross.0": (1, T, S)}.
        source: S source pieces.
        target: T predicted pieces, with ``</s>``.
        source_words: Number of each source piece's word (S,); -1 = special token.
        target_words: Number of each target piece's word (T,); -1 = special token.
        gold: Gold links of the sentence pair.
        model: Model and mechanism of its cross-attention, for the titles: ``RNN, additive attention``.
        style: Format of the drawings, and whether they show pieces.
    """
    # Collect the layers of each slot.
    split = style.pieces
    read = list(target), Units.of(target, target_words, split=split)
    shown = list(source), Units.of(source, source_words, split=split)
    before = [SPECIALS[BOS], *target[:-1]]
    inputs = before, Units.of(before, [-1, *target_words[:-1]], split=split)
    axes = {
        "cross": (read, shown),
        "posterior": (read, shown),
        "encoder_self": (shown, shown),
        "decoder_self": (inputs, inputs),
    }
    layers: dict[str, list[tuple[int, str]]] = {}
    for name in weights:
        slot, _, layer = name.partition(".")
        if slot in axes:
            layers.setdefault(slot, []).append((int(layer.removeprefix("cross.") or 0), name))
    drawings = []
    for slot, numbered in layers.items():
        (rows, row_units), (columns, column_units) = axes[slot]
        names = [name for _, name in sorted(numbered)]
        # Cut the padding.
        ordered = [np.asarray(weights[name])[:, : len(rows), : len(columns)] for name in names]
        # Add the attention on a sentinel as a last column.
        if f"sentinel.{names[0]}" in weights:
            beside = [np.asarray(weights[f"sentinel.{name}"])[:, : len(rows)] for name in names]
            ordered = [np.concatenate(pair, -1) for pair in zip(ordered, beside, strict=True)]
            columns, column_units = [*columns, "sentinel"], column_units.with_column("sentinel")
        # Draw the slot.
        name, axis_names = _SLOTS[slot]
        to_source = axis_names == ("output", "source")
        outlined = gold if to_source else None
        system = model if to_source else model.partition(",")[0]  # the mechanism is that of cross-attention
        drawings += heatmap.save(
            Path(directory) / f"{record:05d}_{slot}",
            np.stack(ordered),
            rows,
            columns,
            units=(row_units, column_units),
            gold=_cells(outlined.sure, outlined, source, target) if outlined else (),
            possible=_cells(outlined.possible - outlined.sure, outlined, source, target) if outlined else (),
            title="\n".join(filter(None, (system, f"sentence {record}, {name}"))),
            axis_names=axis_names,
            style=style,
        )
    return drawings


def _cells(chosen: Collection[Link], gold: GoldLinks, source: Sequence[str], target: Sequence[str]) -> list[Cell]:
    """Return the cells (source piece, target piece) whose words are linked, where words are known by their texts."""
    linked = np.zeros((len(gold.source), len(gold.target)))
    for link in chosen:
        linked[link] = 1
    linked_pieces = overlap(source, gold.source) @ linked @ overlap(target, gold.target).T
    return [(int(column), int(row)) for column, row in np.argwhere(linked_pieces > 0)]
