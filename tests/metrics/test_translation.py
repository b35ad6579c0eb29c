"""Tests of BLEU, chrF and TER: n-gram counts by hand, and sacreBLEU's own functions."""

from __future__ import annotations

import math

import pytest
import sacrebleu

from seq2seq.errors import UserError
from seq2seq.metrics import score
from seq2seq.metrics.likelihood import perplexity, token_accuracy
from seq2seq.metrics.translation import bleu, chrf, present, ter

HYPOTHESES = ["The cat sat on the mat.", "It is raining", ""]
REFERENCES = [["The cat sits on the mat."], ["It rains."], ["Nothing."]]


def test_bleu_by_hand():
    # 7 tokens, as in the reference: precisions 6/7, 4/6, 2/5, 1/4, no brevity penalty
    expected = 100 * (6 / 7 * 4 / 6 * 2 / 5 * 1 / 4) ** 0.25
    assert bleu(HYPOTHESES[:1], REFERENCES[:1]).score == pytest.approx(expected)


def test_ter_by_hand():
    # one substitution in 6 blank-separated words
    assert ter(HYPOTHESES[:1], REFERENCES[:1]).score == pytest.approx(100 / 6)


def test_scores_equal_those_of_sacrebleu():
    streams = [[several[0] for several in REFERENCES]]
    scores = score(["bleu", "chrf", "ter"], HYPOTHESES, REFERENCES)
    assert scores["bleu"].score == pytest.approx(sacrebleu.corpus_bleu(HYPOTHESES, streams).score)
    assert scores["chrf"].score == pytest.approx(sacrebleu.corpus_chrf(HYPOTHESES, streams).score)
    assert scores["ter"].score == pytest.approx(sacrebleu.corpus_ter(HYPOTHESES, streams).score)


def test_signatures_have_the_form_of_sacrebleu():
    version = sacrebleu.__version__
    signature = bleu(HYPOTHESES, REFERENCES).signature
    assert signature == f"BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}"
    assert chrf(HYPOTHESES, REFERENCES).signature.startswith("chrF2|nrefs:1|case:mixed|eff:yes|nc:6|nw:0|")
    assert ter(HYPOTHESES, REFERENCES).signature.startswith("TER|nrefs:1|case:lc|tok:tercom|")


@pytest.mark.parametrize("metric", [bleu, chrf, ter])
def test_sentences_may_have_different_numbers_of_references(metric):
    ragged = [["A dog.", "The cat sat on the mat."], ["It is raining"]]
    result = metric(HYPOTHESES[:2], ragged)
    assert result.score == pytest.approx(0 if metric is ter else 100)
    assert "nrefs:var" in result.signature


def test_bleu_of_a_perfect_output_is_100_and_of_an_empty_output_0():
    assert score(["bleu", "chrf", "ter"], ["a b c d e"], [["a b c d e"]])["bleu"].score == pytest.approx(100)
    assert bleu([""], [["a b c d"]]).score == 0


def test_bleu_of_text_without_spaces_needs_the_tokenizer_of_its_language():
    assert (
        bleu(["我们去看电影"], [["我们去看电影"]]).score
        < 100
        == round(bleu(["我们去看电影"], [["我们去看电影"]], tokenize="zh").score)
    )


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: score(["bleu", "rogue"], ["a"], [["a"]]),
            "'rogue' is not a metric of outputs; choose from bleu, bleu_lc, chrf, ter",
        ),
        (lambda: bleu(["a"], [["a"], ["b"]]), "1 hypotheses but references for 2 sentences"),
        (lambda: chrf([], []), "no sentences"),
        (lambda: ter(["a", "b"], [["a"], []]), "sentence 2 has no reference"),
        (lambda: bleu(["a"], [["a"]], tokenize="14a"), "tokenizer '14a' is unknown; choose one of"),
    ],
)
def test_mistakes_are_refused_with_the_reason(call, said):
    with pytest.raises(UserError, match=said.replace("[", r"\[")):
        call()


def test_lower_cased_bleu_equals_that_of_sacrebleu():
    """The score equals sacreBLEU's with -lc: both sides are lower-cased, and the signature says so."""
    hypotheses, references = (
        ["A Man rides a bike .", "two dogs RUN fast"],
        [["a man rides a Bike ."], ["Two dogs run very fast"]],
    )
    expected = sacrebleu.BLEU(lowercase=True).corpus_score(hypotheses, [[r[0] for r in references]])
    found = score(["bleu", "bleu_lc"], hypotheses, references)
    assert found["bleu_lc"].score == pytest.approx(expected.score) and found["bleu"].score < found["bleu_lc"].score
    assert "case:lc" in found["bleu_lc"].signature


def test_perplexity_and_accuracy_by_hand():
    assert perplexity(10 * math.log(7), 10) == pytest.approx(7)
    assert perplexity(1e6, 1) == math.inf
    assert token_accuracy(3, 4) == 0.75


def test_an_empty_reference_among_several_is_ignored():
    """Every score equals that without the empty references, and sacreBLEU's with missing references."""
    hypotheses = ["the cat sat", "it is raining on the mat", "a b c d e"]
    padded = [["the cat sat on the mat", "", "  "], ["", "it rains on the mat", "it is raining"], ["", "a b c d f", ""]]
    there = [[text for text in several if text.strip()] for several in padded]
    names = ["bleu", "chrf", "ter", "rouge1", "rougeLsum", "cider", "bleu4", "rougeL_coco"]
    assert score(names, hypotheses, padded) == score(names, hypotheses, there)
    streams = [["the cat sat on the mat", "it rains on the mat", "a b c d f"], [None, "it is raining", None]]
    for name, library in (("bleu", sacrebleu.BLEU()), ("chrf", sacrebleu.CHRF()), ("ter", sacrebleu.TER())):
        expected = library.corpus_score(hypotheses, streams)
        assert score([name], hypotheses, padded)[name].score == pytest.approx(expected.score)


def test_an_empty_output_is_right_if_all_references_are_empty():
    """The score equals that with one empty reference: an empty output is right, and words are errors."""
    assert score(["bleu", "ter"], ["a b c d", "x"], [["a b c d", "a b c"], ["", ""]]) == score(
        ["bleu", "ter"], ["a b c d", "x"], [["a b c d", "a b c"], [""]]
    )
    assert bleu(["a b c d", ""], [["a b c d", "a b c"], ["", " "]]).score == pytest.approx(100)
    assert present(["", "a", " ", "b"]) == ["a", "b"] and present(["", " "]) == [""]
