"""Confidence intervals of scores and significance tests, by resampling of sentences and seeds.

A system is the runs of one configuration that differ only in their seed. Letters: S runs of a system, N records, K sums
of a record for a metric (``seq2seq.metrics.resampling``), R resamples.

The score of a system is random in two ways: by the seeds of its runs, and by the sentences of the test set. The model
of a score is theta + a_seed + b_sentence + ab. For the difference of the mean scores of two systems on the same
sentences

    V = Var(seeds) + Var(sentences) - Var(ab),    t = (difference of means) / sqrt(V)

Records may belong to groups, such as the forms of one lemma, which are not independent. Then whole groups are resampled
in place of sentences.

Seeds and sentences are resampled together (the pigeonhole bootstrap; Owen 2007, arXiv:0712.1111). Each resample draws
S - 1 of S seeds, so that their variance is not too small (McCarthy & Snowden 1985). This counts Var(ab) too often; the
excess is subtracted. t has the degrees of freedom of Welch and Satterthwaite. A system with one run that is compared
with a system of several runs is assumed to have the same variance between seeds. Two single runs say nothing about
seeds: only sentences are resampled, and the result holds for these two runs only.
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
Groups = NDArray[np.int64]
Correction = Literal["holm", "bonferroni", "none"]
CORRECTIONS = ("holm", "bonferroni", "none")


@dataclass(frozen=True)
class Estimate:
    """The score of a system on a metric, with the confidence interval ``low`` to ``high``."""

    score: float  # mean over runs
    low: float
    high: float
    sd: float | None  # standard deviation between runs, divisor S - 1; None for one run
    runs: int  # S


@dataclass(frozen=True)
class Difference:
    """The difference between two systems, with the confidence interval ``low`` to ``high``."""

    a: str  # name of the first system
    b: str  # name of the second system
    difference: float  # score of ``a`` minus score of ``b``
    low: float
    high: float
    p: float  # two-sided
    adjusted: float  # p corrected for the number of pairs
    seeds: bool  # whether the test includes the variance between seeds
    randomised: float | None = None  # p of approximate randomisation, for two single runs


@dataclass(frozen=True)
class Resampler:
    """Resamples of N records, the same for every run."""

    counts: Array  # (R, N) how often each record is in each resample

    @staticmethod
    def of(records: int, samples: int = 1000, seed: int = 12345, groups: Groups | None = None) -> Resampler:
        """Draw resamples as sacreBLEU does; equal arguments give equal resamples.

        Args:
            records: N.
            samples: R.
            seed: Seed of the random generator.
            groups: Group of each record (N,), from 0 on. Whole groups are drawn, as many as there are (the cluster
                bootstrap; Davison & Hinkley 1997, section 3.8). None draws records.
        """
        if groups is None:
            return _resampler(records, samples, seed)
        return Resampler(_resampler(int(groups.max()) + 1, samples, seed).counts[:, groups])

    def scores(self, metric: str, rows: Array) -> Array:
        """Compute the score of each resample.

        Args:
            metric: Name of the metric.
            rows: Sums of each record (N, K).

        Returns:
            Scores (R,); nan for a resample without any record that counts.
        """
        return resampling.score(metric, self.counts @ rows)


@lru_cache(16)
def _resampler(records: int, samples: int, seed: int) -> Resampler:
    """Draw and count the records of each resample."""
    index = np.random.default_rng(seed).choice(records, size=(samples, records), replace=True)
    return Resampler(np.stack([np.bincount(row, minlength=records) for row in index]).astype(np.float64))


@dataclass(frozen=True)
class RunGroup:
    """The scores of a system's runs on one metric."""

    name: str
    scores: Array  # (S,) score of each run
    resampled: Array  # (S, R) score of each run on each resample

    @staticmethod
    def of(name: str, metric: str, runs: Sequence[Array], resampler: Resampler) -> RunGroup:
        """Score the runs of a system on all records and on each resample.

        Args:
            name: Name of the system.
            metric: Name of the metric.
            runs: Sums of each record (N, K), for each of the S runs.
            resampler: Resamples of the N records.
        """
        whole = np.array([resampling.score(metric, rows.sum(0)) for rows in runs])
        return RunGroup(name, whole, np.stack([resampler.scores(metric, rows) for rows in runs]))

    @property
    def runs(self) -> int:
        """The number of runs, S."""
        return len(self.scores)

    def drawn(self, random: np.random.Generator) -> Array:
        """Draw S - 1 runs for each resample.

        Args:
            random: Random generator.

        Returns:
            Mean score of the drawn runs (R,); the scores of the only run where S is 1.
        """
        if self.runs == 1:
            return np.asarray(self.resampled[0])
        samples = self.resampled.shape[1]
        chosen = random.integers(self.runs, size=(self.runs - 1, samples))
        return np.asarray(self.resampled[chosen, np.arange(samples)].mean(0))

    @property
    def seed_variance(self) -> float:
        """The variance between runs, s^2; 0 for one run."""
        return float(self.scores.var(ddof=1)) if self.runs > 1 else 0.0

    @property
    def interaction_variance(self) -> float:
        """The part of the variance that depends on seed and sentence together, Var(ab) of the mean over runs."""
        if self.runs == 1:
            return 0.0
        # Subtract the effect of the sentences on all runs; the rest is the interaction.
        apart = self.resampled - self.resampled.mean(0)
        return float(np.nanvar(apart, 1, ddof=1).mean() / (self.runs - 1))


def estimate(system: RunGroup, level: float = 0.95, seed: int = 12345) -> Estimate:
    """Estimate the score of a system with a confidence interval.

    Args:
        system: Scores of the system's runs.
        level: Confidence level.
        seed: Seed of the draws of runs.

    Returns:
        The mean over runs. The interval of a single run is the percentile interval over sentences. The interval of
        several runs is t's over seeds and sentences.
    """
    mean = float(system.scores.mean())
    if system.runs == 1:
        low, high = np.nanquantile(system.resampled[0], [(1 - level) / 2, (1 + level) / 2])
        return Estimate(mean, float(low), float(high), None, 1)
    # Compute t's interval over seeds and sentences.
    variance, freedom = _variance([system], system.drawn(np.random.default_rng(seed)))
    half = float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(variance))
    return Estimate(mean, mean - half, mean + half, float(system.scores.std(ddof=1)), system.runs)


def difference(a: RunGroup, b: RunGroup, level: float = 0.95, seed: int = 12345) -> Difference:
    """Test the difference between two systems on the same resamples of sentences.

    Two single runs: z = difference / sd of the resampled difference, compared with the normal distribution. This p is
    not bounded by the number of resamples, as a share of resamples is, and can be corrected for many pairs.
    (``sacrebleu_p`` is the test of sacreBLEU.) One run and two runs are tested in the same way, because two runs say
    too little about seeds; the result holds for these runs only. All other pairs: t, as the module describes.

    Args:
        a: First system.
        b: Second system.
        level: Confidence level of the interval.
        seed: Seed of the draws of runs.

    Returns:
        ``a`` minus ``b``; p is two-sided and not corrected.
    """
    random = np.random.default_rng(seed)
    d = float(a.scores.mean() - b.scores.mean())
    seeds = min(a.runs, b.runs) > 1 or max(a.runs, b.runs) > 2
    # Resample the difference.
    drawn = a.drawn(random) - b.drawn(random) if seeds else a.resampled.mean(0) - b.resampled.mean(0)
    # Test these runs only, with z.
    if not seeds:
        low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
        sd = float(np.nanstd(drawn, ddof=1))
        p = float(2 * stats.norm.sf(abs(d) / sd)) if sd > 0 else float(d == 0)
        return Difference(a.name, b.name, d, float(low), float(high), p, p, False)
    # Test the configurations, with t.
    variance, freedom = _variance([a, b], drawn)
    half = float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(variance))
    t = abs(d) / np.sqrt(variance) if variance > 0 else np.inf if d else 0.0
    p = float(2 * stats.t.sf(t, freedom))
    return Difference(a.name, b.name, d, d - half, d + half, p, p, True)


def sacrebleu_p(a: RunGroup, b: RunGroup) -> float:
    """Return p of sacreBLEU's paired bootstrap for two single runs.

    p is the share of resamples whose absolute difference exceeds the mean absolute difference by more than the absolute
    difference on all records. Unless the difference is small, this p is one-sided.

    Args:
        a: First system, of one run.
        b: Second system, of one run.
    """
    apart = np.abs(a.resampled[0] - b.resampled[0])
    real = abs(float(a.scores[0] - b.scores[0]))
    return (1 + int((apart - apart.mean() > real).sum())) / (1 + len(apart))


@dataclass(frozen=True)
class Randomiser:
    """Approximate randomisation (Riezler & Maxwell 2005, W05-0908).

    In each trial the two systems exchange their outputs of randomly chosen records. All pairs use the same trials.
    """

    sides: Array  # (R, N) 1 where the outputs of a record are not exchanged

    @staticmethod
    def of(records: int, trials: int = 1000, seed: int = 12345, groups: Groups | None = None) -> Randomiser:
        """Draw the exchanged records as sacreBLEU does.

        Args:
            records: N.
            trials: R.
            seed: Seed of the random generator.
            groups: Group of each record (N,), from 0 on; the records of a group are exchanged together. None exchanges
                each record by itself.
        """
        units = records if groups is None else int(groups.max()) + 1
        sides = np.random.default_rng(seed).integers(2, size=(trials, units), dtype=bool).astype(np.float64)
        return Randomiser(sides if groups is None else sides[:, groups])

    def kept_sums(self, rows: Array) -> Array:
        """Sum over the records that are not exchanged, for ``randomised_p``.

        Args:
            rows: Sums of each record (N, K).

        Returns:
            Sums in each trial (R, K).
        """
        return self.sides @ rows


def randomised_p(metric: str, a: tuple[Array, Array], b: tuple[Array, Array]) -> float:
    """Return p of approximate randomisation: the share of trials whose difference is at least the real one.

    Args:
        metric: Name of the metric.
        a: Sums of the first system over all records (K,), and its ``kept_sums`` (R, K).
        b: The same for the second system.
    """
    (all_a, stays_a), (all_b, stays_b) = a, b
    real = abs(float(resampling.score(metric, all_a) - resampling.score(metric, all_b)))
    # Score both systems after the exchange.
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
    """Test all pairs of systems, or each system against ``baseline``.

    Args:
        systems: Systems on the same metric and the same resamples.
        baseline: Name of the system that the others are tested against; None tests all pairs.
        level: Confidence level of the intervals.
        correction: Correction of p for the number of pairs.
        seed: Seed of the draws of runs.

    Returns:
        The differences; in pairs with ``baseline`` it is the second system.
    """
    # Put the baseline second in its pairs.
    pairs = [(a, b) for a, b in combinations(systems, 2) if baseline in (None, a.name, b.name)]
    if baseline is not None:
        pairs = [(b, a) if a.name == baseline else (a, b) for a, b in pairs]
    found = [difference(a, b, level, seed) for a, b in pairs]
    adjusted = corrected([one.p for one in found], correction)
    return [replace(one, adjusted=p) for one, p in zip(found, adjusted, strict=True)]


def corrected(p: Sequence[float], how: Correction = "holm") -> list[float]:
    """Correct the p-values of m tests for multiple testing.

    ``bonferroni``: m p. ``holm``: max_{j <= i} (m - j) p_(j) in ascending order from j = 0 (Holm 1979). Both are at
    most 1.

    Args:
        p: The m p-values.
        how: The correction; ``none`` returns ``p``.
    """
    values, m = np.asarray(p, np.float64), len(p)
    if how == "none":
        return [float(value) for value in values]
    if how == "bonferroni":
        return [float(value) for value in np.minimum(values * m, 1)]
    # Holm: correct in ascending order, and keep p monotonic.
    order = values.argsort(kind="stable")
    steps = np.minimum(np.maximum.accumulate(values[order] * (m - np.arange(m))), 1)
    found = np.empty(m)
    found[order] = steps
    return found.tolist()


def _variance(systems: Sequence[RunGroup], drawn: Array) -> tuple[float, float]:
    """Return V and its degrees of freedom (Welch and Satterthwaite; the number of sentences counts as infinite).

    V is the variance of the joint resamples minus 2 Var(ab), and at least the variance of the seeds. A system with one
    run is assumed to vary between seeds like the other system; its own Var(ab) is in the resamples.
    """
    several = [system for system in systems if system.runs > 1]
    of_seeds = [system.seed_variance / system.runs for system in several]
    variance = float(np.nanvar(drawn, ddof=1)) - 2 * sum(system.interaction_variance for system in several)
    if several and len(several) < len(systems):
        (other,) = several
        variance += max(0.0, other.seed_variance - other.interaction_variance * other.runs)
        of_seeds = [other.seed_variance * (1 + 1 / other.runs)]  # one estimate serves both systems
    variance = max(variance, sum(system.seed_variance / system.runs for system in several))
    below = sum(part**2 / (system.runs - 1) for part, system in zip(of_seeds, several, strict=True))
    return variance, variance**2 / below if below > 0 else np.inf
