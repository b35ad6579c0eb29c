"""Systems: groups of runs that differ only in their seed, named by the options in which they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seq2seq.comparison.external import SYSTEM
from seq2seq.comparison.run_config import CONTROL, PRIMARY
from seq2seq.comparison.runs import Run, references
from seq2seq.errors import UserError

EXCERPT_LENGTH = 40  # shown characters where two texts differ


@dataclass(frozen=True)
class System:
    """The runs of one configuration on one dataset."""

    name: str
    runs: Sequence[Run]  # in the order of their seeds

    @property
    def seeds(self) -> list[int | None]:
        """The seed of each run."""
        return [run.seed for run in self.runs]


def datasets(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Group runs by dataset.

    Args:
        runs: Runs of any datasets.

    Returns:
        {dataset: runs}, in the order of ``runs``.
    """
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.dataset, []).append(run)
    return found


def group_systems(runs: Sequence[Run], names: Mapping[str, str] | None = None) -> list[System]:
    """Group the runs of one dataset into systems. Of several runs of one configuration and seed the last is kept.

    Args:
        runs: Runs of one dataset.
        names: {key of a run: name of its system}; None uses ``named``.

    Returns:
        Systems, sorted by name.
    """
    # Later runs replace earlier ones. Runs without a seed are all kept.
    together: dict[str, dict[object, Run]] = {}
    for run in sorted(runs, key=_written):
        together.setdefault(run.key, {})[run.seed if run.seed is not None else run.path] = run
    groups = [sorted(group.values(), key=lambda run: (run.seed or 0, str(run.path))) for group in together.values()]
    names = named(runs) if names is None else names
    return sorted((System(names[group[0].key], group) for group in groups), key=lambda one: one.name)


def repeated(runs: Sequence[Run]) -> list[str]:
    """Return a note for each run that a later run of the same configuration, seed and dataset replaces.

    Args:
        runs: Runs of any datasets.
    """
    found, last = [], dict[tuple[str, str, object], Run]()
    for run in sorted(runs, key=_written):
        place = (run.dataset, run.key, run.seed if run.seed is not None else run.path)
        if place in last:
            found.append(
                f"{last[place].path} is left out: {run.path} is a later run of the same configuration and seed."
            )
        last[place] = run
    return found


def named(runs: Sequence[Run]) -> dict[str, str]:
    """Name all configurations by the options in which they differ. A configuration has the same name on all datasets.

    The model and the mechanism appear as bare values if they differ between runs, other options as KEY=VALUE if they
    differ within a dataset, and a control always. If a name would be empty, all names have model and mechanism.
    Configurations of one dataset that still have the same name get their directories.

    Args:
        runs: Runs of all datasets.

    Returns:
        {key of a run: name}.
    """
    # Choose the options in the names.
    ours = [run for run in runs if SYSTEM not in run.facets]
    primary = [key for key in PRIMARY if len({run.facets.get(key) for run in ours}) > 1]
    typed = dict.fromkeys(key for run in ours for key in run.facets if key not in PRIMARY)
    sets = datasets(ours).values()
    differing = [
        key for key in typed if key == CONTROL or any(len({run.facets.get(key) for run in some}) > 1 for some in sets)
    ]
    shown = primary + differing
    if set(shown) <= {CONTROL} or any(set(shown).isdisjoint(run.facets) for run in ours):
        shown = [key for key in PRIMARY if any(key in run.facets for run in ours)] + differing
    # Join them to names.
    plain = {}
    for run in runs:
        facets = [(key, run.facets[key]) for key in shown if key in run.facets]
        parts = [value if key in PRIMARY else f"{key}={value}" for key, value in facets]
        plain[run.key] = run.facets.get(SYSTEM) or " ".join(parts) or "default"
    # Add the shortest differing ends of the directories to equal names.
    found = dict(plain)
    for some in datasets(runs).values():
        paths = {run.key: run.path for run in reversed(some)}
        for name in {plain[key] for key in paths}:
            same = [key for key in paths if plain[key] == name]
            # Lengthen the ends of the directories until they differ.
            depth, most = 1, max(len(paths[key].parts) for key in same)
            while len({paths[key].parts[-depth:] for key in same}) < len(same) and depth < most:
                depth += 1
            if len(same) > 1:
                found |= {key: f"{name} ({'/'.join(paths[key].parts[-depth:])})" for key in same}
    return found


def _written(run: Run) -> tuple[float, str]:
    """Return the sort key of runs by time."""
    return run.written, str(run.path)


def check(runs: Sequence[Run], metric: str) -> None:
    """Refuse runs that are not comparable on a metric.

    Args:
        runs: Runs of one dataset.
        metric: Name of the main metric.

    Raises:
        UserError: A run lacks the metric or its sums; or splits, test sets or signatures differ.
    """
    for run in runs:
        if metric not in run.results:
            raise UserError(f"{run.path} has no {metric}; choose metric= from: {', '.join(_drawable(run))}")
        if run.rows(metric) is None:
            raise UserError(
                f"metric={metric} has no sums for each record, so it cannot be resampled; choose from those of "
                f"{run.path}: {', '.join(_drawable(run))}"
            )
    # Compare all runs with the first one.
    for other in runs[1:]:
        if (reason := _apart(runs[0], other, metric)) is not None:
            raise UserError(f"{runs[0].path} and {other.path} cannot be compared: {reason}")


def _drawable(run: Run) -> list[str]:
    """Return the metrics of a run that can be resampled."""
    return [metric for metric in run.results if run.rows(metric) is not None]


def _apart(one: Run, other: Run, metric: str) -> str | None:
    """Return why two runs are not comparable; None if they are."""
    if one.split != other.split:
        return f"the first has split {one.split} and the second split {other.split}; choose one with split=..."
    if one.size != other.size:
        return f"their test sets differ: {one.size} and {other.size} records of {one.dataset}"
    # A control may have changed the sources.
    sides = ("reference",) if one.control or other.control else ("source", "reference")
    if differs := next((side for side in sides if one.digests[side] != other.digests[side]), None):
        return f"their test sets differ: {_parting(one, other, differs)}"
    mine, theirs = (str(run.results[metric]["signature"]) for run in (one, other))
    if meaning(metric, one) != meaning(metric, other):
        parts = set(mine.split("|")) ^ set(theirs.split("|"))
        return f"their {metric} has different signatures: {mine} and {theirs} ({', '.join(sorted(parts))})"
    return None


def _parting(one: Run, other: Run, side: str) -> str:
    """Describe the first record whose source or reference differs, with both texts where both runs have texts."""
    # Digests locate a difference without texts.
    each = zip(one.digests[side].each, other.digests[side].each, strict=True)
    if not (one.has_text and other.has_text):
        record = next((f" of record {place}" for place, (a, b) in enumerate(each, 1) if a != b), "")
        return f"a {side}{record} differs (a pack holds no texts)"
    for place, (a, b) in enumerate(zip(one.records, other.records, strict=True)):
        x, y = (references(a), references(b)) if side == "reference" else ([one.source(place)], [other.source(place)])
        if x != y:
            pair = next(((p, q) for p, q in zip(x, y, strict=False) if p != q), None)
            if pair is None:
                return f"record {place + 1} has {len(x)} and {len(y)} {side}s"
            return f"a {side} of record {place + 1} is {_difference(*pair)}"
    raise AssertionError("the digests differ, but the texts are equal")


def _difference(one: str, other: str) -> str:
    """Return excerpts of two texts around their first difference."""
    first = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    start = max(0, first - EXCERPT_LENGTH // 2)
    before = "..." if start else ""
    return " and ".join(
        repr(before + text[start : start + EXCERPT_LENGTH] + "..." * (len(text) > start + EXCERPT_LENGTH))
        for text in (one, other)
    )


def meaning(metric: str, run: Run) -> str:
    """Return the signature of a metric without the parts that are results (precision, recall).

    Args:
        metric: Name of the metric.
        run: A run with the metric.
    """
    parts = str(run.results[metric]["signature"]).split("|")
    return "|".join(part for part in parts if not part.startswith(("precision:", "recall:")))
