"""Tests of the statistics: sacreBLEU and known theory, and simulations of equal systems."""

from __future__ import annotations

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest

from seq2seq.comparison.ranks import ranking
from seq2seq.comparison.statistics import (
    Randomiser,
    Resampler,
    RunGroup,
    compare,
    corrected,
    difference,
    estimate,
    randomised_p,
    sacrebleu_p,
)
from seq2seq.metrics import score
from tests.metrics.test_resampling import WORDS
from tests.sampling import mostly_slow

SAMPLES = 400


def translations(seed: int, wrong: float, size: int = 60) -> tuple[list[str], list[list[str]]]:
    """Return outputs with a share of wrong words, and references that are the same for every seed."""
    told, draw = np.random.default_rng(0), np.random.default_rng(seed)
    references = [" ".join(told.choice(WORDS, told.integers(5, 15))) for _ in range(size)]
    outputs = [
        " ".join(str(draw.choice(WORDS)) if draw.random() < wrong else word for word in text.split())
        for text in references
    ]
    return outputs, [[text] for text in references]


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
@pytest.mark.parametrize("wrong", [0.3, 0.33, 0.4])
def test_the_paired_bootstrap_equals_that_of_sacrebleu(metric: str, wrong: float) -> None:
    (one, references), (other, _) = translations(1, 0.3), translations(2, wrong)
    scorer = {"bleu": BLEU(force=True), "chrf": CHRF()}[metric]
    test = PairedTest(
        [("one", one), ("other", other)], {metric: scorer}, [[r[0] for r in references]], "bs", n_samples=SAMPLES
    )
    _, found = test()
    theirs = next(results for name, results in found.items() if name != "System")
    a, b = (np.array(score([metric], text, references)[metric].per_record) for text in (one, other))
    resampler = Resampler.of(len(a), SAMPLES)
    ours = [RunGroup.of(name, metric, [rows], resampler) for name, rows in (("one", a), ("other", b))]
    for system, result in zip(ours, theirs, strict=True):
        assert system.scores[0] == pytest.approx(result.score, abs=1e-6)
        assert system.resampled[0].mean() == pytest.approx(result.mean, abs=1e-3)  # sacreBLEU sums in 32 bits
    assert sacrebleu_p(*ours) == pytest.approx(theirs[1].p_value, abs=2 / SAMPLES)


@pytest.mark.parametrize("wrong", [0.3, 0.36])
def test_approximate_randomisation_equals_that_of_sacrebleu(wrong: float) -> None:
    (one, references), (other, _) = translations(1, 0.3), translations(2, wrong)
    test = PairedTest(
        [("one", one), ("other", other)],
        {"BLEU": BLEU(force=True)},
        [[r[0] for r in references]],
        "ar",
        n_samples=SAMPLES,
    )
    _, found = test()
    a, b = (np.array(score(["bleu"], text, references)["bleu"].per_record) for text in (one, other))
    randomiser = Randomiser.of(len(a), SAMPLES)
    ours = randomised_p("bleu", *((rows.sum(0), randomiser.kept_sums(rows)) for rows in (a, b)))
    assert ours == pytest.approx(found["BLEU"][1].p_value, abs=2 / SAMPLES)


def ties(
    runs: int, of_seeds: float, of_both: float, records: int = 150, times: int = 1000, *, others: int | None = None
) -> dict[str, float]:
    """Return how often equal systems are reported as different, at the level 0.05."""
    random, resampler = np.random.default_rng(3), Resampler.of(records, 300)
    wrong = {"ours": 0, "sacrebleu": 0, "covered": 0}
    for _ in range(times):
        common = random.normal(0, 1, records)
        systems = []
        for name, count in (("a", runs), ("b", others or runs)):
            values = common + random.normal(0, of_seeds, (count, 1)) + random.normal(0, of_both, (count, records))
            rows = [np.stack([v, np.ones(records)], 1) for v in values]
            systems.append(RunGroup.of(name, "recall", rows, resampler))
        found = difference(*systems)
        wrong["ours"] += found.p < 0.05
        wrong["covered"] += found.low <= 0 <= found.high
        wrong["sacrebleu"] += runs == 1 and sacrebleu_p(*systems) < 0.05
    return {name: count / times for name, count in wrong.items()}


@pytest.mark.parametrize(("runs", "of_seeds"), mostly_slow([(3, 0.1), (1, 0.0), (3, 0.0), (3, 1.0), (5, 0.1)], every=5))
def test_equal_systems_differ_as_often_as_the_level_says(runs: int, of_seeds: float) -> None:
    found = ties(runs, of_seeds, of_both=1.0)
    assert 0.03 <= found["ours"] <= 0.07
    assert 0.93 <= found["covered"] <= 0.97


@pytest.mark.parametrize("of_seeds", mostly_slow([0.0, 0.1, 1.0], every=3))
def test_one_run_and_several_equal_runs_do_not_differ_too_often(of_seeds: float) -> None:
    found = ties(1, of_seeds, of_both=1.0, others=3)
    assert 0.01 <= found["ours"] <= 0.07


def test_one_run_and_two_runs_are_compared_without_a_variance_of_seeds() -> None:
    """Two runs are too few to estimate the variance of seeds, so their mean is compared as one run."""
    random, resampler = np.random.default_rng(3), Resampler.of(150, 300)
    one, *two = (np.stack([random.normal(0, 1, 150), np.ones(150)], 1) for _ in range(3))
    a, b = RunGroup.of("a", "recall", [one], resampler), RunGroup.of("b", "recall", two, resampler)
    found = difference(a, b)
    as_one = difference(a, RunGroup.of("b", "recall", [np.mean(two, 0)], resampler))
    assert not found.seeds
    assert (found.difference, found.p) == (pytest.approx(as_one.difference), pytest.approx(as_one.p))
    assert difference(a, RunGroup.of("b", "recall", [one, *two], resampler)).seeds


@pytest.mark.parametrize("of_seeds", mostly_slow([0.0, 0.1, 0.3], every=3))
def test_two_equal_systems_of_two_seeds_do_not_differ_too_often(of_seeds: float) -> None:
    assert ties(2, of_seeds, of_both=1.0)["ours"] <= 0.07


def test_p_of_sacrebleu_is_one_sided() -> None:
    assert 0.08 < ties(1, 0.0, of_both=1.0)["sacrebleu"] < 0.13


def one_run(name: str, values: np.ndarray, samples: int = 1000) -> RunGroup:
    """Return a group of one run with one value for each record."""
    rows = np.stack([values, np.ones(len(values))], 1)
    return RunGroup.of(name, "recall", [rows], Resampler.of(len(values), samples))


def test_interval_of_many_values_equals_the_normal_interval() -> None:
    values = np.random.default_rng(0).gamma(2, size=800)
    error = values.std() / np.sqrt(len(values))
    found = estimate(one_run("one", values, 4000))
    expected = (values.mean() - 1.96 * error, values.mean() + 1.96 * error)
    assert (found.low, found.high) == pytest.approx(expected, abs=0.15 * error)
    assert estimate(one_run("one", np.full(7, 3.0))).low == estimate(one_run("one", np.full(7, 3.0))).high == 3


def test_a_paired_difference_removes_the_difficulty_of_documents() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 10, 400)  # how hard a document is
    a, b = (one_run(name, hard + gain + rng.normal(0, 1, 400)) for name, gain in (("a", 0.5), ("b", 0.0)))
    found, back = difference(a, b), difference(b, a)
    assert 0 < found.low < found.difference < found.high < 1
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))
    assert estimate(a).low < estimate(b).high  # the intervals of the two scores overlap


def constant_runs(name: str, *values: float) -> RunGroup:
    """Return a group of runs, each with equal records."""
    rows = [np.stack([np.full(20, value), np.ones(20)], 1) for value in values]
    return RunGroup.of(name, "recall", rows, Resampler.of(20, 4000))


def test_difference_of_runs_with_equal_records_equals_welch_s_test() -> None:
    from scipy.stats import ttest_ind

    one, other = (1.0, 1.4, 1.1), (1.9, 1.5, 1.6, 2.0)
    found = difference(constant_runs("one", *one), constant_runs("other", *other))
    expected = ttest_ind(one, other, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue, rel=0.1)  # the drawn seeds are random
    assert found.seeds
    assert estimate(constant_runs("one", *one)).sd == pytest.approx(np.std(one, ddof=1))


def test_one_run_has_no_variance_of_seeds() -> None:
    found = difference(constant_runs("a", 1.0), constant_runs("b", 1.0))
    assert (found.p, found.seeds) == (1.0, False)
    rows = np.stack([np.arange(20.0), np.ones(20)], 1)
    own = rows.sum(0), Randomiser.of(20, 50).kept_sums(rows)
    assert randomised_p("recall", own, own) == 1.0
    assert estimate(constant_runs("a", 1.0)).sd is None


def test_pairs_are_all_pairs_or_those_with_the_baseline() -> None:
    systems = [constant_runs(name, value) for name, value in (("a", 1.0), ("b", 2.0), ("c", 3.0))]
    assert [(d.a, d.b) for d in compare(systems)] == [("a", "b"), ("a", "c"), ("b", "c")]
    against = compare(systems, "b")
    assert [(d.a, d.b, d.difference) for d in against] == [("a", "b", -1.0), ("c", "b", 1.0)]


def test_corrections_by_hand() -> None:
    assert corrected([0.01, 0.04, 0.03, 0.005], "holm") == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert corrected([0.01, 0.4], "bonferroni") == pytest.approx([0.02, 0.8])
    assert corrected([0.5, 0.6], "bonferroni") == [1, 1]
    assert corrected([0.2, 0.1], "none") == [0.2, 0.1]


def test_ranks_equal_those_of_demsar_2006() -> None:
    """The ranks equal table 6 of Demsar 2006: four classifiers on fourteen datasets."""
    auc = np.array(
        [
            *([0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967]),
            *([0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931]),
            *([0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875]),
            *([1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669]),
            *([0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970]),
        ]
    )
    found = ranking(["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"], auc)
    assert found.ranks == pytest.approx({"C4.5+m+cf": 1.964, "C4.5+m": 2.0, "C4.5+cf": 2.893, "C4.5": 3.143}, abs=2e-3)
    assert found.critical == pytest.approx(1.25, abs=0.01)
    assert found.p < 0.05
    assert found.groups() == [("C4.5+m+cf", "C4.5")]


def test_p_of_ranks_equals_scipy_s_friedman_test() -> None:
    from scipy.stats import friedmanchisquare

    scores = np.random.default_rng(0).integers(0, 5, (8, 4)).astype(float)
    assert ranking(list("abcd"), scores).p == pytest.approx(friedmanchisquare(*scores.T).pvalue)
    assert ranking(["a", "b"], [[1, 2], [1, 2]], lower=True).ranks == {"a": 1.0, "b": 2.0}
    with pytest.raises(ValueError, match="two systems"):
        ranking(["a"], [[1], [2]])


def test_resamples_without_a_record_that_counts_are_skipped() -> None:
    """The share counts on two records of 200 only: about 0.13 of the resamples draw neither of them."""
    rows = np.zeros((200, 2))
    rows[3], rows[7] = (1, 1), (0, 2)
    resampler = Resampler.of(200, 1000)
    one = RunGroup.of("one", "copy_accuracy", [rows], resampler)
    assert 50 < np.isnan(one.resampled).sum() < 250
    found = estimate(one)
    assert found.score == pytest.approx(1 / 3) and (found.low, found.high) == (0, 1)
    other = RunGroup.of("other", "copy_accuracy", [rows * (0.5, 1)], resampler)
    apart = difference(one, other)
    assert 0 < apart.p < 1 and apart.low <= apart.difference <= apart.high
    several = RunGroup.of("several", "copy_accuracy", [rows, rows * (0.5, 1), rows], resampler)
    assert np.isfinite([estimate(several).low, estimate(several).high, difference(several, one).p]).all()
