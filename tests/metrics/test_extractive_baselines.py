"""Tests of lead, random and oracle summaries; the oracle equals a greedy search with ``rouge_score``."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from rouge_score.rouge_scorer import RougeScorer

from seq2seq.metrics import score
from seq2seq.metrics.extractive_baselines import (
    baselines,
    lead,
    lead_words,
    oracle,
    random_sentences,
    typical_sentences,
    typical_words,
)

DOCUMENT = "One two three.\nFour five.\nSix."


def test_lead_returns_the_first_sentences_or_words():
    assert lead([DOCUMENT, "Only one."]) == ["One two three.", "Only one."]
    assert lead([DOCUMENT, "Only one."], sentences=2) == ["One two three.\nFour five.", "Only one."]
    assert lead_words([DOCUMENT, "Only one.", ""], words=4) == ["One two three.\nFour", "Only one.", ""]
    assert lead_words([DOCUMENT], words=3) == ["One two three."]


def test_random_sentences_depend_only_on_the_seed_and_the_place():
    documents = ["\n".join(f"s{k}" for k in range(20))] * 50
    drawn = random_sentences(documents, sentences=3, seed=4)
    assert drawn == random_sentences(documents, sentences=3, seed=4)
    assert drawn[:10] == random_sentences(documents[:10], sentences=3, seed=4)
    assert drawn != random_sentences(documents, sentences=3, seed=5)
    assert len(set(drawn)) > 40
    for summary in drawn:
        places = [int(line[1:]) for line in summary.split("\n")]
        assert all(a < b for a, b in pairwise(places))
        assert len(places) == 3
    assert random_sentences(["a\nb"], sentences=5) == ["a\nb"]


def mean_rouge(summary: str, references: list[str]) -> float:
    found = RougeScorer(["rouge1", "rouge2"], use_stemmer=True).score_multi(references, summary)
    return (found["rouge1"].fmeasure + found["rouge2"].fmeasure) / 2


def plain_oracle(document: str, references: list[str], limit: int) -> str:
    """Return the summary of the greedy search with the scores of ``rouge_score``."""
    own, chosen, best = document.split("\n"), [], 0.0
    while len(chosen) < limit:
        tried = {
            place: mean_rouge("\n".join(own[k] for k in sorted([*chosen, place])), references)
            for place in range(len(own))
            if place not in chosen
        }
        if not tried or max(tried.values()) <= best + 1e-12:
            break
        best = max(tried.values())
        chosen.append(next(place for place, value in tried.items() if value > best - 1e-12))
    return "\n".join(own[place] for place in sorted(chosen))


def test_oracle_by_hand():
    document = "The weather was fine.\nThe mayor opened a bridge.\nIt cost three millions.\nPeople cheered."
    # the search adds the bridge (10/12 of the words), then the cost; the summary keeps the document's order
    assert oracle([document], [["It cost millions. The mayor opened the bridge"]]) == [
        "The mayor opened a bridge.\nIt cost three millions."
    ]
    assert oracle([document], [["The mayor opened the bridge, which cost millions"]], sentences=1) == [
        "The mayor opened a bridge."
    ]
    assert oracle([document], [["xyz"]]) == [""]
    assert oracle(["a b\nc d\na b"], [["a b"]]) == ["a b"]  # the first of two equal sentences, not both


@pytest.mark.parametrize("seed", range(8))
def test_oracle_equals_the_plain_greedy_search(seed):
    draw = random.Random(seed)
    vocabulary = [f"w{k}" for k in range(12)]
    document = "\n".join(" ".join(draw.choices(vocabulary, k=draw.randint(1, 6))) for _ in range(7))
    references = [" ".join(draw.choices(vocabulary, k=8)) for _ in range(1 + seed % 2)]
    assert oracle([document], [references]) == [plain_oracle(document, references, 7)]
    assert oracle([document], [references], sentences=2) == [plain_oracle(document, references, 2)]


def test_oracle_reads_other_scripts_with_the_unicode_tokenizer():
    assert oracle(["我们\n电影"], [["看电影"]]) == [""]
    assert oracle(["我们\n电影"], [["看电影"]], tokenize="unicode") == ["电影"]


def test_typical_lengths_are_medians_of_at_least_one():
    references = [["One. Two."], ["a\nb\nc", "x"], ["Just one here."]]
    assert typical_sentences(references) == 1  # the lower median of 1 1 2 3
    assert typical_words(references) == 2  # the lower median of 1 2 3 3
    assert typical_sentences([["a\nb\nc"]]) == 3
    assert typical_sentences([[""]]) == typical_words([[""]]) == 1


def test_baselines_are_as_long_as_the_references():
    documents = [DOCUMENT, "Seven eight nine.\nTen."]
    references = [["Four five.\nSix."], ["Ten.\nSeven."]]
    found = baselines(documents, references)
    assert found["lead_2"] == ["One two three.\nFour five.", documents[1]]
    assert found["lead_2_words"] == ["One two", "Seven eight"]
    assert list(found) == ["lead_2", "lead_2_words", "random_2", "oracle"]
    assert found["oracle"][0] == "Four five.\nSix."
    assert score(["rouge1"], found["oracle"][:1], references[:1])["rouge1"].score == pytest.approx(100)
    assert list(baselines(documents, references, sentences=1, words=12))[:3] == ["lead_1", "lead_12_words", "random_1"]
