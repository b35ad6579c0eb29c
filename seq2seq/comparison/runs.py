"""What finished runs left, read without opening a model: ``Run``; and outputs of other toolkits, as runs too."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from seq2seq import exhibits
from seq2seq.errors import UserError
from seq2seq.exhibits import Exhibit
from seq2seq.metrics import sums
from seq2seq.metrics.text import score
from seq2seq.sweeps import FAILED, RESULTS

SPLITS = ("train", "valid", "validation", "test")
STATISTIC = "attention_"
PRIMARY = ("model", "attention")
"""Groups that name a system wherever they differ; of others, what was typed."""
SYSTEM = "system"
"""The facet of another toolkit's outputs, which is their name."""
BESIDE = {
    *("seed", "logger", "debug", "resume", "data.cache", "data.path", "data.workers", "encoder.cache"),
    *(f"trainer.{name}" for name in ("accelerator", "devices", "enable_progress_bar", "log_every_n_steps")),
    *(f"training.{name}" for name in ("save_steps", "save_minutes", "plots", "plots_every", "metrics")),
    *(f"training.{name}" for name in ("examples", "faithfulness")),
}
"""Keys that change nothing in what is learnt."""


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
    pictures: bool = False  # whether sources are paths of pictures
    control: str | None = None  # under which it was evaluated

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """Source, references, hypothesis, sums ... in the split's order."""
        return list(_lines(self.path / "outputs" / f"{self.split}.jsonl"))

    @cached_property
    def fingerprint(self) -> str:
        """Of sources and references: alike where the test set is. (A control may have changed the sources.)"""
        told = [[None if self.control else self.source(n), references(r)] for n, r in enumerate(self.records)]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def source(self, place: int) -> str:
        """That of a record: a text, or of a picture its file's name, wherever it lies."""
        text = str(self.records[place]["source"])
        return Path(text).name if self.pictures else text

    def rows(self, metric: str) -> NDArray[np.float64] | None:
        """(N, K) of a metric, None where the outputs don't have it."""
        if metric.startswith(STATISTIC):
            values = [(record.get("attention") or {}).get(metric.removeprefix(STATISTIC)) for record in self.records]
            some: Sequence[list[Any] | None] = [None if value is None else [value, 1.0] for value in values]
        else:
            some = [record.get("sums", {}).get(metric) for record in self.records]
        known = [row for row in some if row is not None]
        if (
            not known and metric in self.results and "hypothesis" in self.records[0]
        ):  # of a version that did not keep them
            texts = [record.get("hypothesis") or "" for record in self.records]
            known = some = sums.rows([metric], texts, [references(r) for r in self.records]).get(metric, [])
        if not known:
            return None
        nothing = [0.0] * len(known[0])
        return np.array([nothing if row is None else row for row in some], np.float64)

    @cached_property
    def exhibits(self) -> list[Exhibit]:
        """Outputs with their attention; [] where none was kept."""
        path = self.path / "attention" / f"{self.split}.npz"
        found = exhibits.load(path) if path.exists() else []
        if found and max(one.place for one in found) >= len(self.records):
            raise UserError(f"{path} is of more records than {self.path}/outputs/{self.split}.jsonl has")
        return found

    @cached_property
    def curves(self) -> list[dict[str, float]]:
        """The rows of metrics.csv, as far as they are numbers; [] without."""
        path = (self.trained or self.path) / "metrics.csv"
        if not path.exists():
            return []
        with path.open(encoding="utf-8", newline="") as file:
            return [{name: float(x) for name, x in row.items() if name and _number(x)} for row in csv.DictReader(file)]

    @cached_property
    def frequencies(self) -> dict[str, int]:
        """How often words stand in the training targets; {} if nobody counted."""
        path = (self.trained or self.path) / "frequencies.json"
        return _json(path) if path.exists() else {}


def references(record: Mapping[str, Any]) -> list[str]:
    """Those of a record, one of which may be its target alone."""
    return list(record.get("references") or [record["target"]])


def find(paths: Iterable[str | Path], split: str) -> list[Run]:
    """The finished runs at or below ``paths``, each once; a run's own later evaluations only where they are named."""
    found: dict[Path, Run] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise UserError(f"runs: {path} does not exist")
        below = [path / RESULTS] if (path / RESULTS).exists() else sorted(path.rglob(RESULTS))
        below = [file for file in below if "evaluations" not in file.relative_to(path).parts]
        if not below:
            raise UserError(f"runs: no {RESULTS} in or below {path}: is the run finished?")
        for file in below:
            found.setdefault(file.parent.resolve(), read(file.parent, split))
    return list(found.values())


def unfinished(paths: Iterable[str | Path]) -> list[str]:
    """What to say of each run at or below ``paths`` that came to no results: failed, stopped or still at work."""
    found: dict[Path, str] = {}
    for path in map(Path, paths):
        for file in sorted([*path.rglob("config.yaml"), *path.rglob(FAILED)]):
            folder = file.parent
            if folder.name == ".hydra" or (folder / RESULTS).exists():
                continue
            if (reason := folder / FAILED).exists():
                found[folder] = f"{folder} failed: {reason.read_text(encoding='utf-8').strip()}"
            else:
                found[folder] = f"{folder} has no results: it was stopped, or is at work still."
    return list(found.values())


def read(path: Path, split: str) -> Run:
    """A run's directory, or that of an evaluation."""
    results = _json(path / RESULTS)
    if split not in results:
        there = ", ".join(name for name in results if name != "run") or "none"
        raise UserError(f"{path} has no results of split {split!r}; it has: {there} (split=...)")
    about = dict(results.get("run", {}))
    evaluated = "training" not in about
    trained = _run_of(path, about) if evaluated else path
    if not (path / "outputs" / f"{split}.jsonl").exists():
        raise UserError(f"{path}/outputs/{split}.jsonl is missing: evaluate.py checkpoint={path} makes it anew")
    config, mine, told = _config(trained), _config(path), about if trained == path else _told(trained)
    chosen = told.get("chosen") or {}
    facets = {name: str(value) for name, value in _choices(trained, chosen).items() if name in PRIMARY and value}
    otherwise = _evaluated(mine, config) if evaluated else {}
    data = mine.get("data") or {}
    return Run(
        path,
        split,
        str(data.get("name") or split) if split in SPLITS else split,
        about.get("seed"),
        facets | _typed(trained, chosen) | otherwise,
        hashlib.sha256(json.dumps([_recipe(config), otherwise], sort_keys=True, default=str).encode()).hexdigest(),
        results[split],
        {**told, **about},
        trained,
        "images" in data,
        otherwise.get("control"),
    )


def outside(
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
    rows = sums.rows(metrics, hypotheses, references)
    records: list[dict[str, Any]] = [
        {"source": source, "references": list(several), "hypothesis": text, "sums": {m: rows[m][n] for m in rows}}
        for n, (source, several, text) in enumerate(zip(sources, references, hypotheses, strict=True))
    ]
    results = {m: vars(found) for m, found in score(metrics, hypotheses, references).items()}
    split, dataset = ("test", "outputs") if like is None else (like.split, like.dataset)
    run = Run(Path(name), split, dataset, None, {SYSTEM: name}, name, results, pictures=bool(like and like.pictures))
    run.__dict__["records"] = records
    run.__dict__["exhibits"] = [] if attention is None else _plain(attention, records)
    return run


def _plain(path: Path, records: Sequence[Mapping[str, Any]]) -> list[Exhibit]:
    """Attention of another toolkit, between words."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {int(name.removeprefix("arr_")): stored[name].astype(np.float32) for name in stored.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UserError(f"{path} can't be read ({error}); its arrays are numbers, named 0, 1, ... by line") from error
    found = []
    for place, given in sorted(arrays.items()):
        if not 0 <= place < len(records):
            raise UserError(f"{path} has attention of line {place}, but there are {len(records)} from 0")
        weights = given[None] if given.ndim == 2 else given
        target, source = (str(records[place][side]).split() for side in ("hypothesis", "source"))
        fits = weights.ndim == 3
        fits = fits and weights.shape[1] - len(target) in (0, 1) and weights.shape[2] - len(source) in (0, 1)
        if not fits:
            raise UserError(
                f"{path}: array {place} is {' x '.join(map(str, given.shape))}, but the output has {len(target)} words "
                f"and the source {len(source)}; rows are output words, columns source words, each perhaps with </s>"
            )
        (rows, row_words), (columns, column_words) = (
            _pieces(words, size) for words, size in ((target, weights.shape[1]), (source, weights.shape[2]))
        )
        heads = {"cross.0": weights} if len(weights) > 1 else {}
        found.append(Exhibit(place, columns, rows, column_words, row_words, weights.mean(0), heads))
    return found


def _pieces(words: Sequence[str], size: int) -> tuple[list[str], list[int]]:
    """Words as pieces, with ``</s>`` if there is one more, and the word of each."""
    more = size - len(words)
    return [*(f"\u2581{word}" for word in words), *["</s>"] * more], [*range(len(words)), *[-1] * more]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number}: no JSON: {error}") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read: {error}") from error


def _number(text: str | None) -> bool:
    try:
        float(text or "")
    except ValueError:
        return False
    return True


def _run_of(path: Path, about: Mapping[str, Any]) -> Path:
    """The run that an evaluation is of: above it, or where its checkpoint is said to be."""
    for folder in path.parents:
        if (folder / "checkpoints").exists():
            return folder
    checkpoint = Path(about.get("checkpoint", ""))
    return checkpoint.parent.parent if checkpoint.parent.parent.exists() else path


def _told(path: Path) -> dict[str, Any]:
    """What a run says of itself."""
    file = path / RESULTS
    return dict(_json(file).get("run", {})) if file.exists() else {}


def _config(path: Path) -> dict[str, Any]:
    file = path / "config.yaml"
    try:
        return dict(OmegaConf.to_container(OmegaConf.load(file)) or {}) if file.exists() else {}  # type: ignore[arg-type]
    except (OmegaConfBaseException, YAMLError, OSError) as error:
        raise UserError(f"{file} can't be read: {str(error).splitlines()[0]}") from error


def _choices(path: Path, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """{group: file}, as the run tells, or Hydra in its directory."""
    file = path / ".hydra" / "hydra.yaml"
    stored = OmegaConf.load(file).hydra.runtime.choices if not chosen and file.exists() else {}
    return dict(chosen.get("choices") or stored)


def _typed(path: Path, chosen: Mapping[str, Any]) -> dict[str, str]:
    """What was overridden, as far as it is part of the recipe."""
    file = path / ".hydra" / "overrides.yaml"
    stored: Any = OmegaConf.load(file) if not chosen and file.exists() else []
    lines = [str(line).lstrip("+").partition("=") for line in chosen.get("overrides") or stored]
    return {key: value for key, _, value in lines if key not in BESIDE.union(PRIMARY, {"data"})}


def _evaluated(config: Mapping[str, Any], trained: Mapping[str, Any]) -> dict[str, str]:
    """What an evaluation did otherwise than the run."""
    control, usual = (config.get("evaluation") or {}).get("control"), trained.get("decoding") or {}
    decoding = config.get("decoding") or {}
    found = {f"decoding.{key}": str(value) for key, value in decoding.items() if value != usual.get(key)}
    return found | ({"control": str(control)} if control else {})


def _recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what changes nothing in what is learnt. Of the data, what is trained on stays."""
    kept: dict[str, Any] = {}
    for key, value in config.items():
        if key in BESIDE or key in ("task", "experiment"):
            continue
        below = {name.partition(".")[2] for name in BESIDE if name.startswith(f"{key}.")}
        if isinstance(value, Mapping) and below:
            value = {name: one for name, one in value.items() if name not in below}
        kept[str(key)] = value
    return kept
