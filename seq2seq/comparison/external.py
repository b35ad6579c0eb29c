"""Outputs of other toolkits, as runs."""

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
"""The facet that names them."""
ROW_SUM_TOLERANCE = 0.02
"""By which rounded weights may sum to more than 1."""


def external_run(
    name: str,
    hypotheses: Sequence[str],
    sources: Sequence[str],
    references: Sequence[Sequence[str]],
    metrics: Sequence[str],
    like: Run | None = None,
    attention: Path | None = None,
) -> Run:
    """Outputs of another toolkit, scored here; ``like`` is a run on the same data. ``attention`` is an npz file with an
    array (T, S) or (H, T, S) for each line that has one, named by its number from 0: rows are the words of the output,
    columns those of the source, each perhaps with an end-of-sentence behind.
    """
    if len(hypotheses) != len(references):
        raise UserError(f"outputs.{name} has {len(hypotheses)} lines, but there are references for {len(references)}")
    scores = score(metrics, hypotheses, references)
    rows = {name: found.per_record for name, found in scores.items() if found.per_record is not None}
    records: list[dict[str, Any]] = [
        {"source": source, "references": list(several), "hypothesis": text, "sums": {m: rows[m][n] for m in rows}}
        for n, (source, several, text) in enumerate(zip(sources, references, hypotheses, strict=True))
    ]
    kept = [] if attention is None else _attention(attention, records)
    for one in kept:
        records[one.place]["attention"] = behaviour.statistics(one.weights.get("cross.0", one.alignment))
    known = behaviour.average(record["attention"] for record in records if "attention" in record)
    scores |= {f"attention_{name}": MetricResult(value, behaviour.HOW) for name, value in known.items()}
    results = {name: found.to_dict() for name, found in scores.items()}
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
    run.__dict__["records"] = records
    run.__dict__["curves"], run.__dict__["frequencies"] = [], {}
    run.__dict__["attention_records"] = kept
    return run


def _attention(path: Path, records: Sequence[Mapping[str, Any]]) -> list[AttentionRecord]:
    """Attention of another toolkit, between words."""
    try:
        opened = np.load(path, allow_pickle=False)
        if not isinstance(opened, NpzFile):
            raise ValueError("one array, no .npz file")
        with opened as stored:
            arrays = {int(name.removeprefix("arr_")): stored[name].astype(np.float32) for name in stored.files}
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error, NotImplementedError, MemoryError) as error:
        raise UserError(f"{path} can't be read ({error}); its arrays are numbers, named 0, 1, ... by line") from error
    if not arrays:
        raise UserError(f"{path} holds no arrays")
    found = []
    for place, stored_weights in sorted(arrays.items()):
        if not 0 <= place < len(records):
            raise UserError(f"{path} has attention of line {place}, but there are {len(records)} from 0")
        weights = stored_weights[None] if stored_weights.ndim == 2 else stored_weights
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise UserError(f"{path}: array {place} has weights that are negative or no numbers")
        if weights.size and (most := float(weights.sum(-1).max())) > 1 + ROW_SUM_TOLERANCE:
            raise UserError(
                f"{path}: array {place} has a row that sums to {most:.3g}; an output word's weights sum to 1"
            )
        target, source = (str(records[place][side]).split() for side in ("hypothesis", "source"))
        fits = weights.ndim == 3
        fits = fits and weights.shape[1] - len(target) in (0, 1) and weights.shape[2] - len(source) in (0, 1)
        if not fits:
            raise UserError(
                f"{path}: array {place} is {' x '.join(map(str, stored_weights.shape))}, but the output has "
                f"{len(target)} words and the source {len(source)}; rows are output words, columns source words, each "
                "perhaps with </s>"
            )
        if not weights.size:
            continue  # nothing was said, or there was nothing to say it of
        (rows, row_words), (columns, column_words) = (
            _pieces(words, size) for words, size in ((target, weights.shape[1]), (source, weights.shape[2]))
        )
        heads = {"cross.0": weights} if len(weights) > 1 else {}
        found.append(AttentionRecord(place, columns, rows, column_words, row_words, weights.mean(0), heads))
    return found


def _pieces(words: Sequence[str], size: int) -> tuple[list[str], list[int]]:
    """Words as pieces, with ``</s>`` if there is one more, and the word of each."""
    more = size - len(words)
    return [*(f"\u2581{word}" for word in words), *["</s>"] * more], [*range(len(words)), *[-1] * more]
