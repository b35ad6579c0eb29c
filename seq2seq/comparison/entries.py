"""What is compared: runs that differ in their seed alone are an entry, named by what it has and others have not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seq2seq.comparison.outside import SYSTEM
from seq2seq.comparison.runs import PRIMARY, Run, references
from seq2seq.errors import UserError
from seq2seq.sweeps import RESULTS

SHORT = 40  # characters of a text that is shown where test sets differ


@dataclass(frozen=True)
class Entry:
    """Runs of one configuration on one dataset, in the order of their seeds."""

    name: str
    runs: Sequence[Run]

    @property
    def seeds(self) -> list[int | None]:
        """One a run."""
        return [run.seed for run in self.runs]


def datasets(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """{dataset: its runs}, in the order in which they come."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.dataset, []).append(run)
    return found


def entries(runs: Sequence[Run], names: Mapping[str, str] | None = None) -> list[Entry]:
    """Of one dataset, in the order of their ``names`` by key (``named``, unless given). Of two runs of one
    configuration and one seed the later counts (``repeated`` tells the others).
    """
    together: dict[str, dict[object, Run]] = {}
    for run in sorted(runs, key=_written):
        together.setdefault(run.key, {})[run.seed if run.seed is not None else run.path] = run
    groups = [sorted(group.values(), key=lambda run: (run.seed or 0, str(run.path))) for group in together.values()]
    names = named(runs) if names is None else names
    return sorted((Entry(names[group[0].key], group) for group in groups), key=lambda one: one.name)


def repeated(runs: Sequence[Run]) -> list[str]:
    """What to say of each run that another of the same configuration, seed and dataset takes the place of."""
    found, last = [], dict[tuple[str, str, object], Run]()
    for run in sorted(runs, key=_written):
        place = (run.dataset, run.key, run.seed if run.seed is not None else run.path)
        if place in last:
            found.append(f"{last[place].path} is left out: {run.path} is the same configuration and seed, and later.")
        last[place] = run
    return found


def named(runs: Sequence[Run]) -> dict[str, str]:
    """{key: name} of all configurations: what each has that not all of its dataset have, bare where it is the model or
    the mechanism, else KEY=VALUE; so that they have one name on all datasets. Those of one dataset that differ in what
    nobody typed are told apart by their directories.
    """
    first = {run.key: run for run in reversed(runs)}
    ours = [run for run in first.values() if SYSTEM not in run.facets]
    keys = list(dict.fromkeys([*PRIMARY, *(key for run in ours for key in run.facets)]))
    together = datasets(ours).values()
    differing = [key for key in keys if any(len({run.facets.get(key) for run in those}) > 1 for those in together)]
    shown = differing or [key for key in PRIMARY if any(key in run.facets for run in first.values())]
    found = {}
    for one, run in first.items():
        told = [key for key in shown if key in run.facets]
        parts = [run.facets[key] if key in PRIMARY else f"{key}={run.facets[key]}" for key in told]
        found[one] = run.facets.get(SYSTEM) or " ".join(parts) or "default"
    for name in {name for name in found.values() if list(found.values()).count(name) > 1}:
        same = [one for one, other in found.items() if other == name]
        if len({first[one].dataset for one in same}) == len(same):
            continue
        depth = 1
        while len({first[one].path.parts[-depth:] for one in same}) < len(same):
            depth += 1
        for one in same:
            found[one] = f"{name} ({'/'.join(first[one].path.parts[-depth:])})"
    return found


def _written(run: Run) -> tuple[float, str]:
    file = run.path / RESULTS
    return file.stat().st_mtime if file.exists() else 0.0, str(run.path)


def check(entries: Sequence[Entry], metric: str) -> None:
    """Refuses what can't be compared on ``metric``, by the difference."""
    runs = [run for entry in entries for run in entry.runs]
    for run in runs:
        if metric not in run.results:
            raise UserError(f"{run.path} has no {metric}; metric=... chooses one of: {', '.join(_drawable(run))}")
        if run.rows(metric) is None:
            raise UserError(
                f"metric={metric} is no sum over records that could be drawn anew; {run.path} has: "
                f"{', '.join(_drawable(run))}"
            )
    for other in runs[1:]:
        if (reason := _apart(runs[0], other, metric)) is not None:
            raise UserError(f"{runs[0].path} and {other.path} can't be compared: {reason}")


def _drawable(run: Run) -> list[str]:
    return [metric for metric in run.results if run.rows(metric) is not None]


def _apart(one: Run, other: Run, metric: str) -> str | None:
    if len(one.records) != len(other.records):
        return f"their test sets differ: {len(one.records)} and {len(other.records)} records of {one.dataset}"
    alone = not (one.control or other.control)  # a control may have changed the sources
    for place, (a, b) in enumerate(zip(one.records, other.records, strict=True)):
        told = {"references": (references(a), references(b))}
        if alone:
            told["source"] = [one.source(place)], [other.source(place)]
        for what, (x, y) in told.items():
            if x != y:
                said = "{!r} and {!r}".format(*(text[0][:SHORT] for text in (x, y)))
                return f"their test sets differ: the {what} of record {place + 1} is {said}"
    mine, theirs = (str(run.results[metric]["signature"]) for run in (one, other))
    if not alike(metric, one, other):
        parts = set(mine.split("|")) ^ set(theirs.split("|"))
        return f"their {metric} is not the same: {mine} and {theirs} ({', '.join(sorted(parts))})"
    return None


def alike(metric: str, one: Run, other: Run) -> bool:
    """Whether both give the metric one meaning."""
    return _meaning(one.results[metric]["signature"]) == _meaning(other.results[metric]["signature"])


def _meaning(signature: str) -> list[str]:
    """A signature without what is a result."""
    return [part for part in signature.split("|") if not part.startswith(("precision:", "recall:"))]
