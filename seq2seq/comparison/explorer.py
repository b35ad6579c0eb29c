"""The examples of the report: what each entry said and where it looked, packed for the page.

Weights are in 8 bits, in steps of a slot's largest / 255, all of an example compressed together, so that a page decodes
one example when it is looked at. All layers and heads for as many examples as fit, the last layer's mean for others.
"""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from seq2seq.attention_store import AttentionRecord, quantised
from seq2seq.comparison.runs import references
from seq2seq.comparison.systems import System

THUMBNAIL_SIDE = 240  # pixels of an image
MAX_PIECES = 4000  # pieces of a source that is shown


@dataclass
class ExampleStore:
    """``examples`` as the page reads them; pieces are in ``pools``, once each list."""

    examples: list[dict[str, Any]] = field(default_factory=list)
    pools: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def written(value: object) -> str:
    """As it stands in the page, where no ``<`` may end its element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def gather(entries: Sequence[System], count: int, order: Sequence[str], room: int) -> ExampleStore:
    """``count`` records, those first of which most entries kept attention; the first run of each entry. What they take
    in the page, in bytes, is ``room`` at most.
    """
    with_text = {entry.name: [run for run in entry.runs if run.has_text] for entry in entries}
    chosen = {name: runs[0] for name, runs in with_text.items() if runs}
    kept = {name: {one.place: one for one in run.attention_records} for name, run in chosen.items()}
    some = {name: maps for name, maps in kept.items() if maps}
    found = ExampleStore()
    if packed := sorted(set(with_text) - set(chosen)):
        found.notes.append(
            f"There are no examples of {', '.join(packed)}: a pack holds no texts and no attention maps."
        )
    if missing := sorted(set(chosen) - set(some)):
        found.notes.append(
            f"No attention was kept of {', '.join(missing)}: evaluate.py checkpoint=RUN keeps it, and its directory "
            "can stand in runs=; of other toolkits attention.NAME=FILE.npz brings it."
        )
    if not some:
        return found
    having = Counter(record_index for maps in some.values() for record_index in maps)
    record_indices = sorted(sorted(having, key=lambda record_index: (-having[record_index], record_index))[:count])
    if partly := sum(having[record_index] < len(some) for record_index in record_indices):
        found.notes.append(f"Of {partly} examples some configurations kept no attention; they are not shown there.")
    pool = _Pool(found.pools)
    left, whole, bare, short = room, 0, 0, 0
    means = room // 4  # kept for examples whose heads don't fit
    for record_index in record_indices:
        record = next(iter(chosen.values())).records[record_index]
        encoded = None
        for full in (True, False):
            before = pool.mark()
            attempt = _example(record_index, record, some, chosen, order, pool, full)
            size = _size(attempt) + pool.since(before)
            if size <= (left - means if full else left):
                encoded, left = attempt, left - size
                complete = all(
                    kept_records[record_index].weights for kept_records in some.values() if record_index in kept_records
                )
                whole, bare = whole + (full and complete), bare + (not (full and complete))
                break
            pool.forget(before)
        if encoded is None:
            break
        short += any(not item["slots"] for item in encoded["items"])
        found.examples.append(encoded)
    if bare:
        found.notes.append(
            f"{whole} examples have all layers and heads of all, {bare} only the mean over heads of the last layer of "
            "some or all: what else there is of them would not fit."
        )
    if short:
        found.notes.append(f"Of {short} examples the source is over {MAX_PIECES} pieces, which are not shown.")
    if len(found.examples) < len(record_indices):
        found.notes.append(
            f"{len(record_indices) - len(found.examples)} further examples would not fit and are left out."
        )
    return found


class _Pool:
    """Lists of pieces by number, each once."""

    def __init__(self, pools: list[list[str]]) -> None:
        self.pools, self.known = pools, dict[tuple[str, ...], int]()

    def __call__(self, pieces: Sequence[str]) -> int:
        key = tuple(pieces)
        if key not in self.known:
            self.known[key] = len(self.pools)
            self.pools.append(list(key))
        return self.known[key]

    def mark(self) -> int:
        """How many there are."""
        return len(self.pools)

    def since(self, mark: int) -> int:
        """The bytes of those that came after."""
        return sum(_size(pieces) for pieces in self.pools[mark:])

    def forget(self, mark: int) -> None:
        """Take away the pieces that came after ``mark``."""
        for pieces in self.pools[mark:]:
            del self.known[tuple(pieces)]
        del self.pools[mark:]


def _example(
    record_index: int,
    record: Mapping[str, Any],
    kept: Mapping[str, Mapping[int, AttentionRecord]],
    chosen: Mapping[str, Any],
    order: Sequence[str],
    pool: _Pool,
    full: bool,
) -> dict[str, Any]:
    items, packed = [], io.BytesIO()
    shown = {name: kept_records[record_index] for name, kept_records in kept.items() if record_index in kept_records}
    images = any(one.cells for one in shown.values())
    for entry, name in enumerate(order):
        if name not in shown:
            continue
        one = shown[name]
        output_words = chosen[name].records[record_index]
        slots = []
        arrays = {"": one.alignment[None]} | (dict(one.weights) if full else {})
        for slot, weights in arrays.items():
            if weights.shape[-1] > MAX_PIECES:
                continue
            steps, (largest,) = quantised(weights.reshape(1, -1))
            slots.append([slot, *weights.shape, packed.tell(), float(f"{largest:.4g}")])
            packed.write(steps.tobytes())
        item = {
            "entry": entry,
            "text": output_words.get("hypothesis", references(output_words)[0]),
            "source": pool(one.source if slots else ()),
            "target": pool(one.target),
            "slots": slots,
        }
        if one.cells:
            item |= {"cells": one.cells, "extent": list(one.extent)}
        if one.sentences and slots:
            item["sentences"] = list(one.sentences)
        items.append(item)
    return {
        "place": record_index,
        "source": "" if images else str(record["source"])[:MAX_PIECES],
        "references": references(record),
        "image": _image(record) if images else "",
        "data": base64.b64encode(zlib.compress(packed.getvalue(), 9)).decode(),
        "items": items,
    }


def _size(value: object) -> int:
    """Bytes, with a comma."""
    return len(written(value).encode()) + 1


def _image(record: Mapping[str, Any]) -> str:
    """The record's image, small, as a data URI; empty where it is none or has gone."""
    path = Path(str(record["source"]))
    if not path.exists():
        return ""
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
            small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
            file = io.BytesIO()
            small.save(file, "JPEG", quality=80)
    except (OSError, ValueError, Image.DecompressionBombError):
        return ""
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
