"""``compare.py``: read runs, check that they can be compared, and write tables and a report."""

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
from seq2seq.comparison import baseline_rules, tables
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
"""File that marks the directory of a report, which a new report may overwrite."""
FILES = ("index.html", "table.md", "table.tex", "table.csv", MARK)
LARGEST = 9_900_000
"""Largest report in bytes. A note on examples that are left out still fits below 10 MB."""
MAIN = ("cider", "rougeL", "bleu", "exact_match")
"""Default metrics of a comparison; the first one that all runs have is used."""


@dataclass(frozen=True)
class Comparison:
    """Options of ``compare.py``; ``conf/compare.yaml`` explains them."""

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
    """Compare the runs that the options name.

    Args:
        config: Options of the command, as in ``conf/compare.yaml``.

    Returns:
        Path of ``index.html``; with ``pack``, the folder of the packs.
    """
    interrupts.unwind()
    schema.check_options("", plain(config), Comparison)
    options = Comparison(**plain(config))
    _check(options)
    # Pack the runs, or compare them.
    paths = expand_patterns([options.runs] if isinstance(options.runs, str) else options.runs)
    if options.pack is not None:
        return pack_runs(paths, Path(options.pack), 1000 * options.pack_size)
    folder = _claimed(Path(options.output), options)
    runs = find(paths, options.split) if paths else []
    if not runs and (idle := [name for name in ("split", "quality") if getattr(options, name) not in ("auto", None)]):
        raise UserError(f"{idle[0]}={getattr(options, idle[0])} has no effect without runs; set runs=DIR")
    with name_damaged_files(folder for run in runs for folder in (run.path, run.trained) if folder is not None):
        return _report(options, folder, paths, runs)


def _report(options: Comparison, folder: Path, paths: Sequence[Path], runs: list[Run]) -> Path:
    """Analyse ``runs`` and the outputs of other toolkits, and write the files of the report."""
    # Collect the runs, the outputs of other toolkits and notes on runs that are left out.
    notes = unfinished(paths)
    runs += _others(options, runs)
    if not runs:
        raise UserError("runs: nothing to compare; name runs or sweeps, or outputs.NAME=FILE of other toolkits")
    notes += repeated(runs)
    names, by_dataset = named(runs), datasets(runs)
    # Check the name of the baseline.
    rules = [baseline_rules.NAME] if baseline_rules.has_rules(runs, options.metric) else []
    known = sorted({*names.values(), *rules})
    if options.baseline is not None and options.baseline not in known:
        raise UserError(
            f"baseline={options.baseline}{schema.suggest(options.baseline, known)}; there are {', '.join(known)}"
        )
    # Analyse each dataset.
    analyses, systems_of = [], []
    for dataset, of_dataset in by_dataset.items():
        metric = options.metric or _main(of_dataset)
        check(of_dataset, metric)
        systems = group_systems(of_dataset, names)
        choices = AnalysisOptions(
            metric, options.samples, options.level, options.correction, options.baseline, options.quality
        )
        log.info("%s: %s of %s", dataset, plural(len(of_dataset), "run"), plural(len(systems), "configuration"))
        analyses.append(analyse(dataset, baseline_rules.with_rules(systems, metric), choices))
        systems_of.append(systems)
    # Rank the configurations over all datasets.
    ranked = _ranked(analyses)
    if ranked is None and len(analyses) >= MIN_DATASETS:
        notes.append("No ranking over datasets: fewer than two configurations were run on all of them.")
    count = plural(sum(len(a.entries) for a in analyses), "configuration")
    title = options.title or f"{', '.join(by_dataset)}: {count}"
    rest = (ranked, notes, shlex.join(sys.argv))
    # Choose as many examples as fit into the page.
    room = LARGEST - len(page(title, analyses, [ExampleStore()] * len(analyses), *rest).encode())
    examples = [
        gather(systems, options.examples, analysis.names, max(0, room) // len(analyses))
        for analysis, systems in zip(analyses, systems_of, strict=True)
    ]
    # Write the files, and print the tables.
    texts = (
        page(title, analyses, examples, *rest),
        tables.markdown(analyses),
        tables.latex(analyses),
        tables.comma_separated(analyses),
        json.dumps(_summary(analyses, ranked), indent=1, ensure_ascii=False),
    )
    for name, text in zip(FILES, texts, strict=True):
        write_text(folder / name, text)
    # Print the conclusions, the notes and the path of the report.
    for analysis in analyses:
        print(f"{analysis.dataset}, {analysis.split}\n{tables.terminal_table(analysis)}\n")
        print(f"{tables.conclusion(analysis)}\n")
    for note in notes:
        print(note)
    print(f"report  {folder / 'index.html'}")
    return folder / "index.html"


def _check(options: Comparison) -> None:
    """Refuse options with impossible values, and options without effect."""
    defaults = read_yaml(CONF / "compare.yaml")
    usual = {name: defaults[name] for name in vars(options)}
    # Refuse options that have no effect with or without pack.
    if options.pack is None and options.pack_size != usual["pack_size"]:
        raise UserError(f"pack_size={options.pack_size} has no effect without pack=DIR")
    changed = [name for name in usual if not name.startswith("pack") and name != "runs"]
    if options.pack is not None and (idle := [name for name in changed if getattr(options, name) != usual[name]]):
        raise UserError(f"{idle[0]} has no effect with pack={options.pack}: runs are packed whole and not compared")
    # Check each value.
    if options.metric is not None and not isinstance(options.metric, str):
        raise UserError(f"metric={options.metric} must be one metric")
    if options.correction not in CORRECTIONS:
        raise UserError(f"correction={options.correction} must be one of {', '.join(CORRECTIONS)}")
    if not 0 < options.level < 1:
        raise UserError(f"level={options.level} must lie between 0 and 1")
    if options.samples < 100:
        raise UserError(f"samples={options.samples} is too few for a test; set at least 100 resamples")
    if options.examples < 0:
        raise UserError(f"examples={options.examples} must be 0 or a number of examples")
    # Check the outputs of other toolkits.
    if not options.outputs and (idle := [n for n in ("references", "sources") if getattr(options, n) is not None]):
        raise UserError(f"{idle[0]} has no effect without outputs.NAME=FILE: runs have their own {idle[0]}")
    if unknown := set(options.attention) - set(options.outputs):
        raise UserError(f"attention.{min(unknown)} belongs to outputs.{min(unknown)}=FILE, which is missing")
    for option, files in (("outputs", options.outputs), ("attention", options.attention)):
        for name, path in files.items():
            if not Path(path).is_file():
                raise UserError(f"{option}.{name}: {path} does not exist, or is not a file")


def _claimed(folder: Path, options: Comparison) -> Path:
    """Return ``folder`` if a report can be written there: it is new, empty or a report, and holds no input."""
    # Refuse to write over an input file.
    read = [(f"outputs.{name}", file) for name, file in options.outputs.items()]
    read += [(f"attention.{name}", file) for name, file in options.attention.items()]
    references = [options.references] if isinstance(options.references, str) else options.references or []
    read += [("references", file) for file in references]
    if options.sources is not None:
        read.append(("sources", options.sources))
    for name in FILES:
        check_outputs({"output": folder / name}, read)
    # Refuse a directory that can't be written, or that belongs to something else.
    if (file := next((path for path in (folder, *folder.parents) if path.is_file()), None)) is not None:
        raise UserError(f"output={folder}: {file} is a file; choose a directory")
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(above, os.W_OK):
        raise UserError(f"output={folder} can't be written: no permission for {above}")
    # A report of an earlier comparison may be overwritten.
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise UserError(f"output={folder} holds other files, which are not overwritten; choose another directory")
    return folder


def _others(options: Comparison, runs: Sequence[Run]) -> list[Run]:
    """Return the outputs of other toolkits as runs, scored on the references of ``runs`` or of ``references``."""
    if not options.outputs:
        return []
    model = next((run for run in runs if run.has_text), None)
    # Read the references, from files or from the first run that has texts.
    if model is None and runs and options.references is None:
        raise UserError("references=FILE is needed to score outputs.NAME=FILE: all runs are packs, which hold no texts")
    if options.references is not None:
        files = [options.references] if isinstance(options.references, str) else list(options.references)
        columns = [list(read_lines(file)) for file in files]
        if len({len(column) for column in columns}) > 1:
            counts = ", ".join(f"{f} has {len(c)} lines" for f, c in zip(files, columns, strict=True))
            raise UserError(f"references: {counts}; all files need the same number of lines")
        expected = [present(texts) for texts in zip(*columns, strict=True)]
        if empty_lines := [number for number, texts in enumerate(expected, 1) if not texts[0].strip()]:
            log.warning(
                "references: line %d is empty (%d empty lines in all); an empty output is right there",
                *(empty_lines[0], len(empty_lines)),
            )
    elif model is not None:
        expected = [references(record) for record in model.records]
    else:
        raise UserError("references=FILE is needed to score outputs.NAME=FILE without runs")
    # Read the sources likewise.
    if options.sources is not None:
        sources = list(read_lines(options.sources))
    else:
        sources = [str(record["source"]) for record in model.records] if model else [""] * len(expected)
    # Attention of other toolkits needs the words of the sources.
    if options.attention and not any(sources):
        raise UserError(f"sources=FILE is needed to place the columns of attention.{min(options.attention)}")
    if len(sources) != len(expected):
        raise UserError(f"sources: {len(sources)} lines, but there are references for {len(expected)}")
    # Score the outputs of each toolkit.
    metrics = [options.metric or "bleu"] if model is None else [m for m in model.results if m in SCORERS]
    found = []
    for name, path in options.outputs.items():
        weights = options.attention.get(name)
        hypotheses = list(read_lines(path))
        if empty := sum(not line.strip() for line in hypotheses):
            log.warning("outputs.%s: %d of %d lines are empty", name, empty, len(hypotheses))
        found.append(
            external_run(name, hypotheses, sources, expected, metrics, model, Path(weights) if weights else None)
        )
    return found


def _main(runs: Sequence[Run]) -> str:
    """Return the metric of a comparison for which no metric is chosen."""
    for metric in MAIN:
        if all(metric in run.results for run in runs):
            return metric
    # Otherwise take the first metric that all runs have.
    some = [m for m in runs[0].results if all(m in run.results for run in runs)]
    if not some:
        raise UserError(f"{runs[0].path} and other runs have no metric in common")
    return some[0]


def _ranked(analyses: Sequence[Analysis]) -> Ranking | None:
    """Return the ranking of the configurations that were run on all datasets, or None for too few of them."""
    if len(analyses) < MIN_DATASETS:
        return None
    # A ranking needs two common configurations, and metrics with the same direction.
    common = [name for name in analyses[0].names if all(name in a.names for a in analyses)]
    lower = get_metric(analyses[0].metric).lower_is_better
    if len(common) < 2 or any(get_metric(a.metric).lower_is_better != lower for a in analyses):
        return None
    scores = np.array([[a.estimates[a.metric][name].score for name in common] for a in analyses])
    return ranking(common, scores, lower=lower)


def _summary(analyses: Sequence[Analysis], ranked: Ranking | None) -> dict[str, Any]:
    """Return all figures of the report for comparison.json."""
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
