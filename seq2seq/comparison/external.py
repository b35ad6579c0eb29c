"""Runs made of the outputs of other toolkits."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile

from seq2seq.attention_store import AttentionRecord
from seq2seq.comparison.runs import Run
from seq2seq.errors import UserError
from seq2seq.metrics import MetricResult
from seq2seq.metrics import attention as behaviour
from seq2seq.metrics.text import score

SYSTEM = "system"
"""Facet with the name of another toolkit's system."""
ROW_SUM_TOLERANCE = 0.02
"""Largest excess over 1 of a row of rounded weights."""


def external_run(
    name: str,
    hypotheses: Sequence[str],
    sources: Sequence[str],
    references: Sequence[Sequence[str]],
    metrics: Sequence[str],
    like: Run | None = None,
    attention: Path | None = None,
) -> Run:
    """Score the outputs of another toolkit, and return them as a run.

    Args:
        name: Name of the system.
        hypotheses: Outputs, one for each record.
        sources: Source of each record.
        references: References of each record.
        metrics: Names of the metrics of outputs.
        like: A run of this application on the same data.
        attention: An npz file with one array (T, S) or (H, T, S) for each record that has attention. Its name is the
            index of the record, from 0. The rows are words of the output, the columns words of the source; ``</s>``
            may follow on both sides.

    Raises:
        UserError: The number of hypotheses is wrong, or the attention does not fit the texts.
    """
    if len(hypotheses) != len(references):
        raise UserError(f"outputs.{name} has {len(hypotheses)} lines, but there are references for {len(references)}")
    # Score the outputs.
    scores = score(metrics, hypotheses, references)
    rows = {name: found.per_record for name, found in scores.items() if found.per_record is not None}
    # Make records as output files have them.
    records: list[dict[str, Any]] = [
        {"source": source, "references": list(several), "hypothesis": text, "sums": {m: rows[m][n] for m in rows}}
        for n, (source, several, text) in enumerate(zip(sources, references, hypotheses, strict=True))
    ]
    # Read the attention and compute its statistics.
    kept = [] if attention is None else _attention(attention, records)
    for one in kept:
        records[one.place]["attention"] = behaviour.statistics(one.weights.get("cross.0", one.alignment))
    # Average the statistics over the records that have them.
    known = behaviour.average(record["attention"] for record in records if "attention" in record)
    scores |= {f"attention_{name}": MetricResult(value, behaviour.HOW) for name, value in known.items()}
    results = {name: found.to_dict() for name, found in scores.items()}
    # Without runs of this application, the data have no name.
    split, dataset = ("test", "outputs") if like is None else (like.split, like.dataset)
    run = Run(
        Path(f"outputs.{name}"),
        split,
        dataset,
        None,
        {SYSTEM: name},
        name,
        results,
        images=bool(like and like.images),
    )
    # Fill the cached properties, which would read files of a run directory.
    run.__dict__["records"] = records
    run.__dict__["curves"], run.__dict__["frequencies"] = [], {}
    run.__dict__["attention_records"] = kept
    return run


def _attention(path: Path, records: Sequence[Mapping[str, Any]]) -> list[AttentionRecord]:
    """Read the attention of another toolkit, and check that it fits the words of ``records``."""
    # Read the arrays.
    try:
        opened = np.load(path, allow_pickle=False)
        if not isinstance(opened, NpzFile):
            raise ValueError("it is a single array and not an .npz file")
        with opened as stored:
            arrays = {int(name.removeprefix("arr_")): stored[name].astype(np.float32) for name in stored.files}
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error, NotImplementedError, MemoryError) as error:
        raise UserError(
            f"{path} cannot be read ({error}); give an .npz file whose arrays hold numbers and are named 0, 1, ... "
            "by line"
        ) from error
    if not arrays:
        raise UserError(f"{path} holds no arrays")
    # Check each array.
    found = []
    for place, stored_weights in sorted(arrays.items()):
        if not 0 <= place < len(records):
            raise UserError(f"{path}: array {place} belongs to no line; there are {len(records)} lines, counted from 0")
        weights = stored_weights[None] if stored_weights.ndim == 2 else stored_weights
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise UserError(f"{path}: array {place} has weights that are negative or not finite")
        if weights.size and (most := float(weights.sum(-1).max())) > 1 + ROW_SUM_TOLERANCE:
            raise UserError(
                f"{path}: array {place} has a row with sum {most:.3g}; the weights of an output word must sum to 1"
            )
        # Compare the shape with the words of both sides.
        target, source = (str(records[place][side]).split() for side in ("hypothesis", "source"))
        fits = weights.ndim == 3
        fits = fits and weights.shape[1] - len(target) in (0, 1) and weights.shape[2] - len(source) in (0, 1)
        if not fits:
            raise UserError(
                f"{path}: array {place} has shape {' x '.join(map(str, stored_weights.shape))}, but the output has "
                f"{len(target)} words and the source has {len(source)}; rows must be output words and columns source "
                "words, with or without </s>"
            )
        if not weights.size:
            continue  # an empty source or an empty output
        # Convert words to pieces, and average over heads.
        (rows, row_words), (columns, column_words) = (
            _pieces(words, size) for words, size in ((target, weights.shape[1]), (source, weights.shape[2]))
        )
        heads = {"cross.0": weights} if len(weights) > 1 else {}
        found.append(AttentionRecord(place, columns, rows, column_words, row_words, weights.mean(0), heads))
    return found


def _pieces(words: Sequence[str], size: int) -> tuple[list[str], list[int]]:
    """Return words as pieces, with ``</s>`` if ``size`` has room for it, and the word index of each piece."""
    more = size - len(words)
    return [*(f"\u2581{word}" for word in words), *["</s>"] * more], [*range(len(words)), *[-1] * more]
