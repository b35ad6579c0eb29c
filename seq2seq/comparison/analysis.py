"""Analysis of one dataset: all figures that the tables, the charts and the report show.

An entry is a system: the runs of one configuration. Letters: E entries.
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
    Groups,
    Randomiser,
    Resampler,
    RunGroup,
    compare,
    estimate,
    randomised_p,
)
from seq2seq.comparison.systems import System, meaning
from seq2seq.metrics.edits import RULES
from seq2seq.metrics.faithfulness import ONSET
from seq2seq.metrics.table import find_metric, get_metric

TESTED = ("aer", "sentence_recall", "pointing")
"""Metrics of attention that are tested for significance, besides the main metric."""
COSTS = {
    "parameters": "parameters",
    "flops_per_token": "FLOPs per token",
    "tokens_per_second": "training tokens/s",
    "update_memory": "memory of an update (MiB)",
    "sentences_per_second": "decoded sentences/s",
    "seconds": "training time (s)",
    "seconds_to_quality": "time to quality (s)",
}
"""Columns of costs: {name: heading}."""
FEW_GROUPS = 20
"""Number of groups below which the cluster bootstrap understates the variance."""


@dataclass(frozen=True)
class AnalysisOptions:
    """Options of a comparison."""

    metric: str  # the main metric
    samples: int = 1000  # resamples
    level: float = 0.95  # of the confidence intervals
    correction: Correction = "holm"  # of p for the number of pairs
    baseline: str | None = None  # the entry that the others are tested against; None tests all pairs
    quality: float | None = None  # value of the validation metric for ``seconds_to_quality``; None chooses one
    seed: int = 12345  # of the resamples


@dataclass(frozen=True)
class MeanOnset:
    """Mean onset of attention over the runs of one entry (``training/callbacks/onset.py``)."""

    updates: float | None  # mean over the runs in which attention began
    never: int  # number of runs in which attention did not begin
    runs: int  # number of runs that measured the onset


@dataclass(frozen=True)
class Analysis:
    """All figures of one dataset. An entry without a figure is missing from the mapping of this figure only."""

    dataset: str
    split: str
    records: int
    entries: Sequence[System]
    options: AnalysisOptions
    signatures: Mapping[str, str]  # {metric: signature}
    estimates: Mapping[str, Mapping[str, Estimate]]  # {metric: {entry: ...}}
    plain: Mapping[str, Mapping[str, tuple[float, float | None]]]  # {metric without sums: {entry: mean, sd over runs}}
    differences: Mapping[str, Sequence[Difference]]  # {metric: pairs}
    costs: Mapping[str, Mapping[str, float]]  # {entry: {cost: mean over runs}}
    onsets: Mapping[str, MeanOnset]  # {entry: ...}
    curves: Mapping[str, Sequence[Mapping[str, float]]]  # {entry: rows with a step, means over runs}
    quality: tuple[str, float] | None  # validation metric and its value for seconds_to_quality
    lengths: Sequence[Group]  # groups of records by source length
    by_length: Mapping[str, Sequence[Sliced]]  # {entry: main metric of each group in ``lengths``}
    features: Sequence[Group]  # groups of records by a feature of their source
    by_feature: Mapping[str, Sequence[Sliced]]  # {entry: main metric of each group in ``features``}
    by_place: Mapping[str, Sequence[tuple[Group, Sliced]]]  # {entry: recall of words by place in the reference}
    by_frequency: Mapping[str, Sequence[tuple[Group, Sliced]]]  # {entry: recall of words by training frequency}
    common: NDArray[np.float64] | None  # (E, E) agreement of attention
    notes: Sequence[str] = field(default_factory=list)  # warnings for the reader

    @property
    def metric(self) -> str:
        """The name of the main metric."""
        return self.options.metric

    @property
    def names(self) -> list[str]:
        """The names of the entries, from best to worst on the main metric."""
        lower = get_metric(self.metric).lower_is_better
        scores = self.estimates[self.metric]
        return sorted(scores, key=lambda name: scores[name].score if lower else -scores[name].score)


def analyse(dataset: str, entries: Sequence[System], options: AnalysisOptions) -> Analysis:
    """Compute all figures of the comparison.

    Args:
        dataset: Name of the dataset.
        entries: Systems that passed ``systems.check``.
        options: Options of the comparison.

    Returns:
        The analysis, with the entries in their given order.
    """
    first = entries[0].runs[0]
    # Estimate and test each metric.
    names = dict.fromkeys(m for entry in entries for run in entry.runs for m in run.results)
    metrics = [name for name in names if not name.endswith(RULES)]  # rules have a row of their own
    groups = next((run.groups for entry in entries for run in entry.runs if run.groups is not None), None)
    resampler = Resampler.of(first.size, options.samples, options.seed, groups)
    units = first.size if groups is None else int(groups.max()) + 1  # records or groups that are drawn
    signatures: dict[str, str] = {}
    estimates: dict[str, dict[str, Estimate]] = {}
    plain: dict[str, dict[str, tuple[float, float | None]]] = {}
    differences: dict[str, list[Difference]] = {}
    notes = []
    for metric in metrics:
        measured = [entry for entry in entries if all(metric in run.results for run in entry.runs)]
        if not measured:
            continue
        meanings = dict.fromkeys(meaning(metric, run) for entry in measured for run in entry.runs)
        signatures[metric], same = " or ".join(meanings), len(meanings) == 1
        if not same:
            notes.append(f"{metric} has several signatures: its scores are not comparable and are not tested.")
        rows = {entry.name: [run.rows(metric) for run in entry.runs] for entry in measured}
        if any(row is None for several in rows.values() for row in several):
            # Without sums there is nothing to resample: the score has no interval.
            scores = {e.name: [float(run.results[metric]["score"]) for run in e.runs] for e in measured}
            plain[metric] = {n: (fmean(of), stdev(of) if len(of) > 1 else None) for n, of in scores.items()}
            continue
        known = {name: [row for row in several if row is not None] for name, several in rows.items()}
        systems = [RunGroup.of(name, metric, several, resampler) for name, several in known.items()]
        estimates[metric] = {system.name: estimate(system, options.level) for system in systems}
        # Scores with different signatures are never tested; nor is a single unit, whose resamples are all equal.
        if same and units > 1 and (metric == options.metric or metric in TESTED):
            differences[metric] = _tested(metric, systems, known, options, groups)
    # Slice the scores by source length and by words.
    counted = slices.by_length(first.source_lengths)
    lengths = [group for group, _ in counted] if len(counted) > 1 else []
    featured = slices.by_feature(first.features)
    words = {
        entry.name: slices.by_word(entry.runs, options.level, groups)
        for entry in entries
        if entry.runs[0].word_hits is not None
    }
    # Average the costs, and note figures that mislead.
    quality = _quality(entries, options.quality)
    costs = {entry.name: _costs(entry, quality) for entry in entries}
    onsets = {entry.name: onset for entry in entries if (onset := onset_of(entry)) is not None}
    machines = {_machine(run) for entry in entries for run in entry.runs if run.about.get("hardware")}
    if len(machines) > 1:
        notes.append(f"Speeds are not comparable: they were measured on {'; '.join(sorted(machines))}.")
    if options.quality is not None and not any("seconds_to_quality" in known for known in costs.values()):
        reason = (
            "the runs do not share one known validation metric"
            if quality is None
            else f"no run reaches this validation {quality[0]}"
        )
        notes.append(f"quality={options.quality:g} has no effect: {reason}.")
    if units == 1:
        notes.append("All records belong together: nothing can be resampled or tested, and intervals have no width.")
    elif groups is not None:
        few = "; intervals over so few groups are too narrow" if units < FEW_GROUPS else ""
        notes.append(f"Intervals and tests resample whole groups: {units:,} groups of {first.size:,} records{few}.")
    notes += filter(None, map(_partly, entries))
    if never := [f"{name} ({onset.never} of {onset.runs})" for name, onset in onsets.items() if onset.never]:
        notes.append(
            f"Attention never began in some runs: {', '.join(never)}. In these runs, replacing each row of attention "
            f"by the sentence's mean row increases the loss by less than {ONSET} nats per token; "
            "do not interpret where they attend."
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
            e.name: slices.of_records(e.runs, options.metric, counted, options.level, groups)
            for e in entries
            if lengths
        },
        features=[group for group, _ in featured],
        by_feature={
            e.name: slices.of_records(e.runs, options.metric, featured, options.level, groups)
            for e in entries
            if featured
        },
        by_place={name: by_place for name, (by_place, _) in words.items()},
        by_frequency={name: by_frequency for name, (_, by_frequency) in words.items() if by_frequency},
        common=agreement(entries),
        notes=notes,
    )


def _tested(
    metric: str,
    systems: Sequence[RunGroup],
    rows: Mapping[str, Sequence[NDArray[np.float64]]],
    options: AnalysisOptions,
    groups: Groups | None,
) -> list[Difference]:
    """Test the pairs; pairs of single runs are also tested by approximate randomisation."""
    found = compare(systems, options.baseline, level=options.level, correction=options.correction, seed=options.seed)
    single = {name: several[0] for name, several in rows.items() if len(several) == 1}
    if not single or not found:
        return found
    # Sum the records of each system once for all of its pairs.
    randomiser = Randomiser.of(len(next(iter(single.values()))), options.samples, options.seed, groups)
    sums = {name: (one.sum(0), randomiser.kept_sums(one)) for name, one in single.items()}
    return [
        one
        if one.seeds or not sums.keys() >= {one.a, one.b}
        else Difference(**{**vars(one), "randomised": randomised_p(metric, sums[one.a], sums[one.b])})
        for one in found
    ]


def _partly(entry: System) -> str | None:
    """Return a note where only some records have statistics of attention."""
    attended = sum(run.attended for run in entry.runs)
    total = sum(run.size for run in entry.runs)
    if not 0 < attended < total:
        return None
    return f"{entry.name}: only {attended:,} of {total:,} outputs have statistics of attention."


def _machine(run: Run) -> str:
    """Describe the hardware of a run."""
    about = run.about["hardware"]
    parts = [about.get("cpu"), f"{about.get('cores')} cores", *dict.fromkeys(about.get("gpu") or [])]
    return ", ".join(str(part) for part in parts if part)


def _costs(entry: System, quality: tuple[str, float] | None) -> dict[str, float]:
    """Return the mean of each cost that all runs of an entry have."""
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
    # A mean over some of the runs would not be comparable.
    whole = {name: values for name, values in found.items() if len(values) == len(entry.runs)}
    return {name: fmean(values) for name, values in whole.items()}


def onset_of(entry: System) -> MeanOnset | None:
    """Return the mean onset of attention, None where no run measured it.

    Args:
        entry: Runs of one configuration.
    """
    # A run without ``nll_increase_averaged`` did not measure its onset.
    training = [run.about.get("training") or {} for run in entry.runs]
    begun = [known.get("onset") for known in training if known.get("nll_increase_averaged") is not None]
    steps = [step for step in begun if step is not None]
    return MeanOnset(fmean(steps) if steps else None, len(begun) - len(steps), len(begun)) if begun else None


def mean_curve(runs: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """Return the mean of the validation curves of several runs.

    Args:
        runs: Learning curves of each run: rows of values by name.

    Returns:
        Rows for the steps at which all runs were validated, with the means of the values that all runs have.
    """
    # Keep the rows with a validation.
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
    """Return the validation metric that chose the checkpoints, with ``asked`` or the best value that all runs reach."""
    # Outputs of other toolkits have no training.
    ours = [run for entry in entries for run in entry.runs if run.about.get("training")]
    monitors = {run.about["training"].get("monitor") for run in ours}
    if len(monitors) != 1 or (monitor := monitors.pop()) is None or find_metric(str(monitor)) is None:
        return None
    if asked is not None:
        return str(monitor), asked
    # The worst of the best values is reached by all runs.
    best = [_best(run, str(monitor)) for run in ours]
    known = [value for value in best if value is not None]
    if len(known) < len(best) or not known:
        return None
    return str(monitor), max(known) if get_metric(str(monitor)).lower_is_better else min(known)


def seconds_to(run: Run, monitor: str, value: float) -> float | None:
    """Return the training time until a validation reached a value.

    Args:
        run: A run with validation curves.
        monitor: Name of the validation metric.
        value: Value to reach.

    Returns:
        Seconds, computed as if all updates took equally long; None where no validation reached ``value``.
    """
    training: Mapping[str, Any] = run.about.get("training") or {}
    if not training.get("steps"):
        return None
    name, lower = f"validation/{monitor}", get_metric(monitor).lower_is_better
    for row in run.curves:
        if name in row and (row[name] <= value if lower else row[name] >= value):
            return float(row["step"] / training["steps"] * training["seconds"])
    return None


def _best(run: Run, monitor: str) -> float | None:
    """Return the best validation value of a run."""
    values = [row[f"validation/{monitor}"] for row in run.curves if f"validation/{monitor}" in row]
    return (min(values) if get_metric(monitor).lower_is_better else max(values)) if values else None
