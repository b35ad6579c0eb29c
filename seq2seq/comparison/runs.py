"""What finished runs left, read without opening a model."""

from __future__ import annotations

import csv
import hashlib
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
from seq2seq.comparison.run_config import CONTROL, Origin, choices, config_of, eval_diff, key, origin_of, portable
from seq2seq.comparison.word_hits import word_hits
from seq2seq.errors import UserError
from seq2seq.metrics.table import find_metric, get_metric
from seq2seq.metrics.words import spoken
from seq2seq.run_directory import FAILED, RESULTS, changed
from seq2seq.stored import moved_names
from seq2seq.stored.plain import parse_json, read_json

log = logging.getLogger(__name__)

SPLITS = ("train", "valid", "validation", "test")
STATISTIC = "attention_"


@dataclass(frozen=True)
class RecordDigests:
    """A digest of the texts of all records, and the first byte of each text's own, which finds the one that differs."""

    whole: str
    each: bytes

    @staticmethod
    def of(texts: Iterable[str]) -> RecordDigests:
        """Return the digests of ``texts``, in their order."""
        own = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        return RecordDigests(hashlib.sha256(b"".join(own)).hexdigest(), bytes(digest[0] for digest in own))


@dataclass(frozen=True)
class Run:
    """One set of outputs of one split."""

    path: Path
    split: str
    dataset: str
    seed: int | None
    facets: Mapping[str, str]  # what it was: {"model": "rnn", "attention": "local", "optimizer.lr": "0.001"}
    key: str  # alike for runs that differ in seed alone
    results: Mapping[str, Mapping[str, Any]]  # {metric: {"score", "signature"}}
    about: Mapping[str, Any] = field(default_factory=dict)  # "run" of results.json
    trained: Path | None = None  # the directory of the run that this is an evaluation of
    images: bool = False  # whether sources are paths of images
    control: str | None = None  # under which it was evaluated
    origin: Origin | None = None  # what made the model; None of another toolkit
    otherwise: Mapping[str, str] = field(default_factory=dict)  # what an evaluation did otherwise than the run

    @property
    def has_text(self) -> bool:
        """Whether sources, references and outputs are there, and attention where it was kept."""
        return True

    @property
    def written(self) -> float:
        """When the results were written, in seconds; 0 where nobody knows."""
        file = self.path / RESULTS
        return file.stat().st_mtime if file.exists() else 0.0

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """Source, references, hypothesis, sums ... in the split's order."""
        file = self.path / "outputs" / f"{self.split}.jsonl"
        if not file.exists():
            raise UserError(f"{file} is missing: evaluate.py checkpoint={self.path} makes it anew")
        return [_renamed_sums(record) for record in _lines(file)]

    @property
    def size(self) -> int:
        """Return the number of records."""
        return len(self.records)

    @property
    def attended(self) -> int:
        """Return the number of records that have statistics of attention."""
        return sum("attention" in record for record in self.records)

    @cached_property
    def digests(self) -> Mapping[str, RecordDigests]:
        """What tells test sets apart: digests of ``source`` and ``reference``."""
        sources = (self.source(place) for place in range(self.size))
        return {
            "source": RecordDigests.of(sources),
            "reference": RecordDigests.of(json.dumps(references(record)) for record in self.records),
        }

    @property
    def source_lengths(self) -> list[int]:
        """Words of each source, of any script; [] of images."""
        return [] if self.images else [len(spoken(self.source(place))) for place in range(self.size)]

    @cached_property
    def word_hits(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """The reference words that the outputs have (``words.word_hits``); None where references were forced."""
        if not self.records or "hypothesis" not in self.records[0]:
            return None
        pairs = [(references(record)[0], str(record.get("hypothesis") or "")) for record in self.records]
        return word_hits(pairs, self.frequencies)

    @property
    def has_frequencies(self) -> bool:
        """Whether the words of the training targets were counted."""
        return bool(self.frequencies)

    def source(self, place: int) -> str:
        """That of a record: a text, or of an image its file's name, wherever it lies."""
        text = str(self.records[place]["source"])
        return Path(text).name if self.images else text

    def rows(self, metric: str) -> NDArray[np.float64] | None:
        """(N, K) of a metric, None where the outputs don't have it."""
        if get_metric(metric).from_sums is None:
            return None
        if metric.startswith(STATISTIC):
            values = [(record.get("attention") or {}).get(metric.removeprefix(STATISTIC)) for record in self.records]
            some: Sequence[list[Any] | None] = [None if value is None else [value, 1.0] for value in values]
        else:
            some = [record.get("sums", {}).get(metric) for record in self.records]
        known = [row for row in some if row is not None]
        if not known:
            return None
        nothing = [0.0] * len(known[0])
        return np.array([nothing if row is None else row for row in some], np.float64)

    @cached_property
    def attention_records(self) -> list[AttentionRecord]:
        """Outputs with their attention; [] where none was kept."""
        path = self.path / "attention" / f"{self.split}.npz"
        found = attention_store.load(path) if path.exists() else []
        if found and max(one.place for one in found) >= len(self.records):
            raise UserError(f"{path} is of more records than {self.path}/outputs/{self.split}.jsonl has")
        return found

    @cached_property
    def curves(self) -> list[dict[str, float]]:
        """The rows of metrics.csv, as far as they are numbers; [] without, and of a control, which wasn't trained."""
        path = (self.trained or self.path) / "metrics.csv"
        if self.control or not path.exists():
            return []
        with path.open(encoding="utf-8", newline="") as file:
            return [{name: float(x) for name, x in row.items() if name and _number(x)} for row in csv.DictReader(file)]

    @cached_property
    def frequencies(self) -> dict[str, int]:
        """How often words stand in the training targets; {} if nobody counted."""
        path = (self.trained or self.path) / "frequencies.json"
        return read_json(path) if path.exists() else {}


def references(record: Mapping[str, Any]) -> list[str]:
    """Those of a record, one of which may be its target alone."""
    return list(record.get("references") or [record["target"]])


def expand_patterns(paths: Iterable[str]) -> list[Path]:
    """Paths, or what patterns such as ``multirun/*`` match."""
    found = []
    for path in map(str, paths):
        matched = [] if Path(path).exists() else sorted(glob(path))
        found += [Path(one) for one in matched or [path]]
    return found


def find(paths: Iterable[Path], split: str) -> list[Run]:
    """The finished runs at or below ``paths``, each once; a run's own later evaluations only where they are named."""
    return [read(folder, split) for folder in finished(paths)]


def finished(paths: Iterable[Path]) -> list[Path]:
    """Return the directories of the runs that ``find`` reads."""
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise UserError(f"runs: {path} does not exist")
        below = [path / RESULTS] if (path / RESULTS).exists() else sorted(path.rglob(RESULTS))
        below = [file for file in below if "evaluations" not in file.relative_to(path).parts]
        if not below:
            raise UserError(f"runs: no {RESULTS} in or below {path}: is the run finished?")
        for file in below:
            found.setdefault(file.parent.resolve(), file.parent)
    return list(found.values())


def unfinished(paths: Iterable[Path]) -> list[str]:
    """What to say of each run at or below ``paths`` that came to no results: failed, stopped or still at work."""
    found: dict[Path, str] = {}
    for path in paths:
        for file in sorted([*path.rglob("config.yaml"), *path.rglob(FAILED)]):
            folder = file.parent
            if folder.name in (".hydra", "checkpoints") or (folder / RESULTS).exists():
                continue
            if (reason := folder / FAILED).exists():
                found[folder] = f"{folder} failed: {reason.read_text(encoding='utf-8').strip()}"
            else:
                found[folder] = f"{folder} has no results: it was stopped, or is at work still."
    return list(found.values())


MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)


@contextmanager
def name_damaged_files(paths: Iterable[Path]) -> Iterator[None]:
    """Lays errors that come of damaged files at those files, in one line."""
    try:
        yield
    except UserError:  # it is told already
        raise
    except MALFORMED as error:
        if files := [file for path in paths for file in changed(path)]:
            raise UserError(
                f"{files[0]} was changed after it was written and can't be read "
                f"({type(error).__name__}: {' '.join(str(error).split())}); evaluate.py makes results anew"
            ) from error
        raise


def read(path: Path, split: str) -> Run:
    """A run's directory, or that of an evaluation; ``auto`` is its test split, or valid where it has no test."""
    with name_damaged_files([path]):
        run = _read(path, split)
    for file in [*changed(path), *(changed(run.trained) if run.trained not in (None, path) else ())]:
        log.warning("%s was changed after it was written: what is compared is not what was measured", file)
    return run


def _read(path: Path, split: str) -> Run:
    results = _results(path)
    split = chosen_split(path, split, [name for name in results if name != "run"])
    about = dict(results.get("run") or {})
    later = "training" not in about
    trained = _run_of(path, about) if later else path
    config, mine, told = config_of(trained), config_of(path), about if trained == path else _told(trained)
    otherwise = eval_diff(mine, config, about, told) if later else {}
    origin = origin_of(trained, config)
    data, control = mine.get("data"), otherwise.get(CONTROL)
    data = data if isinstance(data, Mapping) else {}
    return Run(
        path,
        split,
        str(data.get("name") or split) if split in SPLITS else split,
        about.get("seed"),
        portable(choices(trained) | otherwise),
        key(origin, otherwise),
        results[split],
        {name: value for name, value in {**told, **about}.items() if name != "training" or not control},
        trained,
        "images" in data,
        control,
        origin,
        otherwise,
    )


def chosen_split(path: Path, split: str, names: Sequence[str]) -> str:
    """Return ``split`` if it is among ``names``, those of ``path``; of ``auto`` the one that it stands for."""
    if split == "auto":
        split = next((name for name in ("test", "valid", "validation") if name in names), "test")
    if split not in names:
        raise UserError(f"{path} has no results of split {split!r}; it has: {', '.join(names) or 'none'} (split=...)")
    return split


def splits_of(path: Path) -> list[str]:
    """Return the splits that a run or an evaluation has figures of."""
    return [name for name, figures in _results(path).items() if name != "run" and figures]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = parse_json(line.decode("utf-8"), f"{path}, line {number}")
            except UnicodeDecodeError as error:
                raise UserError(f"{path}, line {number} can't be read: it is not UTF-8") from error
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number} is damaged: it is no record")
            yield row


def _renamed_sums(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with today's names of figures."""
    if isinstance(sums := record.get("sums"), Mapping):
        record["sums"] = {moved_names.METRICS.get(name, name): row for name, row in sums.items()}
    return record


def _number(text: str | None) -> bool:
    try:
        float(text or "")
    except ValueError:
        return False
    return True


def _run_of(path: Path, about: Mapping[str, Any]) -> Path:
    """The run that an evaluation is of: the one whose ``evaluations`` it stands in, or where its checkpoint is said to
    be, or above it.
    """
    said = Path(str(about.get("checkpoint", ""))).parent.parent
    own = [path.parent.parent] if path.parent.name == "evaluations" else []
    for folder in (*own, said, *path.parents):
        if (folder / "checkpoints").exists() and (folder / "config.yaml").exists():
            return folder
    return path


def _told(path: Path) -> dict[str, Any]:
    """What a run says of itself."""
    return dict(_results(path).get("run") or {}) if (path / RESULTS).exists() else {}


def _results(path: Path) -> dict[str, Any]:
    """The content of results.json: {split: {metric: {"score": ...}}} and "run"."""
    found = read_json(path / RESULTS)
    if not isinstance(found, dict) or not all(isinstance(node, Mapping | None) for node in found.values()):
        raise UserError(f"{path / RESULTS} is damaged: it holds no results")
    for split, metrics in found.items():
        for metric, score in (metrics or {}).items():
            if split != "run" and not (isinstance(score, Mapping) and isinstance(score.get("score"), int | float)):
                raise UserError(f"{path / RESULTS} is damaged: {split}.{metric} has no score")
    return {
        split: metrics if split == "run" else known_figures(path / RESULTS, metrics or {})
        for split, metrics in found.items()
    }


def known_figures(file: Path, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures under today's names; those that no metric of the table is called by are left out."""
    renamed = {moved_names.METRICS.get(name, name): figure for name, figure in metrics.items()}
    for name in renamed:
        if find_metric(name) is None:
            log.warning("%s: %s is left out: seq2seq/metrics/table.py has no entry for it", file, name)
    return {name: figure for name, figure in renamed.items() if find_metric(name) is not None}
