"""Tests of figures that need gold annotations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from seq2seq.data.codec import TextCodec
from seq2seq.data.records import Record
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import UserError
from seq2seq.evaluation.gold_metrics import alignment_error, record_of, sentence_metrics
from seq2seq.generation.attention_map import AttentionMap
from seq2seq.metrics.gold import GoldLinks


def test_specials_of_a_document_belong_to_no_sentence() -> None:
    """``</s>``, in the second sentence, has most of the weight. Otherwise each word attends to its own sentence."""
    weights = np.array([[0.3, 0.1, 0.6], [0.1, 0.3, 0.6], [0.2, 0.2, 0.6]], dtype=np.float32)
    seen = AttentionMap(
        source=["a", "b", "</s>"],
        target=["a", "b", "</s>"],
        source_words=[0, 1, -1],
        target_words=[0, 1, -1],
        weights={"cross.0": weights[None]},
        layers=[weights],
        sentences=[0, 1, 1],
    )
    record: Any = {"source": "a\nb", "target": "a b", "origins": [0, 1]}
    found = sentence_metrics([seen], [record])
    assert {name: result.score for name, result in found.items() if "uniform" not in name} == {"sentence_recall": 1.0}


def test_error_of_the_posterior() -> None:
    """The weights choose a wrong word for the second target word, and the posterior the right one: AER 1/2 and 0."""
    weights = np.array([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.0, 0.0, 1.0]], dtype=np.float32)
    posterior = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.0, 0.0, 1.0]], dtype=np.float32)
    seen = AttentionMap(
        source=["a", "b", "</s>"],
        target=["x", "y", "</s>"],
        source_words=[0, 1, -1],
        target_words=[0, 1, -1],
        weights={},
        layers=[weights],
        posterior=posterior,
    )
    gold = GoldLinks.of(["a", "b"], ["x", "y"], [(0, 0), (1, 1)])
    found, _ = alignment_error([seen], [gold])
    assert (found["aer"].score, found["aer_posterior"].score) == (0.5, 0.0)
    without, _ = alignment_error([replace(seen, posterior=None)], [gold])
    assert "aer_posterior" not in without


def test_words_of_gold_links_are_letters_where_the_model_reads_letters() -> None:
    letters = Tokenizer.train(["ab c <PL>"], type="letters")
    codec = TextCodec(letters, letters)
    gold = GoldLinks.of(["a", "b", "␣", "c", "<PL>"], ["a"], [(0, 0)])
    assert record_of(gold, codec) == Record(source="ab c <PL>", target="a")
    with pytest.raises(UserError, match=r"alignment: ab c has words that are not letters.*of the source"):
        record_of(GoldLinks.of(["ab", "c"], ["a"], []), codec)
    words = Tokenizer.train(["ab c"], type="word")
    assert record_of(GoldLinks.of(["ab", "c"], ["c"], []), TextCodec(words, words)) == Record(source="ab c", target="c")
