"""Tests of scores from sums: they equal the metrics' scores of a corpus and of records drawn from it."""

from __future__ import annotations

import numpy as np
import pytest

from seq2seq.metrics import MetricResult, resampling
from seq2seq.metrics import score as scored
from seq2seq.metrics.text import SCORERS

WORDS = ["a", "the", "cat", "dog", "sat", "on", "red", "mat", "big", "small", "ran", "to", "it", "was", "near"]
FUNCTIONS_OF_SUMS = [name for name in SCORERS if name not in ("meteor", "spice")]


def corpus(seed: int, size: int = 40) -> tuple[list[str], list[list[str]]]:
    draw = np.random.default_rng(seed)

    def text() -> str:
        return " ".join(draw.choice(WORDS, draw.integers(3, 12)))

    references = [[text() for _ in range(draw.integers(1, 4))] for _ in range(size)]
    hypotheses = [" ".join([*r[0].split()[: draw.integers(0, 9)], *text().split()]) for r in references]
    return hypotheses, references


@pytest.mark.parametrize("name", FUNCTIONS_OF_SUMS)
def test_scores_from_sums_equal_those_of_the_corpus(name: str) -> None:
    hypotheses, references = corpus(0)
    rows = np.array(scored([name], hypotheses, references)[name].per_record)
    assert len(rows) == len(hypotheses)
    expected = scored([name], hypotheses, references)[name].score
    assert resampling.score(name, rows.sum(0)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS_OF_SUMS if name != "cider"])  # cider needs the idf
def test_scores_from_sums_equal_those_of_records_drawn_with_repetition(name: str) -> None:
    hypotheses, references = corpus(1)
    rows = np.array(scored([name], hypotheses, references)[name].per_record)
    draws = np.random.default_rng(2).integers(len(rows), size=(3, len(rows)))
    expected = [scored([name], [hypotheses[n] for n in d], [references[n] for n in d])[name].score for d in draws]
    assert resampling.score(name, rows[draws].sum(1)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ["bleu", "bleu2", "bleu4"])
@pytest.mark.parametrize("text", ["", "zzz", "a zzz zzz zzz", "the cat sat on", "the cat", "z the cat sat on the mat"])
def test_bleu_from_sums_where_orders_of_n_grams_are_missing(name: str, text: str) -> None:
    references = [["the cat sat on the mat"]]
    rows = np.array(scored([name], [text], references)[name].per_record)
    assert resampling.score(name, rows.sum(0)) == pytest.approx(
        scored([name], [text], references)[name].score, abs=1e-9
    )


def test_by_record_returns_the_sums_of_each_record() -> None:
    """Records without a row and rows of zeros have no sums."""
    figures = {"a": MetricResult(0.5, "", [(1, 2), (0, 0)]), "b": MetricResult(1.0, "")}
    assert resampling.by_record(figures, 3) == [{"a": (1, 2)}, {}, {}]


def test_scores_of_shares_error_rates_and_perplexity_by_hand() -> None:
    assert resampling.score("pointing", [3, 4]) == 0.75
    assert resampling.score("aer_layer1", [[3, 4], [0, 2]]).tolist() == [0.25, 1.0]
    assert np.isnan(resampling.score("pointing", [0, 0]))
    assert resampling.score("perplexity", [6.0, 3]) == pytest.approx(np.exp(2))
    assert resampling.score("perplexity", [[1e6, 3], [0, 2]]).tolist() == [np.inf, 1]
    with pytest.raises(ValueError, match="does not follow from sums"):
        resampling.score("aer_uniform", [3, 4])
