"""Packs: what finished runs came to, in a few kilobytes each, without texts, attention maps and weights.

A pack is one file, ``NAME.pack.xz``. Its first line is JSON: the config, the choices that name the run, figures with
their signatures, costs, learning curves. After it come tables of numbers (``table_codec``), a row for each record: what
it adds to each figure, the length of its source, the words of its reference by place and by frequency, and how many of
them the output has. A comparison of packs has the same figures, intervals and tests as one of the runs.
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

from seq2seq.attention_store import AttentionRecord
from seq2seq.comparison import runs, table_codec
from seq2seq.comparison.run_config import CONTROL, Origin, digest, key
from seq2seq.comparison.runs import RecordDigests, Run
from seq2seq.comparison.word_hits import FREQUENCIES, PLACES
from seq2seq.errors import UserError
from seq2seq.run_directory import RESULTS
from seq2seq.stored import moved_names
from seq2seq.stored.plain import parse_json, parse_yaml

log = logging.getLogger(__name__)

Array = NDArray[np.float64]
SUFFIX = ".pack.xz"
FORMAT = 1
MAX_BYTES = 64 << 20  # of an opened pack: more is not read
MACHINE = {
    *("logger", "resume", "data.path", "data.cache", "data.workers", "encoder.cache"),
    "training.init_from",
}
"""Keys of a config that belong to the machine, or lead to files on it."""
LEARNT_FROM = {"data.path", "training.init_from"}
"""Those of them that say what is learnt from."""
PLACE_HITS, FREQUENCY_HITS, LENGTHS, SOURCE_DIGESTS, REFERENCE_DIGESTS = (
    *("word hits by place", "word hits by frequency", "source length", "source digest", "reference digest"),
)
"""Tables beside those of metrics."""


@dataclass(frozen=True)
class PackedRun(Run):
    """A run of which a pack is left."""

    head: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Array] = field(default_factory=dict)  # {metric, or table beside those: (N, K)}

    @property
    def has_text(self) -> bool:
        """Return False: a pack holds numbers."""
        return False

    @property
    def written(self) -> float:
        """When the run wrote its results."""
        return float(self.head["written"])

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """Refuse: a pack has no texts."""
        raise UserError(f"{self.path} is a pack, which holds no texts of sources, references and outputs")

    @property
    def size(self) -> int:
        """Return the number of records."""
        return int(self._split["records"])

    @property
    def attended(self) -> int:
        """Return the number of records that have statistics of attention."""
        return int(self._split["attended"])

    @cached_property
    def digests(self) -> Mapping[str, RecordDigests]:
        """What tells test sets apart."""
        tables = {"source": SOURCE_DIGESTS, "reference": REFERENCE_DIGESTS}
        return {
            side: RecordDigests(self._split["digests"][side], bytes(self.tables[name][:, 0].astype(np.uint8)))
            for side, name in tables.items()
        }

    @property
    def source_lengths(self) -> list[int]:
        """Words of each source; [] of images."""
        return [] if self.images else [int(length) for length in self.tables[LENGTHS][:, 0]]

    @cached_property
    def word_hits(self) -> tuple[Array, Array] | None:
        """The reference words that the outputs have; None where references were forced."""
        if PLACE_HITS not in self.tables:
            return None
        groups = {PLACE_HITS: PLACES, FREQUENCY_HITS: len(FREQUENCIES)}
        by_place, by_frequency = (self.tables[name].reshape(self.size, count, 2) for name, count in groups.items())
        return by_place, by_frequency

    @property
    def has_frequencies(self) -> bool:
        """Whether the words of the training targets were counted."""
        return bool(self.head["has_frequencies"])

    @cached_property
    def attention_records(self) -> list[AttentionRecord]:
        """Return nothing: no attention maps are kept."""
        return []

    @cached_property
    def curves(self) -> list[dict[str, float]]:
        """The rows of the learning curves that were kept."""
        names = list(self.head["curves"])
        rows = zip(*self.head["curves"].values(), strict=True)
        return [{name: x for name, x in zip(names, row, strict=True) if x is not None} for row in rows]

    def rows(self, metric: str) -> Array | None:
        """(N, K) of a metric, None where the outputs don't have it."""
        return self.tables.get(metric)

    @property
    def _split(self) -> Mapping[str, Any]:
        split: Mapping[str, Any] = self.head["splits"][self.split]
        return split


def load(file: Path, split: str) -> PackedRun:
    """Return the run that ``file`` is a pack of; ``split`` as ``runs.read`` has it.

    Raises:
        UserError: The file is damaged, of a later version, or has no such split.
    """
    head, content = _opened(file)
    split = runs.chosen_split(file, split, list(head["splits"]))
    with _one_line(file):
        start = 0
        for name, about in head["splits"].items():
            if name == split:
                break
            start += about["bytes"]
        block = content[start : start + about["bytes"]]
        joined = table_codec.decode(about["columns"], block, about["records"])
        edges = np.cumsum(list(about["tables"].values()))[:-1]
        tables = dict(zip(about["tables"], np.split(joined, edges, 1), strict=True))
        origin, otherwise = _origin(head["origin"]), dict(head["otherwise"])
        run = PackedRun(
            file,
            split,
            about["dataset"],
            head["seed"],
            {moved_names.key(name): value for name, value in head["facets"].items()},
            key(origin, otherwise),
            runs.known_figures(file, about["results"]),
            head["about"],
            None,
            head["images"],
            otherwise.get(CONTROL),
            origin,
            otherwise,
            head,
            {str(moved_names.METRICS.get(name, name)): table for name, table in tables.items()},
        )
    for name in head["changed"]:
        log.warning(
            "%s: %s of its run was changed after it was written: what is compared is not what was measured", file, name
        )
    return run


def find(paths: Sequence[Path], split: str) -> list[Run]:
    """Return the finished runs at or below ``paths``, packed or not, each once."""
    files = {path: pack_files(path) for path in paths}
    folders = [path for path in paths if not files[path] or next(path.rglob(RESULTS), None) is not None]
    packed = {file.resolve(): file for several in files.values() for file in several}
    return [*runs.find(folders, split), *(load(file, split) for file in packed.values())]


def pack_files(path: Path) -> list[Path]:
    """Return the packs at or below ``path``."""
    return [path] if path.is_file() and path.name.endswith(SUFFIX) else sorted(path.rglob(f"*{SUFFIX}"))


def job_key(composed: str) -> str:
    """Return a digest of a job's config as it was composed, in YAML, without what belongs to the machine."""
    config = parse_yaml(composed.encode(), "the config of the job")
    return digest(json.dumps(without(config, MACHINE - LEARNT_FROM), sort_keys=True))


def find_job(folder: Path, composed: str) -> PackedRun | None:
    """Return the finished run of the job with the config ``composed`` among the packs in ``folder``."""
    files = pack_files(folder)
    job = job_key(composed) if files else ""
    return next((load(file, "auto") for file in files if _opened(file)[0].get("job") == job), None)


def without(config: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Return ``config`` without some keys, which are at its top or one level below."""
    found: dict[str, Any] = {name: dict(node) if isinstance(node, Mapping) else node for name, node in config.items()}
    for name in keys:
        node, _, below = name.partition(".")
        if not below:
            found.pop(node, None)
        elif isinstance(found.get(node), dict):
            found[node].pop(below, None)
    return found


def _origin(node: Mapping[str, Any]) -> Origin:
    """Return the origin that a pack describes, with today's names of options."""
    start = node["start"]
    config = moved_names.renamed(node["config"])
    return Origin(config, str(node["data"]), _origin(start) if isinstance(start, Mapping) else start)


def _opened(file: Path) -> tuple[dict[str, Any], bytes]:
    """Return the first line of a pack, and what comes after it."""
    with _one_line(file):
        return _decompressed(str(file), file.read_bytes())


@lru_cache(512)
def _decompressed(name: str, packed: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the first line of a pack, and what comes after it; a sweep asks for them once a job."""
    opened = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    line, _, content = opened.decompress(packed, MAX_BYTES).partition(b"\n")
    if not opened.eof:
        raise ValueError("it does not end")
    head = parse_json(line.decode(), name)
    if not isinstance(head, dict) or not isinstance(head.get("splits"), dict):
        raise ValueError("its first line describes no run")
    if head["format"] > FORMAT:
        raise UserError(f"{name} is a pack of a later version, which this one can't read")
    return head, content


@contextmanager
def _one_line(file: Path) -> Iterator[None]:
    """Report that a pack is damaged, in one line."""
    try:
        yield
    except UserError:
        raise
    except (*runs.MALFORMED, OSError, EOFError, lzma.LZMAError, AssertionError) as error:
        raise UserError(
            f"{file} is damaged ({type(error).__name__}: {error}): restore it, or pack its run again"
        ) from error
