"""How sure a score is, and whether two systems differ: by drawing sentences and seeds anew.

A system is the runs of one configuration that differ in their seed. Letters: S runs of a system, N records, K numbers a
record adds to a metric (``seq2seq.metrics.resampling``), R resamples.

The score of a system has two sources of chance: which seeds were run, and which sentences are in the test set. A score
is theta + a_seed + b_sentence + ab; between the mean scores of two systems on the same sentences

    V = Var(seeds) + Var(sentences) - Var(ab),    t = (difference of means) / sqrt(V)

Seeds and sentences are drawn together (the pigeonhole bootstrap; Owen 2007, arXiv:0712.1111), S - 1 seeds of S each
time, so that their variance is not too small (McCarthy & Snowden 1985), and what this counts of ab twice over is taken
off. t has the degrees of freedom of Welch and Satterthwaite. A system of one run beside one of several is taken to vary
as much between seeds. With one run each there is nothing to tell of seeds: sentences alone are drawn, and the answer is
about these two runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from seq2seq.metrics import resampling

Array = NDArray[np.float64]
Correction = Literal["holm", "bonferroni", "none"]
CORRECTIONS = ("holm", "bonferroni", "none")


@dataclass(frozen=True)
class Estimate:
    """A system's score on a metric; ``low`` to ``high`` is a confidence interval."""

    score: float  # the mean over runs
    low: float
    high: float
    sd: float | None  # between runs, n - 1; None of one run
    runs: int


@dataclass(frozen=True)
class Difference:
    """System ``a`` less system ``b``."""

    a: str
    b: str
    difference: float
    low: float
    high: float
    p: float  # two-sided
    adjusted: float  # p corrected for the number of pairs
    seeds: bool  # whether chance between seeds is in it
    randomised: float | None = None  # p of approximate randomisation; of one run each


@dataclass(frozen=True)
class Resampler:
    """The same draws of N records for every run."""

    counts: Array  # (R, N) how often each record is in each resample

    @staticmethod
    def of(records: int, samples: int = 1000, seed: int = 12345) -> Resampler:
        """As sacreBLEU draws; the same again for the same numbers."""
        return _resampler(records, samples, seed)

    def scores(self, metric: str, rows: Array) -> Array:
        """(N, K) -> (R,) scores of the resamples; nan of one without any record that counts, which tells nothing."""
        return resampling.score(metric, self.counts @ rows)


@lru_cache(16)
def _resampler(records: int, samples: int, seed: int) -> Resampler:
    index = np.random.default_rng(seed).choice(records, size=(samples, records), replace=True)
    return Resampler(np.stack([np.bincount(row, minlength=records) for row in index]).astype(np.float64))


@dataclass(frozen=True)
class RunGroup:
    """The runs of one configuration on one metric."""

    name: str
    scores: Array  # (S,)
    resampled: Array  # (S, R)

    @staticmethod
    def of(name: str, metric: str, runs: Sequence[Array], resampler: Resampler) -> RunGroup:
        """From each run's (N, K)."""
        whole = np.array([resampling.score(metric, rows.sum(0)) for rows in runs])
        return RunGroup(name, whole, np.stack([resampler.scores(metric, rows) for rows in runs]))

    @property
    def runs(self) -> int:
        """Return S, the number of runs."""
        return len(self.scores)

    def drawn(self, random: np.random.Generator) -> Array:
        """(R,) means over S - 1 runs drawn for each resample; of one run, that."""
        if self.runs == 1:
            return np.asarray(self.resampled[0])
        samples = self.resampled.shape[1]
        chosen = random.integers(self.runs, size=(self.runs - 1, samples))
        return np.asarray(self.resampled[chosen, np.arange(samples)].mean(0))

    @property
    def seed_variance(self) -> float:
        """s^2, the variance between runs; 0 of one run."""
        return float(self.scores.var(ddof=1)) if self.runs > 1 else 0.0

    @property
    def interaction_variance(self) -> float:
        """Var(ab) of the mean: how much sentences move runs apart from each other."""
        if self.runs == 1:
            return 0.0
        apart = self.resampled - self.resampled.mean(0)
        return float(np.nanvar(apart, 1, ddof=1).mean() / (self.runs - 1))


def estimate(system: RunGroup, level: float = 0.95, seed: int = 12345) -> Estimate:
    """The mean, with a percentile interval over sentences for one run and one over seeds and sentences for several."""
    mean = float(system.scores.mean())
    if system.runs == 1:
        low, high = np.nanquantile(system.resampled[0], [(1 - level) / 2, (1 + level) / 2])
        return Estimate(mean, float(low), float(high), None, 1)
    variance, freedom = _variance([system], system.drawn(np.random.default_rng(seed)))
    half = float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(variance))
    return Estimate(mean, mean - half, mean + half, float(system.scores.std(ddof=1)), system.runs)


def difference(a: RunGroup, b: RunGroup, level: float = 0.95, seed: int = 12345) -> Difference:
    """``a`` less ``b`` on the same resamples of sentences; p is two-sided (``sacrebleu_p`` is sacreBLEU's own).

    Of one run each z = difference / sd of the resampled difference is held against the normal distribution, so that p
    is not bounded by the number of resamples, as a share of them would be, and can be corrected for many pairs. So it
    is of one run beside two, which tell too little of seeds: what is said then is said of these runs.
    """
    random = np.random.default_rng(seed)
    d = float(a.scores.mean() - b.scores.mean())
    seeds = min(a.runs, b.runs) > 1 or max(a.runs, b.runs) > 2
    drawn = a.drawn(random) - b.drawn(random) if seeds else a.resampled.mean(0) - b.resampled.mean(0)
    if not seeds:
        low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
        sd = float(np.nanstd(drawn, ddof=1))
        p = float(2 * stats.norm.sf(abs(d) / sd)) if sd > 0 else float(d == 0)
        return Difference(a.name, b.name, d, float(low), float(high), p, p, False)
    variance, freedom = _variance([a, b], drawn)
    half = float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(variance))
    t = abs(d) / np.sqrt(variance) if variance > 0 else np.inf if d else 0.0
    p = float(2 * stats.t.sf(t, freedom))
    return Difference(a.name, b.name, d, d - half, d + half, p, p, True)


def sacrebleu_p(a: RunGroup, b: RunGroup) -> float:
    """sacreBLEU's paired bootstrap of one run each: the share of resamples whose absolute difference exceeds its mean
    by more than the true one. For differences that are not small its p is one-sided.
    """
    apart = np.abs(a.resampled[0] - b.resampled[0])
    real = abs(float(a.scores[0] - b.scores[0]))
    return (1 + int((apart - apart.mean() > real).sum())) / (1 + len(apart))


@dataclass(frozen=True)
class Randomiser:
    """Approximate randomisation (Riezler & Maxwell 2005, W05-0908): in each trial the outputs of each record change
    sides between two systems by chance; the same sides for every pair.
    """

    sides: Array  # (R, N) 1 where a record's outputs stay

    @staticmethod
    def of(records: int, trials: int = 1000, seed: int = 12345) -> Randomiser:
        """Draw the sides as sacreBLEU does."""
        return Randomiser(
            np.random.default_rng(seed).integers(2, size=(trials, records), dtype=bool).astype(np.float64)
        )

    def kept_sums(self, rows: Array) -> Array:
        """(N, K) -> (R, K) sums over what stays, for ``p``."""
        return self.sides @ rows


def randomised_p(metric: str, a: tuple[Array, Array], b: tuple[Array, Array]) -> float:
    """The share of trials that differ as much as the two systems do; of each its sums (K,) and ``kept_sums`` (R, K)."""
    (all_a, stays_a), (all_b, stays_b) = a, b
    real = abs(float(resampling.score(metric, all_a) - resampling.score(metric, all_b)))
    one = resampling.score(metric, stays_a + (all_b - stays_b))
    other = resampling.score(metric, (all_a - stays_a) + stays_b)
    return (1 + int((np.abs(one - other) >= real - 1e-9).sum())) / (1 + len(one))


def compare(
    systems: Sequence[RunGroup],
    baseline: str | None = None,
    *,
    level: float = 0.95,
    correction: Correction = "holm",
    seed: int = 12345,
) -> list[Difference]:
    """All pairs, or each system against ``baseline``; p corrected for their number."""
    pairs = [(a, b) for a, b in combinations(systems, 2) if baseline in (None, a.name, b.name)]
    if baseline is not None:
        pairs = [(b, a) if a.name == baseline else (a, b) for a, b in pairs]
    found = [difference(a, b, level, seed) for a, b in pairs]
    adjusted = corrected([one.p for one in found], correction)
    return [replace(one, adjusted=p) for one, p in zip(found, adjusted, strict=True)]


def corrected(p: Sequence[float], how: Correction = "holm") -> list[float]:
    """p-values of m tests made together: ``bonferroni`` m p, ``holm`` max_{j <= i} (m - j) p_(j) in ascending order
    from j = 0 (Holm 1979), both at most 1.
    """
    values, m = np.asarray(p, np.float64), len(p)
    if how == "none":
        return [float(value) for value in values]
    if how == "bonferroni":
        return [float(value) for value in np.minimum(values * m, 1)]
    order = values.argsort(kind="stable")
    steps = np.minimum(np.maximum.accumulate(values[order] * (m - np.arange(m))), 1)
    found = np.empty(m)
    found[order] = steps
    return found.tolist()


def _variance(systems: Sequence[RunGroup], drawn: Array) -> tuple[float, float]:
    """V, and its degrees of freedom (Welch and Satterthwaite; sentences are many).

    That of the joint resamples, less what they count of Var(ab) twice, and not less than that of the seeds. Where one
    of two systems has one run, its seeds are taken to vary as the other's do; its own Var(ab) is in the resamples.
    """
    several = [system for system in systems if system.runs > 1]
    of_seeds = [system.seed_variance / system.runs for system in several]
    variance = float(np.nanvar(drawn, ddof=1)) - 2 * sum(system.interaction_variance for system in several)
    if several and len(several) < len(systems):
        (other,) = several
        variance += max(0.0, other.seed_variance - other.interaction_variance * other.runs)
        of_seeds = [other.seed_variance * (1 + 1 / other.runs)]  # one estimate tells of both
    variance = max(variance, sum(system.seed_variance / system.runs for system in several))
    below = sum(part**2 / (system.runs - 1) for part, system in zip(of_seeds, several, strict=True))
    return variance, variance**2 / below if below > 0 else np.inf
