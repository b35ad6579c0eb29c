"""Tests of ROUGE: counts by hand, and ``rouge_score`` called directly."""

from __future__ import annotations

import logging
import random
from importlib.metadata import version
from statistics import fmean

import pytest
from rouge_score.rouge_scorer import RougeScorer

from seq2seq.errors import UserError
from seq2seq.metrics import score
from seq2seq.metrics.summarisation import ROUGE, as_lines, rouge, rouge1, rouge_lsum, rouge_values, tokenizer

WORDS = "the The cats cat runs running ran, Dr. nationalities of 3.5 don't Zürich-West a b c"


def texts(seed: int, count: int = 30) -> list[str]:
    """Return random texts of one to four lines, some of them empty."""
    draw = random.Random(seed)
    return [
        "\n".join(" ".join(draw.choices(WORDS.split(), k=draw.randint(0, 9))) for _ in range(draw.randint(1, 4)))
        for _ in range(count)
    ]


def test_rouge_equals_rouge_score_called_directly():
    hypotheses, first, second = texts(1), texts(2), texts(3)
    references = [[a, b] if place % 3 else [a] for place, (a, b) in enumerate(zip(first, second, strict=True))]
    library = RougeScorer(list(ROUGE), use_stemmer=True)
    # the line break marks texts as split into lines, which rouge_score needs for Lsum
    hypotheses, references = ["\n" + text for text in hypotheses], [["\n" + text for text in r] for r in references]
    rows = [library.score_multi(several, text) for text, several in zip(hypotheses, references, strict=True)]
    found, values = score(ROUGE, hypotheses, references), rouge_values(ROUGE, hypotheses, references)
    for name in ROUGE:
        assert values[name] == pytest.approx([100 * row[name].fmeasure for row in rows], abs=1e-9)
        assert found[name].score == pytest.approx(100 * fmean(row[name].fmeasure for row in rows), abs=1e-9)
        assert score([name], hypotheses, references)[name] == found[name]


def test_rouge_by_hand():
    # the stems share 4 of 6 words, 1 of 5 pairs and a subsequence of 4 words
    found = score(ROUGE, ["The cats sat on the mat."], [["the cat is on a mat"]])
    assert found["rouge1"].score == pytest.approx(100 * 4 / 6)
    assert found["rouge2"].score == pytest.approx(100 * 1 / 5)
    assert found["rougeL"].score == found["rougeLsum"].score == pytest.approx(100 * 4 / 6)


def test_lsum_counts_the_union_of_the_words_that_sentences_share():
    # Lin 2004, 3.2: w1 w2 w3 w4 w5 against w1 w3 w8 w9 w5 and w1 w2 w6 w7 w8: the union is w1 w2 w3 w5
    reference, summary = "w1 w2 w3 w4 w5", "w1 w3 w8 w9 w5\nw1 w2 w6 w7 w8"
    assert rouge_lsum([summary], [[reference]]).score == pytest.approx(100 * 2 * (4 / 5 * 4 / 10) / (4 / 5 + 4 / 10))
    assert score(["rougeL"], [summary], [[reference]])["rougeL"].score == pytest.approx(100 * 2 * 3 / (5 + 10))


def test_lsum_splits_a_text_without_lines_into_sentences():
    first, second = "Dr. Ames met the board at 5 p.m. on Monday.", "The bridge, however, stays closed."
    assert as_lines(f"{first} {second}") == f"{first}\n{second}" == as_lines(f"{first}\n{second}")
    swapped = [[f"{second} {first}"]]
    assert rouge_lsum([f"{first} {second}"], swapped).score == pytest.approx(100)
    assert score(["rougeL"], [f"{first} {second}"], swapped)["rougeL"].score < 70


def test_each_kind_of_rouge_uses_its_best_reference():
    # "c b a" has all three words and no pair; "a b z" has one pair of two and two words of three
    found = score(["rouge1", "rouge2"], ["a b c"], [["c b a", "a b z"]])
    assert found["rouge1"].score == pytest.approx(100)
    assert found["rouge2"].score == pytest.approx(50)


def test_rouge_is_the_mean_over_documents():
    assert rouge_values(["rouge1"], ["a b", "", "a b c d"], [["a b"], ["a"], ["a b"]])["rouge1"] == pytest.approx(
        [100, 0, 100 * 4 / 6]
    )
    assert rouge1(["a b", "", "a b c d"], [["a b"], ["a"], ["a b"]]).score == pytest.approx((100 + 400 / 6) / 3)


def test_signatures_name_references_tokenizer_and_versions():
    one = f"f1|mean:documents|nrefs:1|refs:best|case:lc|tok:rouge-score|stem:porter|version:{version('rouge-score')}"
    assert rouge1(["a"], [["a"]]).signature == f"rouge1|{one}"
    sentences = f"sents:lines or sentencex.en.{version('sentencex')}"
    assert rouge_lsum(["a"], [["a"]]).signature == f"rougeLsum|{one}|{sentences}"
    found = rouge(["rougeLsum"], ["a", "b"], [["a", "b"], ["b"]], tokenize="unicode", language="de")["rougeLsum"]
    assert "|nrefs:var|" in found.signature
    assert "|tok:unicode|stem:no|" in found.signature
    assert "|sents:lines or sentencex.de." in found.signature


def test_other_scripts_need_the_unicode_tokenizer(caplog):
    hypotheses, references = ["पूर्व प्रधानमन्त्री शिंजो", "我们去看电影"], [["पूर्व प्रधानमन्त्री।"], ["我们看电影。"]]
    with caplog.at_level(logging.WARNING):
        assert rouge1(hypotheses, references).score == 0
    assert "2 of 2 references have words but no letter of a-z" in caplog.text
    caplog.clear()
    rouge1(["a", "b"], [["???"], ["Zürich"]])
    values = rouge_values(["rouge1"], hypotheses, references, tokenize="unicode")["rouge1"]
    assert not caplog.text
    assert values == pytest.approx([100 * 2 * 2 / (3 + 2), 100 * 2 * 5 / (6 + 5)])


def test_the_unicode_tokenizer_splits_words_of_any_script():
    split = tokenizer("unicode").tokenize
    assert split("Cristóbal's e-mail, 3×!") == ["cristóbal", "s", "e", "mail", "3"]
    assert split("GPU加速 สวัสดี") == ["gpu", "加", "速", "ส", "วั", "ส", "ดี"]
    assert tokenizer().tokenize("Cristóbal's running") == ["crist", "bal", "s", "run"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: rouge(["rouge3"], ["a"], [["a"]]), "'rouge3' is not a kind of ROUGE; choose from rouge1, rouge2"),
        (lambda: rouge1(["a"], [["a"], ["b"]]), "1 hypotheses but references for 2 sentences"),
        (lambda: rouge1([], []), "no sentences to score"),
        (lambda: rouge1(["a", "b"], [["a"], []]), "sentence 2 has no reference"),
        (
            lambda: rouge(["rouge1"], ["a"], [["a"]], tokenize="bert"),
            "tokenizer 'bert' is unknown; choose one of rouge, unicode",
        ),
        (lambda: score(["rougel"], ["a"], [["a"]]), "'rougel' is not a metric of outputs; choose from .*rougeLsum"),
    ],
)
def test_mistakes_are_refused_with_the_reason(call, said):
    with pytest.raises(UserError, match=said):
        call()
