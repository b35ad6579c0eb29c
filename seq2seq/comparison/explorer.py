"""Examples of the report: the outputs of each entry with their attention, packed for the page.

Weights have 8 bits, in steps of (largest weight of the slot) / 255. The weights of one example are compressed together,
so that the page decodes an example only when it is shown. As many examples as fit have all layers and heads; the others
have the mean over heads of the last layer.
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
from seq2seq.config.extensions import command

THUMBNAIL_SIDE = 240  # largest side of a shown image, in pixels
MAX_PIECES = 4000  # longest source that is shown, in pieces


@dataclass
class ExampleStore:
    """Examples in the format that the page reads."""

    examples: list[dict[str, Any]] = field(default_factory=list)
    pools: list[list[str]] = field(default_factory=list)  # lists of pieces, each list once; examples have their numbers
    notes: list[str] = field(default_factory=list)  # what is not shown, and why


def written(value: object) -> str:
    """Return a value as JSON for the page, with ``<`` escaped so that no text can end the script element.

    Args:
        value: Plain data.
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def gather(entries: Sequence[System], count: int, order: Sequence[str], room: int) -> ExampleStore:
    """Choose and pack the examples of one dataset.

    Args:
        entries: Systems; the first run with texts of each is shown.
        count: Largest number of examples. Records for which most entries kept attention are chosen first.
        order: Names of the entries as the page numbers them.
        room: Largest size of all examples in the page, in bytes.

    Returns:
        The examples in the order of their records, with notes about what is missing.
    """
    # Choose the run of each entry.
    with_text = {entry.name: [run for run in entry.runs if run.has_text] for entry in entries}
    chosen = {name: runs[0] for name, runs in with_text.items() if runs}
    kept = {name: {one.place: one for one in run.attention_records} for name, run in chosen.items()}
    attended = {name: maps for name, maps in kept.items() if maps}
    found = ExampleStore()
    if packed := sorted(set(with_text) - set(chosen)):
        found.notes.append(f"No examples of {', '.join(packed)}: a pack holds no texts and no attention maps.")
    if missing := sorted(set(chosen) - set(attended)):
        found.notes.append(
            f"No attention was kept for {', '.join(missing)}. Run {command('evaluate')} checkpoint=RUN and add its "
            "directory to runs=...; for other toolkits set attention.NAME=FILE.npz."
        )
    if not attended:
        return found
    # Choose the records.
    counts = Counter(record_index for maps in attended.values() for record_index in maps)
    record_indices = sorted(sorted(counts, key=lambda record_index: (-counts[record_index], record_index))[:count])
    if incomplete := sum(counts[record_index] < len(attended) for record_index in record_indices):
        found.notes.append(
            f"{incomplete} examples do not show all configurations: some kept no attention for these records."
        )
    # Pack each example with all layers and heads, or else with the mean over heads of the last layer.
    pool = _Pool(found.pools)
    left, whole, means, too_long = room, 0, 0, 0
    reserved = room // 4  # for examples whose heads do not fit
    for record_index in record_indices:
        record = next(iter(chosen.values())).records[record_index]
        encoded = None
        for full in (True, False):
            before = pool.mark()
            attempt = _example(record_index, record, attended, chosen, order, pool, full)
            size = _size(attempt) + pool.since(before)
            if size <= (left - reserved if full else left):
                encoded, left = attempt, left - size
                complete = full and all(
                    maps[record_index].weights for maps in attended.values() if record_index in maps
                )
                whole, means = whole + complete, means + (not complete)
                break
            pool.forget(before)
        if encoded is None:
            break
        too_long += any(not item["slots"] for item in encoded["items"])
        found.examples.append(encoded)
    # Note what is not shown.
    if means:
        found.notes.append(
            f"{whole} examples show all layers and heads. {means} examples show only the mean over heads of the last "
            "layer, at least for some configurations: more does not fit."
        )
    if too_long:
        found.notes.append(f"{too_long} examples have a source of more than {MAX_PIECES} pieces, which is not shown.")
    if len(found.examples) < len(record_indices):
        found.notes.append(f"{len(record_indices) - len(found.examples)} more examples do not fit and are left out.")
    return found


class _Pool:
    """Numbered lists of pieces; equal lists are stored once."""

    def __init__(self, pools: list[list[str]]) -> None:
        self.pools, self.known = pools, dict[tuple[str, ...], int]()

    def __call__(self, pieces: Sequence[str]) -> int:
        """Return the number of a list of pieces; store it if it is new."""
        key = tuple(pieces)
        if key not in self.known:
            self.known[key] = len(self.pools)
            self.pools.append(list(key))
        return self.known[key]

    def mark(self) -> int:
        """Return the number of stored lists."""
        return len(self.pools)

    def since(self, mark: int) -> int:
        """Return the size in bytes of the lists that were stored after ``mark``."""
        return sum(_size(pieces) for pieces in self.pools[mark:])

    def forget(self, mark: int) -> None:
        """Remove the lists that were stored after ``mark``."""
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
    """Pack one record: the output and the attention of each entry, with all layers and heads if ``full``."""
    items, packed = [], io.BytesIO()
    # Find the configurations that kept this record.
    shown = {name: kept_records[record_index] for name, kept_records in kept.items() if record_index in kept_records}
    images = any(one.cells for one in shown.values())
    for entry, name in enumerate(order):
        if name not in shown:
            continue
        one = shown[name]
        output_words = chosen[name].records[record_index]
        # Quantise the weights; "" is the mean over heads of the last layer.
        slots = []
        arrays = {"": one.alignment[None]} | (dict(one.weights) if full else {})
        for slot, weights in arrays.items():
            # A longer source is too large for the page.
            if weights.shape[-1] > MAX_PIECES:
                continue
            steps, (largest,) = quantised(weights.reshape(1, -1))
            slots.append([slot, *weights.shape, packed.tell(), float(f"{largest:.4g}")])
            packed.write(steps.tobytes())
        # Add text, pieces, and cells or sentences.
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
    """Return the size of a value in the page, in bytes, with a comma."""
    return len(written(value).encode()) + 1


def _image(record: Mapping[str, Any]) -> str:
    """Return a thumbnail of the record's image as a data URI; empty where the file is missing or is no image."""
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
