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

_TITLES = {
    "cross": "cross-attention",
    "encoder_self": "self-attention of the encoder",
    "decoder_self": "self-attention of the decoder",
}


def save_sentence(
    directory: str | Path,
    record: int,
    weights: Mapping[str, ArrayLike],
    source: Sequence[str],
    target: Sequence[str],
    *,
    gold: GoldLinks | None = None,
) -> list[Path]:
    """Write DIRECTORY/RECORD_SLOT.png and .npz for each slot, and return the paths of the drawings.

    A row of cross-attention has the name of the token that the step predicts. A row of decoder self-attention has the
    name of the token that the step reads, like its columns. Attention on a sentinel is one more column.

    Args:
        directory: Directory of the files.
        record: Number of the record, for the names of the files.
        weights: {"cross.0": (H, T, S), "encoder_self.0": (H, S, S), "decoder_self.0": (H, T, T), ...}, which may have
            padding at the end, and {"sentinel.cross.0": (H, T, 1), ...}.
        source: S source pieces.
        target: T predicted pieces, with ``</s>``.
        gold: Gold links of the sentence pair.
    """
    # Collect the layers of each slot.
    inputs = [SPECIALS[BOS], *target[:-1]]
    axes = {"cross": (target, source), "encoder_self": (source, source), "decoder_self": (inputs, inputs)}
    layers: dict[str, list[tuple[int, str]]] = {}
    for name in weights:
        slot, _, layer = name.partition(".")
        if slot in axes:
            layers.setdefault(slot, []).append((int(layer or 0), name))
    drawings = []
    for slot, numbered in layers.items():
        rows, columns = axes[slot]
        names = [name for _, name in sorted(numbered)]
        # Cut the padding.
        ordered = [np.asarray(weights[name])[:, : len(rows), : len(columns)] for name in names]
        # Add the attention on a sentinel as a last column.
        if f"sentinel.{names[0]}" in weights:
            beside = [np.asarray(weights[f"sentinel.{name}"])[:, : len(rows)] for name in names]
            ordered = [np.concatenate(pair, -1) for pair in zip(ordered, beside, strict=True)]
            columns = [*columns, "sentinel"]
        # Draw the slot.
        outlined = gold if slot == "cross" else None
        drawings.append(
            heatmap.save(
                Path(directory) / f"{record:05d}_{slot}",
                np.stack(ordered),
                rows,
                columns,
                gold=_cells(outlined.sure, outlined, source, target) if outlined else (),
                possible=_cells(outlined.possible - outlined.sure, outlined, source, target) if outlined else (),
                title=f"record {record}, {_TITLES[slot]}",
            )
        )
    return drawings


def cells_of_words(
    links: Collection[Link], source_words: Sequence[int], target_words: Sequence[int]
) -> list[heatmap.Cell]:
    """Return the cells (source piece, target piece) whose words are linked, where the words of all pieces are known.

    Args:
        links: Links (source word, target word), numbered from 0.
        source_words: Number of each source piece's word (S,); -1 = special token.
        target_words: Number of each target piece's word (T,); -1 = special token.
    """
    linked = {tuple(link) for link in links}
    rows, columns = enumerate(target_words), list(enumerate(source_words))
    return [(column, row) for row, target in rows for column, source in columns if (source, target) in linked]


def _cells(
    chosen: Collection[Link], gold: GoldLinks, source: Sequence[str], target: Sequence[str]
) -> list[heatmap.Cell]:
    """Return the cells (source piece, target piece) whose words are linked, where words are known by their texts."""
    linked = np.zeros((len(gold.source), len(gold.target)))
    for link in chosen:
        linked[link] = 1
    linked_pieces = overlap(source, gold.source) @ linked @ overlap(target, gold.target).T
    return [(int(column), int(row)) for column, row in np.argwhere(linked_pieces > 0)]
