"""What is compared: runs that differ in their seed alone are an entry, named by what it has and others have not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seq2seq.comparison.runs import PRIMARY, Run, references, shown
from seq2seq.errors import UserError

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


def entries(runs: Sequence[Run]) -> list[Entry]:
    """Of one dataset. Of two runs of one configuration and one seed the later one counts."""
    together: dict[str, dict[object, Run]] = {}
    for run in sorted(runs, key=lambda run: str(run.path)):
        together.setdefault(run.key, {})[run.seed if run.seed is not None else run.path] = run
    groups = [sorted(group.values(), key=lambda run: (run.seed or 0, str(run.path))) for group in together.values()]
    names = _names([group[0] for group in groups])
    return sorted((Entry(name, group) for name, group in zip(names, groups, strict=True)), key=lambda one: one.name)


def _names(runs: Sequence[Run]) -> list[str]:
    """What each has that not all have: bare where it is the model or the mechanism, else KEY=VALUE."""
    keys = list(dict.fromkeys([*PRIMARY, *(key for run in runs for key in run.facets)]))
    differing = [key for key in keys if len({run.facets.get(key) for run in runs}) > 1]
    shown = differing or [key for key in PRIMARY if any(key in run.facets for run in runs)]
    found = []
    for run in runs:
        parts = [
            run.facets[key] if key in (*PRIMARY, "system") else f"{key}={run.facets[key]}"
            for key in shown
            if key in run.facets
        ]
        found.append(" ".join(parts) or "default")
    for name in {name for name in found if found.count(name) > 1}:  # they differ in what nobody typed
        same = [place for place, other in enumerate(found) if other == name]
        for place in same:
            found[place] = f"{name} ({runs[place].path.name})"
    return found


def check(entries: Sequence[Entry], metric: str) -> None:
    """Refuses what can't be compared on ``metric``, by the difference."""
    first, *others = [run for entry in entries for run in entry.runs]
    for other in others:
        if (reason := _apart(first, other, metric)) is not None:
            raise UserError(f"{first.path} and {other.path} can't be compared: {reason}")


def _apart(one: Run, other: Run, metric: str) -> str | None:
    if one.fingerprint != other.fingerprint:
        if len(one.records) != len(other.records):
            return f"their test sets differ: {len(one.records)} and {len(other.records)} records of {one.dataset}"
        for place, (a, b) in enumerate(zip(one.records, other.records, strict=True), 1):
            for what, x, y in (("source", shown(a), shown(b)), ("references", references(a), references(b))):
                if x != y:
                    said = (str(text if isinstance(text, str) else text[0])[:SHORT] for text in (x, y))
                    return "their test sets differ: the {} of record {} is {!r} and {!r}".format(what, place, *said)
    for run in (one, other):
        if metric not in run.results:
            return f"{run.path} has no {metric} (it has: {', '.join(run.results)}); metric=... chooses another"
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
