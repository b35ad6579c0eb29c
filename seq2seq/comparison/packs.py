"""Packs: the results of finished runs in a few kilobytes, without texts, attention maps and weights.

A pack is one file, ``NAME.pack.xz``. Its first line is JSON: the config, the options that name the run, scores with
signatures, costs and learning curves. Tables of numbers follow (``table_codec``) with one row for each record: its sums
for each metric, its source length, its group and features, and the words of its reference by place and by frequency,
with the number of them that the output has. A comparison of packs gives the same scores, intervals and tests as a
comparison of the runs.
"""

from __future__ import annotations

import json
import logging
import lzma
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from seq2seq.attention_store import AttentionRecord
from seq2seq.comparison import runs, table_codec
from seq2seq.comparison.known_figures import known_figures
from seq2seq.comparison.record_digests import RecordDigests
from seq2seq.comparison.run_config import CONTROL, Origin, digest, key
from seq2seq.comparison.runs import Run
from seq2seq.comparison.word_hits import FREQUENCIES, PLACES
from seq2seq.errors import UserError
from seq2seq.run_directory import RESULTS
from seq2seq.stored import moved_names
from seq2seq.stored.job_identity import identity
from seq2seq.stored.plain import parse_json

log = logging.getLogger(__name__)

Array = NDArray[np.float64]
SUFFIX = ".pack.xz"
FORMAT = 1
MAX_BYTES = 64 << 20  # largest size of a decompressed pack
MACHINE = {
    *("logger", "resume", "data.path", "data.cache", "data.workers", "encoder.cache"),
    "training.init_from",
}
"""Keys of a config that depend on the machine or name files on it."""
LEARNT_FROM = {"data.path", "training.init_from"}
"""Keys in ``MACHINE`` that decide what the model learns from."""
PLACE_HITS, FREQUENCY_HITS, LENGTHS, SOURCE_DIGESTS, REFERENCE_DIGESTS, GROUPS, FEATURES = (
    *("word hits by place", "word hits by frequency", "source length", "source digest", "reference digest"),
    *("group", "features"),
)
"""Names of the tables that belong to no metric."""


@dataclass(frozen=True)
class PackedRun(Run):
    """A run that was read from a pack."""

    head: Mapping[str, Any] = field(default_factory=dict)  # the first line of the pack
    tables: Mapping[str, Array] = field(default_factory=dict)  # {metric or name of another table: (N, K)}

    @property
    @override
    def has_text(self) -> bool:
        return False

    @property
    @override
    def written(self) -> float:
        return float(self.head["written"])

    @cached_property
    @override
    def records(self) -> list[dict[str, Any]]:
        """No records: this property always raises ``UserError``, because a pack holds no texts."""
        raise UserError(f"{self.path} is a pack, which holds no texts of sources, references and outputs")

    @property
    @override
    def size(self) -> int:
        return int(self._split["records"])

    @property
    @override
    def attended(self) -> int:
        return int(self._split["attended"])

    @cached_property
    @override
    def digests(self) -> Mapping[str, RecordDigests]:
        tables = {"source": SOURCE_DIGESTS, "reference": REFERENCE_DIGESTS}
        return {
            side: RecordDigests(self._split["digests"][side], bytes(self.tables[name][:, 0].astype(np.uint8)))
            for side, name in tables.items()
        }

    @property
    @override
    def source_lengths(self) -> list[int]:
        return [] if self.images else [int(length) for length in self.tables[LENGTHS][:, 0]]

    @cached_property
    @override
    def groups(self) -> NDArray[np.int64] | None:
        return self.tables[GROUPS][:, 0].astype(np.int64) if GROUPS in self.tables else None

    @cached_property
    @override
    def features(self) -> list[list[str]]:
        names = np.array(self._split.get("features", []), object)
        return [names[row > 0].tolist() for row in self.tables.get(FEATURES, np.zeros((self.size, 0)))]

    @cached_property
    @override
    def word_hits(self) -> tuple[Array, Array] | None:
        if PLACE_HITS not in self.tables:
            return None
        groups = {PLACE_HITS: PLACES, FREQUENCY_HITS: len(FREQUENCIES)}
        by_place, by_frequency = (self.tables[name].reshape(self.size, count, 2) for name, count in groups.items())
        return by_place, by_frequency

    @property
    @override
    def has_frequencies(self) -> bool:
        return bool(self.head["has_frequencies"])

    @cached_property
    @override
    def attention_records(self) -> list[AttentionRecord]:
        return []

    @cached_property
    @override
    def curves(self) -> list[dict[str, float]]:
        names = list(self.head["curves"])
        rows = zip(*self.head["curves"].values(), strict=True)
        return [{name: x for name, x in zip(names, row, strict=True) if x is not None} for row in rows]

    @override
    def rows(self, metric: str) -> Array | None:
        return self.tables.get(metric)

    @property
    def _split(self) -> Mapping[str, Any]:
        """The description of this split in the first line."""
        split: Mapping[str, Any] = self.head["splits"][self.split]
        return split


def load(file: Path, split: str) -> PackedRun:
    """Read one split of a pack.

    Args:
        file: The pack.
        split: Name of the split, or ``auto`` (see ``runs.read``).

    Raises:
        UserError: The file is damaged, has a later format, or has no such split.
    """
    head, content = _opened(file)
    split = runs.chosen_split(file, split, list(head["splits"]))
    with _one_line(file):
        # Find and decode the tables of the split.
        start = 0
        for name, about in head["splits"].items():
            if name == split:
                break
            start += about["bytes"]
        block = content[start : start + about["bytes"]]
        joined = table_codec.decode(about["columns"], block, about["records"])
        edges = np.cumsum(list(about["tables"].values()))[:-1]
        tables = dict(zip(about["tables"], np.split(joined, edges, 1), strict=True))
        # Describe the run, with the current names of options and metrics.
        origin, otherwise = _origin(head["origin"]), dict(head["otherwise"])
        run = PackedRun(
            file,
            split,
            about["dataset"],
            head["seed"],
            {moved_names.key(name): value for name, value in head["facets"].items()},
            key(origin, otherwise),
            known_figures(file, about["results"], lambda: origin.config),
            head["about"],
            None,
            head["images"],
            otherwise.get(CONTROL),
            origin,
            otherwise,
            head,
            {str(moved_names.METRICS.get(name, name)): table for name, table in tables.items()},
        )
    # Warn of files that were changed before packing.
    for name in head["changed"]:
        log.warning(
            "%s: the run's %s was changed after it was written; the comparison may differ from the run", file, name
        )
    return run


def find(paths: Sequence[Path], split: str) -> list[Run]:
    """Return the finished runs and the packs at or below ``paths``, each once.

    Args:
        paths: Directories, or files of packs.
        split: Name of the split, or ``auto`` (see ``runs.read``).
    """
    files = {path: pack_files(path) for path in paths}
    # A directory may hold packs, runs, or both.
    folders = [path for path in paths if not files[path] or next(path.rglob(RESULTS), None) is not None]
    packed = {file.resolve(): file for several in files.values() for file in several}
    return [*runs.find(folders, split), *(load(file, split) for file in packed.values())]


def pack_files(path: Path) -> list[Path]:
    """Return the files of the packs at or below ``path``.

    Args:
        path: A pack or a directory.
    """
    return [path] if path.is_file() and path.name.endswith(SUFFIX) else sorted(path.rglob(f"*{SUFFIX}"))


def job_key(composed: str) -> str:
    """Return a digest of a job's config, without the keys that depend on the machine.

    Args:
        composed: The config as Hydra composed it, in YAML.
    """
    config = json.loads(identity(composed))
    return digest(json.dumps(without(config, MACHINE - LEARNT_FROM), sort_keys=True))


def find_job(folder: Path, composed: str) -> PackedRun | None:
    """Find the packed run of a job.

    Args:
        folder: Directory with packs.
        composed: The job's config as Hydra composed it, in YAML.

    Returns:
        The run; None where no pack is of this job.
    """
    files = pack_files(folder)
    job = job_key(composed) if files else ""
    return next((load(file, "auto") for file in files if _opened(file)[0].get("job") == job), None)


def without(config: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Return a copy of a config without some keys.

    Args:
        config: A config as plain data.
        keys: Keys at the top level (``seed``) or one level below (``data.path``).
    """
    found: dict[str, Any] = {name: dict(node) if isinstance(node, Mapping) else node for name, node in config.items()}
    for name in keys:
        node, _, below = name.partition(".")
        if not below:
            found.pop(node, None)
        elif isinstance(found.get(node), dict):
            found[node].pop(below, None)
    return found


def _origin(node: Mapping[str, Any]) -> Origin:
    """Return the origin that a pack describes, with the current names of options."""
    start = node["start"]
    config = moved_names.renamed(node["config"])
    return Origin(config, str(node["data"]), _origin(start) if isinstance(start, Mapping) else start)


def _opened(file: Path) -> tuple[dict[str, Any], bytes]:
    """Return the first line of a pack and the bytes of its tables."""
    with _one_line(file):
        return _decompressed(str(file), file.read_bytes())


@lru_cache(512)
def _decompressed(name: str, packed: bytes) -> tuple[dict[str, Any], bytes]:
    """Decompress a pack. The result is cached because a sweep reads all packs once for each job."""
    # Limit the size: a small file may decompress to a huge one.
    opened = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    line, _, content = opened.decompress(packed, MAX_BYTES).partition(b"\n")
    if not opened.eof:
        raise ValueError("its end is missing, or it is too large")
    head = parse_json(line.decode(), name)
    if not isinstance(head, dict) or not isinstance(head.get("splits"), dict):
        raise ValueError("its first line describes no run")
    # A later version may store other tables.
    if head["format"] > FORMAT:
        raise UserError(f"{name} is a pack of a later version, which this version cannot read")
    return head, content


@contextmanager
def _one_line(file: Path) -> Iterator[None]:
    """Turn errors of damaged packs into a ``UserError`` of one line."""
    try:
        yield
    except UserError:
        raise
    except (*runs.MALFORMED, OSError, EOFError, lzma.LZMAError, AssertionError) as error:
        raise UserError(
            f"{file} is damaged ({type(error).__name__}: {error}); restore it, or pack its run again"
        ) from error
