"""The whole comparison of one dataset, as plain figures: what tables, charts and the report are made of.

Letters: E entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.comparison import slices
from seq2seq.comparison.agreement import agreement
from seq2seq.comparison.runs import Run
from seq2seq.comparison.slices import Group, Sliced
from seq2seq.comparison.statistics import (
    Correction,
    Difference,
    Estimate,
    Randomiser,
    Resampler,
    RunGroup,
    compare,
    estimate,
    randomised_p,
)
from seq2seq.comparison.systems import System, meaning
from seq2seq.metrics.faithfulness import ONSET
from seq2seq.metrics.table import find_metric, get_metric

TESTED = ("aer", "sentence_recall", "pointing")
"""Metrics of attention that are tested beside the main one."""
COSTS = {
    "parameters": "parameters",
    "flops_per_token": "FLOPs a token",
    "tokens_per_second": "training tokens/s",
    "update_memory": "memory of an update, MiB",
    "sentences_per_second": "decoded sentences/s",
    "seconds": "training s",
    "seconds_to_quality": "s to quality",
}


@dataclass(frozen=True)
class AnalysisOptions:
    """What was asked for."""

    metric: str
    samples: int = 1000
    level: float = 0.95
    correction: Correction = "holm"
    baseline: str | None = None
    quality: float | None = None
    seed: int = 12345


@dataclass(frozen=True)
class MeanOnset:
    """When attention began in the runs of one entry that measured it (``training/callbacks/onset.py``)."""

    updates: float | None  # mean over the runs in which it began
    never: int  # runs in which it did not
    runs: int


@dataclass(frozen=True)
class Analysis:
    """Of one dataset. What an entry does not have is missing from the mapping, not from others' figures."""

    dataset: str
    split: str
    records: int
    entries: Sequence[System]
    options: AnalysisOptions
    signatures: Mapping[str, str]
    estimates: Mapping[str, Mapping[str, Estimate]]  # {metric: {entry: ...}}
    plain: Mapping[str, Mapping[str, tuple[float, float | None]]]  # {metric without sums: {entry: mean, sd over runs}}
    differences: Mapping[str, Sequence[Difference]]  # {metric: pairs}
    costs: Mapping[str, Mapping[str, float]]  # {entry: {cost: mean over runs}}
    onsets: Mapping[str, MeanOnset]
    curves: Mapping[str, Sequence[Mapping[str, float]]]  # {entry: rows with a step, means over runs}
    quality: tuple[str, float] | None  # validation metric and value that seconds_to_quality is of
    lengths: Sequence[Group]
    by_length: Mapping[str, Sequence[Sliced]]
    by_place: Mapping[str, Sequence[tuple[Group, Sliced]]]
    by_frequency: Mapping[str, Sequence[tuple[Group, Sliced]]]
    common: NDArray[np.float64] | None  # (E, E) of attention
    notes: Sequence[str] = field(default_factory=list)

    @property
    def metric(self) -> str:
        """The one that counts."""
        return self.options.metric

    @property
    def names(self) -> list[str]:
        """Of the entries, best first on the main metric."""
        lower = get_metric(self.metric).lower_is_better
        scores = self.estimates[self.metric]
        return sorted(scores, key=lambda name: scores[name].score if lower else -scores[name].score)


def analyse(dataset: str, entries: Sequence[System], options: AnalysisOptions) -> Analysis:
    """All figures; what can't be compared was refused before (``entries.check``)."""
    first = entries[0].runs[0]
    metrics = list(dict.fromkeys(m for entry in entries for run in entry.runs for m in run.results))
    resampler = Resampler.of(first.size, options.samples, options.seed)
    signatures: dict[str, str] = {}
    estimates: dict[str, dict[str, Estimate]] = {}
    plain: dict[str, dict[str, tuple[float, float | None]]] = {}
    differences: dict[str, list[Difference]] = {}
    notes = []
    for metric in metrics:
        having = [entry for entry in entries if all(metric in run.results for run in entry.runs)]
        if not having:
            continue
        meanings = dict.fromkeys(meaning(metric, run) for entry in having for run in entry.runs)
        signatures[metric], same = " or ".join(meanings), len(meanings) == 1
        if not same:
            notes.append(f"{metric} has several signatures: its figures stand beside each other and are not tested.")
        rows = {entry.name: [run.rows(metric) for run in entry.runs] for entry in having}
        if any(row is None for several in rows.values() for row in several):
            scores = {e.name: [float(run.results[metric]["score"]) for run in e.runs] for e in having}
            plain[metric] = {n: (fmean(of), stdev(of) if len(of) > 1 else None) for n, of in scores.items()}
            continue
        known = {name: [row for row in several if row is not None] for name, several in rows.items()}
        systems = [RunGroup.of(name, metric, several, resampler) for name, several in known.items()]
        estimates[metric] = {system.name: estimate(system, options.level) for system in systems}
        if same and (metric == options.metric or metric in TESTED):
            differences[metric] = _tested(metric, systems, known, options)
    machines = {_machine(run) for entry in entries for run in entry.runs if run.about.get("hardware")}
    if len(machines) > 1:
        notes.append(f"Speeds were measured on different machines, and don't compare: {'; '.join(sorted(machines))}.")
    counted = slices.by_length(first.source_lengths)
    lengths = [group for group, _ in counted] if len(counted) > 1 else []
    worded = {
        entry.name: slices.by_word(entry.runs, options.level)
        for entry in entries
        if entry.runs[0].word_hits is not None
    }
    quality = _quality(entries, options.quality)
    costs = {entry.name: _costs(entry, quality) for entry in entries}
    if options.quality is not None and not any("seconds_to_quality" in known for known in costs.values()):
        what = (
            "runs were chosen by several metrics" if quality is None else f"none has a validation {quality[0]} so good"
        )
        notes.append(f"quality={options.quality:g} says nothing: {what}.")
    notes += filter(None, map(_partly, entries))
    onsets = {entry.name: onset for entry in entries if (onset := onset_of(entry)) is not None}
    if never := [f"{name} ({onset.never} of {onset.runs})" for name, onset in onsets.items() if onset.never]:
        notes.append(
            f"Attention never began in some runs: {', '.join(never)}. Their mean rows cost less than {ONSET} nats "
            "a token, so they say nothing about where their mechanism looks."
        )
    return Analysis(
        dataset=dataset,
        split=first.split,
        records=first.size,
        entries=entries,
        options=options,
        signatures=signatures,
        estimates=estimates,
        plain=plain,
        differences=differences,
        costs=costs,
        onsets=onsets,
        curves={entry.name: mean_curve([run.curves for run in entry.runs]) for entry in entries},
        quality=quality,
        lengths=lengths,
        by_length={
            e.name: slices.of_length(e.runs, options.metric, counted, options.level) for e in entries if lengths
        },
        by_place={name: places for name, (places, _) in worded.items()},
        by_frequency={name: often for name, (_, often) in worded.items() if often},
        common=agreement(entries),
        notes=notes,
    )


def _tested(
    metric: str,
    systems: Sequence[RunGroup],
    rows: Mapping[str, Sequence[NDArray[np.float64]]],
    options: AnalysisOptions,
) -> list[Difference]:
    """Pairs, those of one run each also by approximate randomisation."""
    found = compare(systems, options.baseline, level=options.level, correction=options.correction, seed=options.seed)
    alone = {name: several[0] for name, several in rows.items() if len(several) == 1}
    if not alone or not found:
        return found
    randomiser = Randomiser.of(len(next(iter(alone.values()))), options.samples, options.seed)
    sums = {name: (one.sum(0), randomiser.kept_sums(one)) for name, one in alone.items()}
    return [
        one
        if one.seeds or not sums.keys() >= {one.a, one.b}
        else Difference(**{**vars(one), "randomised": randomised_p(metric, sums[one.a], sums[one.b])})
        for one in found
    ]


def _partly(entry: System) -> str | None:
    """What to say where attention was kept of some records alone."""
    having = [run.attended for run in entry.runs]
    total = sum(run.size for run in entry.runs)
    if not 0 < sum(having) < total:
        return None
    return (
        f"How attention of {entry.name} behaves is told by {sum(having):,} of {total:,} outputs, of which there is any."
    )


def _machine(run: Run) -> str:
    """Return what a run's speeds depend on."""
    about = run.about["hardware"]
    parts = [about.get("cpu"), f"{about.get('cores')} cores", *dict.fromkeys(about.get("gpu") or [])]
    return ", ".join(str(part) for part in parts if part)


def _costs(entry: System, quality: tuple[str, float] | None) -> dict[str, float]:
    """Means over the runs that know them."""
    found: dict[str, list[float]] = {}
    for run in entry.runs:
        training, decoding = run.about.get("training") or {}, run.about.get("decoding") or {}
        known = {**{name: run.about.get(name) for name in ("parameters", "flops_per_token", "update_memory")}}
        known |= {name: training.get(name) for name in ("tokens_per_second", "seconds")}
        known["sentences_per_second"] = decoding.get("sentences_per_second")
        known["seconds_to_quality"] = None if quality is None else seconds_to(run, *quality)
        for name, value in known.items():
            if value is not None:
                found.setdefault(name, []).append(float(value))
    whole = {name: values for name, values in found.items() if len(values) == len(entry.runs)}
    return {name: fmean(values) for name, values in whole.items()}


def onset_of(entry: System) -> MeanOnset | None:
    """Return the onset of attention, None where no run measured it."""
    training = [run.about.get("training") or {} for run in entry.runs]
    begun = [known.get("onset") for known in training if known.get("nll_increase_averaged") is not None]
    steps = [step for step in begun if step is not None]
    return MeanOnset(fmean(steps) if steps else None, len(begun) - len(steps), len(begun)) if begun else None


def mean_curve(runs: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """The steps at which all runs were validated, and what all have of them."""
    by_step = [
        {row["step"]: row for row in rows if "step" in row and any(key.startswith("validation/") for key in row)}
        for rows in runs
    ]
    found = []
    for step in sorted(set.intersection(*map(set, by_step))):
        rows = [steps[step] for steps in by_step]
        keys = set.intersection(*map(set, rows)) - {"step"}
        found.append({"step": step} | {key: fmean(row[key] for row in rows) for key in keys})
    return found


def _quality(entries: Sequence[System], asked: float | None) -> tuple[str, float] | None:
    """The validation metric that runs were chosen by, and a value of it: what all that were trained here reach, unless
    asked.
    """
    ours = [run for entry in entries for run in entry.runs if run.about.get("training")]
    monitors = {run.about["training"].get("monitor") for run in ours}
    if len(monitors) != 1 or (monitor := monitors.pop()) is None or find_metric(str(monitor)) is None:
        return None
    if asked is not None:
        return str(monitor), asked
    best = [_best(run, str(monitor)) for run in ours]
    known = [value for value in best if value is not None]
    if len(known) < len(best) or not known:
        return None
    return str(monitor), max(known) if get_metric(str(monitor)).lower_is_better else min(known)


def seconds_to(run: Run, monitor: str, value: float) -> float | None:
    """Seconds of training until a validation reached the value; None if none did. Updates take equally long."""
    training: Mapping[str, Any] = run.about.get("training") or {}
    if not training.get("steps"):
        return None
    name, lower = f"validation/{monitor}", get_metric(monitor).lower_is_better
    for row in run.curves:
        if name in row and (row[name] <= value if lower else row[name] >= value):
            return float(row["step"] / training["steps"] * training["seconds"])
    return None


def _best(run: Run, monitor: str) -> float | None:
    values = [row[f"validation/{monitor}"] for row in run.curves if f"validation/{monitor}" in row]
    return (min(values) if get_metric(monitor).lower_is_better else max(values)) if values else None
