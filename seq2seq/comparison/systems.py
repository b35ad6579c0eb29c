"""What is compared: runs that differ in their seed alone are an entry, named by what it has and others have not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seq2seq.comparison.external import SYSTEM
from seq2seq.comparison.run_config import CONTROL, PRIMARY
from seq2seq.comparison.runs import Run, references
from seq2seq.errors import UserError

EXCERPT_LENGTH = 40  # characters of a text that is shown where test sets differ


@dataclass(frozen=True)
class System:
    """Runs of one configuration on one dataset, in the order of their seeds."""

    name: str
    runs: Sequence[Run]

    @property
    def seeds(self) -> list[int | None]:
        """Return the seed of each run."""
        return [run.seed for run in self.runs]


def datasets(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """{dataset: its runs}, in the order in which they come."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.dataset, []).append(run)
    return found


def group_systems(runs: Sequence[Run], names: Mapping[str, str] | None = None) -> list[System]:
    """Of one dataset, in the order of their ``names`` by key (``named``, unless given). Of two runs of one
    configuration and one seed the later counts (``repeated`` tells the others).
    """
    together: dict[str, dict[object, Run]] = {}
    for run in sorted(runs, key=_written):
        together.setdefault(run.key, {})[run.seed if run.seed is not None else run.path] = run
    groups = [sorted(group.values(), key=lambda run: (run.seed or 0, str(run.path))) for group in together.values()]
    names = named(runs) if names is None else names
    return sorted((System(names[group[0].key], group) for group in groups), key=lambda one: one.name)


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
    """{key: name} of all configurations: what each has that not all have, bare where it is the model or the mechanism,
    else KEY=VALUE where that differs within a dataset; so that a configuration has one name on all datasets. Model and
    mechanism are said of all where one has nothing else, and a control always. Those of one dataset that differ in what
    nobody typed are told apart by their directories.
    """
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
    plain = {}
    for run in runs:
        told = [(key, run.facets[key]) for key in shown if key in run.facets]
        parts = [value if key in PRIMARY else f"{key}={value}" for key, value in told]
        plain[run.key] = run.facets.get(SYSTEM) or " ".join(parts) or "default"
    found = dict(plain)
    for some in datasets(runs).values():
        paths = {run.key: run.path for run in reversed(some)}
        for name in {plain[key] for key in paths}:
            same = [key for key in paths if plain[key] == name]
            depth, most = 1, max(len(paths[key].parts) for key in same)
            while len({paths[key].parts[-depth:] for key in same}) < len(same) and depth < most:
                depth += 1
            if len(same) > 1:
                found |= {key: f"{name} ({'/'.join(paths[key].parts[-depth:])})" for key in same}
    return found


def _written(run: Run) -> tuple[float, str]:
    return run.written, str(run.path)


def check(runs: Sequence[Run], metric: str) -> None:
    """Refuse what can't be compared on ``metric``, by the difference."""
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
    if one.split != other.split:
        return f"the first is of split {one.split}, the second of {other.split} (split=... chooses)"
    if one.size != other.size:
        return f"their test sets differ: {one.size} and {other.size} records of {one.dataset}"
    alone = not (one.control or other.control)  # a control may have changed the sources
    sides = ("source", "reference") if alone else ("reference",)
    if differs := next((side for side in sides if one.digests[side] != other.digests[side]), None):
        return f"their test sets differ: {_parting(one, other, differs)}"
    mine, theirs = (str(run.results[metric]["signature"]) for run in (one, other))
    if meaning(metric, one) != meaning(metric, other):
        parts = set(mine.split("|")) ^ set(theirs.split("|"))
        return f"their {metric} is not the same: {mine} and {theirs} ({', '.join(sorted(parts))})"
    return None


def _parting(one: Run, other: Run, side: str) -> str:
    """Return where the sources or the references of two runs part; what they are, where both are known."""
    each = zip(one.digests[side].each, other.digests[side].each, strict=True)
    if not (one.has_text and other.has_text):
        record = next((f" of record {place}" for place, (a, b) in enumerate(each, 1) if a != b), "")
        return f"a {side}{record} is another (texts are not in a pack)"
    for place, (a, b) in enumerate(zip(one.records, other.records, strict=True)):
        x, y = (references(a), references(b)) if side == "reference" else ([one.source(place)], [other.source(place)])
        if x != y:
            pair = next(((p, q) for p, q in zip(x, y, strict=False) if p != q), None)
            shown = _difference(*pair) if pair else f"one of {len(x)} and of {len(y)}"
            return f"a {side} of record {place + 1} is {shown}"
    raise AssertionError("texts are the same, and digests are not")


def _difference(one: str, other: str) -> str:
    """Both, from shortly before they part."""
    parting = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    start = max(0, parting - EXCERPT_LENGTH // 2)
    before = "..." if start else ""
    return " and ".join(
        repr(before + text[start : start + EXCERPT_LENGTH] + "..." * (len(text) > start + EXCERPT_LENGTH))
        for text in (one, other)
    )


def meaning(metric: str, run: Run) -> str:
    """The signature of a run's metric, without what is a result."""
    parts = str(run.results[metric]["signature"]).split("|")
    return "|".join(part for part in parts if not part.startswith(("precision:", "recall:")))
