"""Conversion of a run or an evaluation to the bytes of a pack (``packs``)."""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.comparison import runs, table_codec
from seq2seq.comparison.packs import (
    FEATURES,
    FORMAT,
    FREQUENCY_HITS,
    GROUPS,
    LENGTHS,
    MACHINE,
    PLACE_HITS,
    REFERENCE_DIGESTS,
    SOURCE_DIGESTS,
    SUFFIX,
    job_key,
    without,
)
from seq2seq.comparison.run_config import Origin, config_of, digest, portable
from seq2seq.comparison.runs import Run
from seq2seq.errors import UserError
from seq2seq.run_directory import changed, composed_config

Array = NDArray[np.float64]
PRECISIONS = ((52, 52), (52, 40), (52, 32), (52, 24), (52, 16), (52, 12), (24, 12), (16, 8))
"""Mantissa bits of (sums, attention statistics), from exact to three digits; the first that fit are used."""
MAX_ROWS = 100  # rows of a learning curve with a validation; the same number of rows without one
UNPACKED = ("command", "checkpoint", "digests")
"""Keys of a run's description that contain paths."""


@dataclass(frozen=True)
class Pack:
    """One run in packed form."""

    name: str  # file name
    content: bytes  # content of the file
    run: Run  # the run on its first split
    bits: tuple[int, int]  # mantissa bits of sums and of attention statistics


def pack(path: Path, limit: int) -> Pack:
    """Pack a run or an evaluation; the same run always gives the same bytes.

    Args:
        path: Directory of the run or the evaluation.
        limit: Largest size in bytes. Floats are rounded until the pack fits; whole numbers and sums over all records
            stay exact.

    Returns:
        The pack with all splits.

    Raises:
        UserError: The run has no results, or its pack is larger than ``limit``.
    """
    # Read all splits.
    of_split = {split: runs.read(path, split) for split in runs.splits_of(path)}
    if not of_split:
        raise UserError(f"{path} has no results for any split: there is nothing to pack")
    run = next(iter(of_split.values()))
    head = _head(path, run) | {"splits": {}}
    tables = {split: _tables(item) for split, item in of_split.items()}
    # Encode with fewer and fewer bits until the pack fits.
    for bits in PRECISIONS:
        # Encode the tables of each split with these bits.
        blocks = []
        for split, item in of_split.items():
            widths = [table.shape[1] for table in tables[split].values()]
            precisions = [bits[name.startswith(runs.STATISTIC)] for name in tables[split]]
            joined = np.concatenate([np.zeros((item.size, 0)), *tables[split].values()], 1)
            layouts, block = table_codec.encode(joined, np.repeat(precisions, widths).tolist())
            blocks.append(block)
            head["splits"][split] = {
                **{"dataset": item.dataset, "records": item.size, "attended": item.attended},
                "digests": {side: found.whole for side, found in item.digests.items()},
                "results": item.results,
                "tables": dict(zip(tables[split], widths, strict=True)),
                **({"features": feature_names(item)} if any(item.features) else {}),
                **{"columns": layouts, "bytes": len(block)},
            }
        # Compress the first line and the tables together.
        text = json.dumps(head, separators=(",", ":"))
        content = lzma.compress(text.encode() + b"\n" + b"".join(blocks), preset=9 | lzma.PRESET_EXTREME)
        if len(content) <= limit:
            return Pack(_name(run, of_split), content, run, bits)
    raise UserError(
        f"{path}: the pack needs {len(content) / 1000:.0f} kB for {run.size:,} records, more than "
        f"pack_size={limit / 1000:g}; set pack_size={len(content) // 1000 + 1}"
    )


def _head(path: Path, run: Run) -> dict[str, Any]:
    """Return the description in a pack's first line, without the splits."""
    assert run.origin is not None
    # Leave out all paths: a pack must not depend on the machine.
    about = {name: value for name, value in run.about.items() if name not in UNPACKED}
    if isinstance(training := about.get("training"), Mapping):
        about["training"] = {name: value for name, value in training.items() if name not in ("best", "last")}
    trained = run.trained or path
    is_job = not run.otherwise  # an evaluation with the options of its run replaces the run's own results
    return {
        "format": FORMAT,
        "seed": run.seed,
        "written": run.written,
        "job": job_key(composed_config(trained)) if is_job else None,
        "facets": dict(run.facets),
        "otherwise": dict(run.otherwise),
        "images": run.images,
        "origin": _origin_node(run.origin),
        "evaluation": None if trained == path else portable(without(config_of(path), MACHINE)),
        "about": portable(about),
        "has_frequencies": run.has_frequencies,
        "curves": _curves(run),
        "changed": [str(file.relative_to(path)) for file in changed(path)],
    }


def _origin_node(origin: Origin) -> dict[str, Any]:
    """Convert an origin to plain data without paths."""
    start = _origin_node(origin.start) if isinstance(origin.start, Origin) else origin.start
    return {"config": portable(without(origin.config, MACHINE)), "data": origin.data, "start": start}


def _tables(run: Run) -> dict[str, Array]:
    """Return the tables of a split by name, each (N, K)."""
    found = {metric: rows for metric in run.results if (rows := run.rows(metric)) is not None}
    if not run.images:
        found[LENGTHS] = np.array(run.source_lengths, np.float64)[:, None]
    if run.groups is not None:
        found[GROUPS] = run.groups.astype(np.float64)[:, None]
    if any(run.features):
        names = feature_names(run)
        found[FEATURES] = np.array([[name in known for name in names] for known in run.features], np.float64)
    if run.word_hits is not None:
        for name, hits in zip((PLACE_HITS, FREQUENCY_HITS), run.word_hits, strict=True):
            found[name] = hits.reshape(run.size, -1)
    # Digests show where two test sets differ.
    for name, side in ((SOURCE_DIGESTS, "source"), (REFERENCE_DIGESTS, "reference")):
        found[name] = np.frombuffer(run.digests[side].each, np.uint8).astype(np.float64)[:, None]
    return found


def feature_names(run: Run) -> list[str]:
    """Return the names of all features of a run's records, in the order of their first occurrence.

    Args:
        run: A run.
    """
    return list(dict.fromkeys(name for names in run.features for name in names))


def _curves(run: Run) -> dict[str, list[float | None]]:
    """Return the learning curves by name; long curves keep evenly spaced rows and the best validation."""
    # Separate the rows with a validation from the others.
    monitor = f"validation/{(run.about.get('training') or {}).get('monitor')}"
    is_validation = [any(name.startswith("validation/") for name in row) for row in run.curves]
    validations, others = ([n for n, kind in enumerate(is_validation) if kind == wanted] for wanted in (True, False))
    # Keep the best validations: ``seconds_to_quality`` needs them.
    scored = [n for n in validations if monitor in run.curves[n]]
    best = {choose(scored, key=lambda n: run.curves[n][monitor]) for choose in (min, max)} if scored else set()
    rows = [run.curves[n] for n in sorted({*_spread(validations), *_spread(others), *best})]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _spread(places: Sequence[int]) -> list[int]:
    """Choose at most ``MAX_ROWS`` evenly spaced places, with the first and the last one."""
    if len(places) <= MAX_ROWS:
        return list(places)
    return [places[n] for n in np.linspace(0, len(places) - 1, MAX_ROWS).astype(int)]


def _name(run: Run, of_split: Mapping[str, Run]) -> str:
    """Return the file name of a pack, the same for all runs of one configuration, seed and data."""
    own = digest(json.dumps([run.key, run.seed, {split: item.dataset for split, item in of_split.items()}]))[:8]
    parts = [run.facets.get("model"), run.facets.get("attention"), f"seed{run.seed}", own]
    return re.sub(r"[^\w.+-]", "_", "-".join(part for part in parts if part)) + SUFFIX
