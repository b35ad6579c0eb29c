"""Finished runs and evaluations, read from their directories without loading a model."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq import attention_store
from seq2seq.attention_store import AttentionRecord
from seq2seq.comparison.known_figures import known_figures
from seq2seq.comparison.record_digests import RecordDigests
from seq2seq.comparison.record_slices import numbered, source_length
from seq2seq.comparison.run_config import CONTROL, Origin, choices, config_of, eval_diff, key, origin_of, portable
from seq2seq.comparison.word_hits import word_hits
from seq2seq.config.extensions import command
from seq2seq.errors import UserError
from seq2seq.metrics.table import get_metric
from seq2seq.run_directory import EVALUATIONS, FAILED, RESULTS, changed
from seq2seq.stored import moved_names
from seq2seq.stored.plain import parse_json, read_json

log = logging.getLogger(__name__)

SPLITS = ("train", "valid", "validation", "test")
STATISTIC = "attention_"


@dataclass(frozen=True)
class Run:
    """The outputs of one run or evaluation on one split."""

    path: Path  # directory
    split: str
    dataset: str
    seed: int | None
    facets: Mapping[str, str]  # options that name it: {"model": "rnn", "attention": "local", "optimizer.lr": "0.001"}
    key: str  # equal for runs that differ only in their seed
    results: Mapping[str, Mapping[str, Any]]  # {metric: {"score", "signature"}}
    about: Mapping[str, Any] = field(default_factory=dict)  # "run" of results.json
    trained: Path | None = None  # directory of the run; of an evaluation, of the evaluated run
    images: bool = False  # whether sources are paths of images
    control: str | None = None  # control of the evaluation
    origin: Origin | None = None  # origin of the model; None for other toolkits
    otherwise: Mapping[str, str] = field(default_factory=dict)  # options of an evaluation that differ from its run

    @property
    def has_text(self) -> bool:
        """True if sources, references, outputs and stored attention can be read."""
        return True

    @property
    def written(self) -> float:
        """The time when the results were written, in seconds; 0 where it is unknown."""
        file = self.path / RESULTS
        return file.stat().st_mtime if file.exists() else 0.0

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The records in the order of the split: source, references, hypothesis, sums and so on."""
        file = self.path / "outputs" / f"{self.split}.jsonl"
        if not file.exists():
            raise UserError(f"{file} is missing; {command('evaluate')} checkpoint={self.path} writes it again")
        return [_renamed_sums(record) for record in _lines(file)]

    @property
    def size(self) -> int:
        """The number of records."""
        return len(self.records)

    @property
    def attended(self) -> int:
        """The number of records with statistics of attention."""
        return sum("attention" in record for record in self.records)

    @cached_property
    def digests(self) -> Mapping[str, RecordDigests]:
        """The digests of the sources and the references: {"source": ..., "reference": ...}."""
        return {
            "source": RecordDigests.of(self.source(place) for place in range(self.size)),
            "reference": RecordDigests.of(json.dumps(references(record)) for record in self.records),
        }

    @property
    def source_lengths(self) -> list[int]:
        """The number of words of each source, in any script; of its letters if they are tokens; empty for images."""
        by_letter = self.origin is not None and self.origin.by_letter
        return [] if self.images else [source_length(record, by_letter) for record in self.records]

    @cached_property
    def groups(self) -> NDArray[np.int64] | None:
        """The group of each record (N,), numbered in their order; None where the records have no groups."""
        return numbered([record.get("group") for record in self.records])

    @cached_property
    def features(self) -> list[list[str]]:
        """The features in the source of each record, such as PST, in any order."""
        return [record.get("features", []) for record in self.records]

    @cached_property
    def word_hits(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """The counts of reference words that the outputs have (``word_hits``); None without outputs."""
        if not self.records or "hypothesis" not in self.records[0]:
            return None
        pairs = [(references(record)[0], str(record.get("hypothesis") or "")) for record in self.records]
        return word_hits(pairs, self.frequencies)

    @property
    def has_frequencies(self) -> bool:
        """True if the words of the training targets were counted."""
        return bool(self.frequencies)

    def source(self, place: int) -> str:
        """Return the source of a record: its text, or the file name of its image.

        Args:
            place: Index of the record.
        """
        text = str(self.records[place]["source"])
        return Path(text).name if self.images else text

    def rows(self, metric: str) -> NDArray[np.float64] | None:
        """Return the sums (N, K) of all records for a metric, None where no record has any.

        Args:
            metric: Name of the metric. A record without sums for it has zeros.
        """
        if get_metric(metric).from_sums is None:
            return None
        if metric.startswith(STATISTIC):
            values = [(record.get("attention") or {}).get(metric.removeprefix(STATISTIC)) for record in self.records]
            sums: Sequence[list[Any] | None] = [None if value is None else [value, 1.0] for value in values]
        else:
            sums = [record.get("sums", {}).get(metric) for record in self.records]
        known = [row for row in sums if row is not None]
        if not known:
            return None
        nothing = [0.0] * len(known[0])
        return np.array([nothing if row is None else row for row in sums], np.float64)

    @cached_property
    def attention_records(self) -> list[AttentionRecord]:
        """The outputs with their attention; empty where none was kept."""
        path = self.path / "attention" / f"{self.split}.npz"
        found = attention_store.load(path) if path.exists() else []
        if found and max(one.place for one in found) >= len(self.records):
            raise UserError(f"{path} has more records than {self.path}/outputs/{self.split}.jsonl")
        return found

    @cached_property
    def curves(self) -> list[dict[str, float]]:
        """The numbers in the rows of metrics.csv; empty without the file, and for a control, which was not trained."""
        path = (self.trained or self.path) / "metrics.csv"
        if self.control or not path.exists():
            return []
        with path.open(encoding="utf-8", newline="") as file:
            return [{name: float(x) for name, x in row.items() if name and _number(x)} for row in csv.DictReader(file)]

    @cached_property
    def frequencies(self) -> dict[str, int]:
        """The number of occurrences of each word in the training targets; empty where they were not counted."""
        path = (self.trained or self.path) / "frequencies.json"
        return read_json(path) if path.exists() else {}


def references(record: Mapping[str, Any]) -> list[str]:
    """Return the references of a record; without references, its target.

    Args:
        record: A record of an output file.
    """
    return list(record.get("references") or [record["target"]])


def expand_patterns(paths: Iterable[str]) -> list[Path]:
    """Expand patterns such as ``multirun/*``.

    Args:
        paths: Paths and patterns. An existing path is never a pattern; a pattern without matches is kept.
    """
    found = []
    for path in map(str, paths):
        matched = [] if Path(path).exists() else sorted(glob(path))
        found += [Path(one) for one in matched or [path]]
    return found


def find(paths: Iterable[Path], split: str) -> list[Run]:
    """Read the finished runs at or below ``paths``, each once.

    Args:
        paths: Directories. Evaluations below a run are read only if they are named themselves.
        split: Name of the split, or ``auto`` (see ``read``).
    """
    return [read(folder, split) for folder in finished(paths)]


def finished(paths: Iterable[Path]) -> list[Path]:
    """Return the directories of the runs that ``find`` reads.

    Args:
        paths: Directories.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise UserError(f"runs: {path} does not exist")
        below = [path / RESULTS] if (path / RESULTS).exists() else sorted(path.rglob(RESULTS))
        below = [file for file in below if EVALUATIONS not in file.relative_to(path).parts]
        if not below:
            raise UserError(f"runs: {path} has no {RESULTS} at or below it; give finished runs or a sweep")
        for file in below:
            found.setdefault(file.parent.resolve(), file.parent)
    return list(found.values())


def unfinished(paths: Iterable[Path]) -> list[str]:
    """Return a note for each run without results at or below ``paths``: it failed, was stopped, or still runs.

    Args:
        paths: Directories.
    """
    found: dict[Path, str] = {}
    for path in paths:
        for file in sorted([*path.rglob("config.yaml"), *path.rglob(FAILED)]):
            folder = file.parent
            if folder.name in (".hydra", "checkpoints") or (folder / RESULTS).exists():
                continue
            if (reason := folder / FAILED).exists():
                found[folder] = f"{folder} failed: {reason.read_text(encoding='utf-8').strip()}"
            else:
                found[folder] = f"{folder} has no results: it was stopped, or it is still running."
    return list(found.values())


MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)  # errors that damaged files cause


@contextmanager
def name_damaged_files(paths: Iterable[Path]) -> Iterator[None]:
    """Turn errors of the block into a ``UserError`` that names the changed file, if a file of the runs was changed.

    Args:
        paths: Directories of the runs that the block reads.
    """
    try:
        yield
    except UserError:  # it already has a clear message
        raise
    except MALFORMED as error:
        if files := [file for path in paths for file in changed(path)]:
            raise UserError(
                f"{files[0]} was changed after it was written and cannot be read "
                f"({type(error).__name__}: {' '.join(str(error).split())}); "
                f"{command('evaluate')} writes the results again"
            ) from error
        raise


def read(path: Path, split: str) -> Run:
    """Read a run or an evaluation.

    Args:
        path: Directory.
        split: Name of the split; ``auto`` is the test split or, without one, the validation split.

    Raises:
        UserError: A file is damaged, or the split has no results.
    """
    with name_damaged_files([path]):
        run = _read(path, split)
    for file in [*changed(path), *(changed(run.trained) if run.trained not in (None, path) else ())]:
        log.warning("%s was changed after it was written; the comparison may differ from the run", file)
    return run


def _read(path: Path, split: str) -> Run:
    """Read a run or an evaluation, without checks for changed files."""
    results = _results(path)
    split = chosen_split(path, split, [name for name in results if name != "run"])
    about = dict(results.get("run") or {})
    # Find the run of an evaluation, and how the evaluation differs from it.
    is_evaluation = "training" not in about
    trained = _run_of(path, about) if is_evaluation else path
    config, own_config, run_about = config_of(trained), config_of(path), about if trained == path else _about(trained)
    otherwise = eval_diff(own_config, config, about, run_about) if is_evaluation else {}
    origin = origin_of(trained, config)
    data, control = own_config.get("data"), otherwise.get(CONTROL)
    data = data if isinstance(data, Mapping) else {}
    dataset = " ".join(str(data[key]) for key in ("name", "language") if data.get(key))
    return Run(
        path,
        split,
        dataset if dataset and split in SPLITS else split,
        about.get("seed"),
        portable(choices(trained) | otherwise),
        key(origin, otherwise),
        results[split],
        # A control has no training of its own.
        {name: value for name, value in {**run_about, **about}.items() if name != "training" or not control},
        trained,
        "images" in data,
        control,
        origin,
        otherwise,
    )


def chosen_split(path: Path, split: str, names: Sequence[str]) -> str:
    """Return the name of a split that a run has.

    Args:
        path: The run, for messages.
        split: Name of the split, or ``auto``.
        names: Splits of the run.
    """
    if split == "auto":
        split = next((name for name in ("test", "valid", "validation") if name in names), "test")
    if split not in names:
        have = ", ".join(names) or "none"
        raise UserError(f"{path} has no results of split {split!r}; it has: {have}; choose one with split=...")
    return split


def splits_of(path: Path) -> list[str]:
    """Return the splits with results.

    Args:
        path: Directory of a run or an evaluation.
    """
    return [name for name, figures in _results(path).items() if name != "run" and figures]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of an output file."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = parse_json(line.decode("utf-8"), f"{path}, line {number}")
            except UnicodeDecodeError as error:
                raise UserError(f"{path}, line {number} cannot be read: it is not UTF-8") from error
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number} is damaged: it is not a record")
            yield row


def _renamed_sums(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with the current names of metrics."""
    if isinstance(sums := record.get("sums"), Mapping):
        record["sums"] = {moved_names.METRICS.get(name, name): row for name, row in sums.items()}
    return record


def _number(text: str | None) -> bool:
    """Return whether a text is a number."""
    try:
        float(text or "")
    except ValueError:
        return False
    return True


def _run_of(path: Path, about: Mapping[str, Any]) -> Path:
    """Find the evaluated run: the parent of ``evaluations``, the run of the noted checkpoint, or a directory above."""
    noted = Path(str(about.get("checkpoint", ""))).parent.parent
    own = [path.parent.parent] if path.parent.name == EVALUATIONS else []
    for folder in (*own, noted, *path.parents):
        if (folder / "checkpoints").exists() and (folder / "config.yaml").exists():
            return folder
    return path


def _about(path: Path) -> dict[str, Any]:
    """Return the description of a run in its results.json."""
    return dict(_results(path).get("run") or {}) if (path / RESULTS).exists() else {}


def _results(path: Path) -> dict[str, Any]:
    """Return the content of results.json: {split: {metric: {"score": ...}}} and "run"."""
    found = read_json(path / RESULTS)
    if not isinstance(found, dict) or not all(isinstance(node, Mapping | None) for node in found.values()):
        raise UserError(f"{path / RESULTS} is damaged: it holds no results")
    for split, metrics in found.items():
        for metric, score in (metrics or {}).items():
            if split != "run" and not (isinstance(score, Mapping) and isinstance(score.get("score"), int | float)):
                raise UserError(f"{path / RESULTS} is damaged: {split}.{metric} has no score")
    return {
        split: metrics if split == "run" else known_figures(path / RESULTS, metrics or {}, lambda: config_of(path))
        for split, metrics in found.items()
    }
