"""Canary tests of sacreBLEU: a failing test reports what an upgrade has changed."""

from __future__ import annotations

import pytest
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from seq2seq.compat.sacrebleu import corpus_score, score_of_sums, sentence_statistics

TEXTS = ["the cat sat on it", "a dog", "no word is right"]
REFERENCES = [["the cat sat on a mat", "one dog", "nothing that fits"], ["the cat lay on it", None, "not a word"]]


def test_the_counts_of_bleu_have_the_known_order() -> None:
    # lengths of text and reference, matching n-grams, all n-grams
    expected = [5, 6, *(4, 3, 2, 1), *(5, 4, 3, 2)]
    assert sentence_statistics(BLEU(), TEXTS[:1], [REFERENCES[0][:1]]) == [expected], "sacreBLEU changed BLEU's counts"


@pytest.mark.parametrize("metric", [BLEU(force=True), CHRF(), TER()], ids=lambda metric: type(metric).__name__)
def test_the_counts_give_the_published_score(metric: Metric) -> None:
    name = type(metric).__name__
    rows = sentence_statistics(metric, TEXTS, REFERENCES)
    score = metric.corpus_score(TEXTS, REFERENCES).score
    assert len(rows) == len(TEXTS), f"sacreBLEU changed the counts of {name}"
    assert corpus_score(metric, rows) == score, f"sacreBLEU changed how {name} is computed from counts"
    sums = [sum(column) for column in zip(*rows, strict=True)]
    assert score_of_sums(metric, sums) == pytest.approx(score, rel=1e-12), f"sacreBLEU changed the sums of {name}"
