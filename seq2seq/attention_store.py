"""Storage of outputs with their attention, for comparisons: ``attention/SPLIT.npz``.

A file has the cross-attention of the first outputs of a split. Weights have 8 bits: each row is stored in steps of its
largest weight / 255.

Letters: N rows, X columns, T target pieces, S source pieces (or cells of an image), J words of the reference, I source
words (or cells), H heads.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seq2seq.errors import UserError
from seq2seq.files.writing import writing

Array = NDArray[np.float32]
READ_ERRORS = (BadZipFile, zlib.error, struct.error, EOFError, RuntimeError)  # errors of a damaged archive
MAX_WEIGHTS = 2**25  # most weights of heads and layers in a file; records beyond it keep their alignment only


@dataclass(frozen=True)
class AttentionRecord:
    """One output with its attention."""

    place: int  # index of the record in its split
    source: Sequence[str]  # S pieces; none for an image
    target: Sequence[str]  # T pieces
    source_words: Sequence[int]  # index of the word of each source piece, -1 for special tokens
    target_words: Sequence[int]  # the same for each target piece
    alignment: Array  # (T, S) of the last layer, combined over heads
    weights: Mapping[str, Array] = field(default_factory=dict)  # {"cross.L": (H, T, S), "sentinel.cross.L": (H, T, 1)}
    reference: Array | None = None  # (J, I) alignment between words in teacher forcing of the reference
    cells: Sequence[Sequence[int]] = ()  # (S, 2) row and column of each cell of an image
    extent: Sequence[float] = ()  # height and width of an image in cells
    sentences: Sequence[int] = ()  # sentence of each source piece of a document


TEXT = ("place", "source", "target", "source_words", "target_words", "cells", "extent", "sentences")
"""Fields that are stored as JSON."""


def save(path: Path, records: Iterable[AttentionRecord]) -> None:
    """Write records to a file.

    Args:
        path: The npz file.
        records: Records in the order of the split.
    """
    # Quantise the arrays. The first records keep all heads and layers, until the room is used up.
    index: list[dict[str, Any]] = []
    steps: list[NDArray[np.uint8]] = []
    largest: list[Array] = []
    room = MAX_WEIGHTS
    for record in records:
        arrays = {"alignment": record.alignment}
        if record.reference is not None:
            arrays["reference"] = record.reference
        size = sum(weights.size for weights in record.weights.values())
        if size <= room:
            arrays |= record.weights
            room -= size
        index.append({name: getattr(record, name) for name in TEXT} | {"shapes": {}})
        for name, array in arrays.items():
            index[-1]["shapes"][name] = array.shape
            rounded, tops = quantised(array.reshape(int(np.prod(array.shape[:-1])), array.shape[-1]))
            steps.append(rounded.reshape(-1))
            largest.append(tops)
    # Write the texts and shapes as JSON, and all arrays as two long ones.
    text = np.frombuffer(json.dumps(index, ensure_ascii=False).encode(), np.uint8)
    nothing = [np.zeros(0, np.uint8)], [np.zeros(0, np.float32)]
    every_step, every_largest = np.concatenate(steps or nothing[0]), np.concatenate(largest or nothing[1])
    with writing(path) as temporary:
        np.savez_compressed(temporary, index=text, steps=every_step, largest=every_largest)


def load(path: Path) -> list[AttentionRecord]:
    """Read the records that ``save`` wrote.

    Args:
        path: The npz file.

    Raises:
        UserError: The file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return _unpacked(json.loads(bytes(stored["index"])), stored["steps"], stored["largest"])
    except (*READ_ERRORS, OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path} cannot be read as attention ({error}); a new evaluation writes it again") from error


def _unpacked(index: list[dict[str, Any]], steps: NDArray[np.uint8], largest: Array) -> list[AttentionRecord]:
    """Cut the two long arrays into those of the records."""
    # Count the steps and the rows that were read.
    attention_records, at, row = [], 0, 0
    for entry in index:
        arrays = {}
        for name, shape in entry.pop("shapes").items():
            rows = int(np.prod(shape[:-1]))
            flat = steps[at : at + rows * shape[-1]].reshape(rows, shape[-1])
            arrays[name] = (flat * (largest[row : row + rows, None] / 255)).astype(np.float32).reshape(shape)
            at, row = at + rows * shape[-1], row + rows
        # Only the weights of heads and layers stay in the mapping.
        alignment, reference = arrays.pop("alignment"), arrays.pop("reference", None)
        attention_records.append(AttentionRecord(**entry, alignment=alignment, weights=arrays, reference=reference))
    return attention_records


def quantised(rows: ArrayLike, bits: int = 8) -> tuple[NDArray[Any], Array]:
    """Quantise each row of weights: row = steps largest / (2^b - 1).

    Args:
        rows: Weights (N, X); those below 0 become 0.
        bits: b, 8 or 16.

    Returns:
        Steps (N, X), and the largest weight of each row (N,).
    """
    # Rows without weights keep steps of zero.
    w = np.clip(np.asarray(rows, np.float64), 0, None)
    largest = w.max(1, initial=0)
    scaled = np.divide(w, largest[:, None], out=np.zeros_like(w), where=largest[:, None] > 0)
    return np.rint(scaled * (2**bits - 1)).astype(f"<u{bits // 8}"), largest.astype(np.float32)
