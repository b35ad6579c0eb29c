"""``compare.py``: reads runs, refuses what can't be compared, and writes tables and the report."""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from omegaconf import DictConfig

from seq2seq.cli.pack import pack_runs
from seq2seq.comparison import tables
from seq2seq.comparison.analysis import Analysis, AnalysisOptions, analyse
from seq2seq.comparison.explorer import ExampleStore, gather
from seq2seq.comparison.external import external_run
from seq2seq.comparison.packs import find
from seq2seq.comparison.page import page
from seq2seq.comparison.ranks import MIN_DATASETS, Ranking, ranking
from seq2seq.comparison.runs import Run, expand_patterns, name_damaged_files, references, unfinished
from seq2seq.comparison.statistics import CORRECTIONS, Correction
from seq2seq.comparison.systems import check, datasets, group_systems, named, repeated
from seq2seq.comparison.tables import plural
from seq2seq.config import validate as schema
from seq2seq.config.instantiate import CONF, plain
from seq2seq.config.ranges import Range
from seq2seq.errors import UserError
from seq2seq.files.text import read_lines
from seq2seq.files.writing import write_text
from seq2seq.generation.writer import check_outputs
from seq2seq.metrics.table import get_metric
from seq2seq.metrics.text import SCORERS
from seq2seq.metrics.translation import present
from seq2seq.runtime import interrupts
from seq2seq.stored.plain import read_yaml

log = logging.getLogger(__name__)
MARK = "comparison.json"
"""What says that a directory is a report's, which a new one may take the place of."""
FILES = ("index.html", "table.md", "table.tex", "table.csv", MARK)
LARGEST = 9_900_000
"""Bytes of a report: under 10 MB, with what is said of examples that are left out."""
MAIN = ("cider", "rougeL", "bleu", "exact_match")
"""The metric that counts where none is chosen: the first that there is."""


@dataclass(frozen=True)
class Comparison:
    """The options of ``compare.py``; ``conf/compare.yaml`` says what they mean."""

    runs: str | Sequence[str]
    split: str
    metric: str | None
    baseline: str | None
    correction: Correction
    level: float
    samples: int
    quality: float | None
    examples: int
    output: str
    title: str | None
    outputs: Mapping[str, str]
    attention: Mapping[str, str]
    references: str | Sequence[str] | None
    sources: str | None
    pack: str | None
    pack_size: Annotated[int, Range(1, 10_000)]


def compare(config: DictConfig) -> Path:
    """Write the report, or with ``pack`` the packs; its path, or that of their folder."""
    interrupts.unwind()
    schema.check_options("", plain(config), Comparison)
    asked = Comparison(**plain(config))
    _check(asked)
    paths = expand_patterns([asked.runs] if isinstance(asked.runs, str) else asked.runs)
    if asked.pack is not None:
        return pack_runs(paths, Path(asked.pack), 1000 * asked.pack_size)
    folder = _claimed(Path(asked.output), asked)
    runs = find(paths, asked.split) if paths else []
    if not runs and (beside := [name for name in ("split", "quality") if getattr(asked, name) not in ("auto", None)]):
        raise UserError(f"{beside[0]}={getattr(asked, beside[0])} has no effect: it is of runs, and there are none")
    with name_damaged_files(folder for run in runs for folder in (run.path, run.trained) if folder is not None):
        return _report(asked, folder, paths, runs)


def _report(asked: Comparison, folder: Path, paths: Sequence[Path], runs: list[Run]) -> Path:
    """Analyse ``runs``, with the outputs of other toolkits, and write the files of the report."""
    notes = unfinished(paths)
    runs += _others(asked, runs)
    if not runs:
        raise UserError("runs: name runs or sweeps to compare, or outputs.NAME=FILE of other toolkits")
    notes += repeated(runs)
    names, several = named(runs), datasets(runs)
    if asked.baseline is not None and asked.baseline not in (known := sorted(set(names.values()))):
        raise UserError(
            f"baseline={asked.baseline}{schema.suggest(asked.baseline, known)}; there are {', '.join(known)}"
        )
    analyses, compared_in = [], []
    for dataset, mine in several.items():
        metric = asked.metric or _main(mine)
        check(mine, metric)
        compared = group_systems(mine, names)
        choices = AnalysisOptions(metric, asked.samples, asked.level, asked.correction, asked.baseline, asked.quality)
        log.info("%s: %s of %s", dataset, plural(len(mine), "run"), plural(len(compared), "configuration"))
        analyses.append(analyse(dataset, compared, choices))
        compared_in.append(compared)
    ranked = _ranked(analyses)
    if ranked is None and len(analyses) >= MIN_DATASETS:
        notes.append("No ranking over datasets: fewer than two configurations were run on all of them.")
    title = asked.title or f"{', '.join(several)}: {plural(sum(len(a.entries) for a in analyses), 'configuration')}"
    command = shlex.join(sys.argv)
    told = (ranked, notes, command)
    room = LARGEST - len(page(title, analyses, [ExampleStore()] * len(analyses), *told).encode())
    examples = [
        gather(compared, asked.examples, analysis.names, max(0, room) // len(analyses))
        for analysis, compared in zip(analyses, compared_in, strict=True)
    ]
    texts = (
        page(title, analyses, examples, *told),
        tables.markdown(analyses),
        tables.latex(analyses),
        tables.comma_separated(analyses),
        json.dumps(_summary(analyses, ranked), indent=1, ensure_ascii=False),
    )
    for name, text in zip(FILES, texts, strict=True):
        write_text(folder / name, text)
    for analysis in analyses:
        print(f"{analysis.dataset}, {analysis.split}\n{tables.terminal_table(analysis)}\n")
        print(f"{tables.conclusion(analysis)}\n")
    for note in notes:
        print(note)
    print(f"report  {folder / 'index.html'}")
    return folder / "index.html"


def _check(asked: Comparison) -> None:
    defaults = read_yaml(CONF / "compare.yaml")
    usual = {name: defaults[name] for name in vars(asked)}
    if asked.pack is None and asked.pack_size != usual["pack_size"]:
        raise UserError(f"pack_size={asked.pack_size} has no effect without pack=DIR")
    changed = [name for name in usual if not name.startswith("pack") and name != "runs"]
    if asked.pack is not None and (idle := [name for name in changed if getattr(asked, name) != usual[name]]):
        raise UserError(f"{idle[0]} has no effect beside pack={asked.pack}: runs are packed whole, and not compared")
    if asked.metric is not None and not isinstance(asked.metric, str):
        raise UserError(f"metric={asked.metric} must be one metric")
    if asked.correction not in CORRECTIONS:
        raise UserError(f"correction={asked.correction} must be one of {', '.join(CORRECTIONS)}")
    if not 0 < asked.level < 1:
        raise UserError(f"level={asked.level} must lie between 0 and 1")
    if asked.samples < 100:
        raise UserError(f"samples={asked.samples}: fewer than 100 resamples tell nothing")
    if not asked.outputs and (beside := [n for n in ("references", "sources") if getattr(asked, n) is not None]):
        raise UserError(f"{beside[0]} is for outputs.NAME=FILE, of which there is none; runs have their own")
    if asked.examples < 0:
        raise UserError(f"examples={asked.examples} must be 0 or a number of examples")
    if unknown := set(asked.attention) - set(asked.outputs):
        raise UserError(f"attention.{min(unknown)} belongs to outputs.{min(unknown)}=FILE, which is missing")
    for option, files in (("outputs", asked.outputs), ("attention", asked.attention)):
        for name, path in files.items():
            if not Path(path).is_file():
                raise UserError(f"{option}.{name}: {path} does not exist, or is no file")


def _claimed(folder: Path, asked: Comparison) -> Path:
    """A new directory, or one that held a report before; no file of a report is among what is read."""
    read = [(f"outputs.{name}", file) for name, file in asked.outputs.items()]
    read += [(f"attention.{name}", file) for name, file in asked.attention.items()]
    references = [asked.references] if isinstance(asked.references, str) else asked.references or []
    read += [("references", file) for file in references]
    if asked.sources is not None:
        read.append(("sources", asked.sources))
    for name in FILES:
        check_outputs({"output": folder / name}, read)
    if (file := next((path for path in (folder, *folder.parents) if path.is_file()), None)) is not None:
        raise UserError(f"output={folder}: {file} is a file; a report is a directory")
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(above, os.W_OK):
        raise UserError(f"output={folder} can't be written: no permission for {above}")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise UserError(f"output={folder} holds something else, which is not written over; choose another")
    return folder


def _others(asked: Comparison, runs: Sequence[Run]) -> list[Run]:
    """Outputs of other toolkits."""
    if not asked.outputs:
        return []
    like = next((run for run in runs if run.has_text), None)
    if like is None and runs and asked.references is None:
        raise UserError("references=FILE is needed to score outputs.NAME=FILE: all runs are packs, which hold no texts")
    if asked.references is not None:
        files = [asked.references] if isinstance(asked.references, str) else list(asked.references)
        columns = [list(read_lines(file)) for file in files]
        if len({len(column) for column in columns}) > 1:
            raise UserError(
                f"references: {', '.join(f'{f} has {len(c)}' for f, c in zip(files, columns, strict=True))} lines"
            )
        told = [present(several) for several in zip(*columns, strict=True)]
        if nothing := [number for number, several in enumerate(told, 1) if not several[0].strip()]:
            log.warning("references: line %d is empty (%d in all): the right output is empty", nothing[0], len(nothing))
    elif like is not None:
        told = [references(record) for record in like.records]
    else:
        raise UserError("references=FILE is needed to score outputs.NAME=FILE without runs")
    if asked.sources is not None:
        sources = list(read_lines(asked.sources))
    else:
        sources = [str(record["source"]) for record in like.records] if like else [""] * len(told)
    if asked.attention and not any(sources):
        raise UserError(f"sources=FILE is needed to place the columns of attention.{min(asked.attention)}")
    if len(sources) != len(told):
        raise UserError(f"sources: {len(sources)} lines, but there are references for {len(told)}")
    metrics = [asked.metric or "bleu"] if like is None else [m for m in like.results if m in SCORERS]
    found = []
    for name, path in asked.outputs.items():
        attention = asked.attention.get(name)
        hypotheses = list(read_lines(path))
        if empty := sum(not line.strip() for line in hypotheses):
            log.warning("outputs.%s: %d of %d lines are empty", name, empty, len(hypotheses))
        given = external_run(name, hypotheses, sources, told, metrics, like, Path(attention) if attention else None)
        found.append(given)
    return found


def _main(runs: Sequence[Run]) -> str:
    for metric in MAIN:
        if all(metric in run.results for run in runs):
            return metric
    some = [m for m in runs[0].results if all(m in run.results for run in runs)]
    if not some:
        raise UserError(f"{runs[0].path} and others have no metric in common")
    return some[0]


def _ranked(analyses: Sequence[Analysis]) -> Ranking | None:
    """Of what was run on all datasets, where there are enough of them."""
    if len(analyses) < MIN_DATASETS:
        return None
    common = [name for name in analyses[0].names if all(name in a.names for a in analyses)]
    lower = get_metric(analyses[0].metric).lower_is_better
    if len(common) < 2 or any(get_metric(a.metric).lower_is_better != lower for a in analyses):
        return None
    scores = np.array([[a.estimates[a.metric][name].score for name in common] for a in analyses])
    return ranking(common, scores, lower=lower)


def _summary(analyses: Sequence[Analysis], ranked: Ranking | None) -> dict[str, Any]:
    """All figures, for programs."""
    return {
        "datasets": {
            a.dataset: {
                "split": a.split,
                "records": a.records,
                "metric": a.metric,
                "signatures": dict(a.signatures),
                "runs": {entry.name: [str(run.path) for run in entry.runs] for entry in a.entries},
                "estimates": {m: {n: vars(e) for n, e in found.items()} for m, found in a.estimates.items()},
                "plain": {m: {n: {"score": x, "sd": sd} for n, (x, sd) in of.items()} for m, of in a.plain.items()},
                "differences": {m: [vars(d) for d in found] for m, found in a.differences.items()},
                "costs": {name: dict(costs) for name, costs in a.costs.items()},
                "said": tables.conclusion(a),
            }
            for a in analyses
        },
        **({"ranks": vars(ranked)} if ranked else {}),
    }
