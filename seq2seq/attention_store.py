"""Outputs with the attention that they were made by, kept beside them for comparison: ``attention/SPLIT.npz``.

All cross-attention of the first outputs of a split, in 8 bits: each row in steps of its largest / 255.
Letters: T target pieces, S source pieces (or cells of an image), J words of the reference, I source words (or cells),
H heads.
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
READ_ERRORS = (BadZipFile, zlib.error, struct.error, EOFError, RuntimeError)  # what an archive with wrong bytes raises
MAX_WEIGHTS = 2**25  # weights of a file; what is over is kept as the mean over heads and layers alone


@dataclass(frozen=True)
class AttentionRecord:
    """One output and where its model looked."""

    place: int  # of the record in its split
    source: Sequence[str]  # S pieces; of an image none
    target: Sequence[str]  # T pieces
    source_words: Sequence[int]  # the word of each piece, -1 for specials
    target_words: Sequence[int]
    alignment: Array  # (T, S) the last layer's, summed up over heads
    weights: Mapping[str, Array] = field(default_factory=dict)  # {"cross.L": (H, T, S), "sentinel.cross.L": (H, T, 1)}
    reference: Array | None = None  # (J, I) between words, with the reference forced
    cells: Sequence[Sequence[int]] = ()  # (S, 2) row and column of each cell,
    extent: Sequence[float] = ()  # and how many rows and columns there are room for
    sentences: Sequence[int] = ()  # of a document: the sentence of each source piece


TEXT = ("place", "source", "target", "source_words", "target_words", "cells", "extent", "sentences")


def save(path: Path, records: Iterable[AttentionRecord]) -> None:
    """Write them in one file."""
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
    text = np.frombuffer(json.dumps(index, ensure_ascii=False).encode(), np.uint8)
    nothing = [np.zeros(0, np.uint8)], [np.zeros(0, np.float32)]
    every_step, every_largest = np.concatenate(steps or nothing[0]), np.concatenate(largest or nothing[1])
    with writing(path) as temporary:
        np.savez_compressed(temporary, index=text, steps=every_step, largest=every_largest)


def load(path: Path) -> list[AttentionRecord]:
    """Read the records that ``save`` wrote to ``path``."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return _unpacked(json.loads(bytes(stored["index"])), stored["steps"], stored["largest"])
    except (*READ_ERRORS, OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path} can't be read as attention ({error}); evaluate.py makes it anew") from error


def _unpacked(index: list[dict[str, Any]], steps: NDArray[np.uint8], largest: Array) -> list[AttentionRecord]:
    attention_records, at, row = [], 0, 0
    for entry in index:
        arrays = {}
        for name, shape in entry.pop("shapes").items():
            rows = int(np.prod(shape[:-1]))
            flat = steps[at : at + rows * shape[-1]].reshape(rows, shape[-1])
            arrays[name] = (flat * (largest[row : row + rows, None] / 255)).astype(np.float32).reshape(shape)
            at, row = at + rows * shape[-1], row + rows
        alignment, reference = arrays.pop("alignment"), arrays.pop("reference", None)
        attention_records.append(AttentionRecord(**entry, alignment=alignment, weights=arrays, reference=reference))
    return attention_records


def quantised(rows: ArrayLike, bits: int = 8) -> tuple[NDArray[Any], Array]:
    """(N, X) -> steps (N, X) of ``bits`` (8 or 16) bits and the largest of each row (N,): of b bits,
    row = steps largest / (2^b - 1). Weights below 0 become 0.
    """
    w = np.clip(np.asarray(rows, np.float64), 0, None)
    largest = w.max(1, initial=0)
    scaled = np.divide(w, largest[:, None], out=np.zeros_like(w), where=largest[:, None] > 0)
    return np.rint(scaled * (2**bits - 1)).astype(f"<u{bits // 8}"), largest.astype(np.float32)
