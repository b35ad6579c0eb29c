"""Tests of ``TextCodec``: sentences of documents, out-of-vocabulary words and truncation."""

from __future__ import annotations

import pytest

from seq2seq.batch import BOS, EOS, PAD, UNK
from seq2seq.data.codec import TextCodec
from seq2seq.data.record_policy import Policy, Report
from seq2seq.data.tokenizer import Tokenizer

TEXTS = ["the cat sat on the mat .", "a dog ran on the mat ."]


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    """Return a tokenizer of words, trained on ``TEXTS``."""
    return Tokenizer.train(TEXTS, type="word", vocab_size=100)


def test_lines_are_sentences(words):
    codec = TextCodec(words, words, documents=True)
    example = codec({"source": "the cat sat .\n\na dog ran", "target": "the cat ran"})
    assert words.decode(example.source) == "the cat sat . a dog ran"
    assert example.sizes == [4, 4]  # the last sentence includes </s>
    assert words.decode(example.target) == "the cat ran" and example.target[0] == BOS and example.target[-1] == EOS


def test_out_of_vocabulary_words_get_ids_after_the_vocabulary_in_source_order(words):
    codec, size = TextCodec(words, words, copy=True), len(words)
    example = codec({"source": "Zork sat on Quux , Zork", "target": "Quux and Zork sat"})
    assert example.oov == ["▁Zork", "▁Quux", "▁,"]
    sat, on = words.encode("sat on")
    assert example.source == [UNK, sat, on, UNK, UNK, UNK, EOS]
    assert example.copies == [size, sat, on, size + 1, size + 2, size, PAD]
    assert example.target == [BOS, size + 1, UNK, size, sat, EOS]
    assert codec.text(example.target, example.oov) == "Quux <unk> Zork sat"
    assert words.words(example.target, example.oov) == [-1, 0, 1, 2, 3, -1]


def test_words_of_two_vocabularies_are_matched_by_spelling():
    source = Tokenizer.train(["red green blue"], type="word", vocab_size=100)
    target = Tokenizer.train(["rouge green bleu"], type="word", vocab_size=100)
    example = TextCodec(source, target, copy=True)({"source": "green red", "target": "green rouge"})
    green, rouge = target.encode("green rouge")
    assert example.copies == [green, len(target), PAD] and example.oov == ["▁red"]
    assert example.target == [BOS, green, rouge, EOS]


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char", "word"])
def test_words_without_known_pieces_are_copied_whole(kind):
    tokenizer = Tokenizer.train(TEXTS, type=kind, vocab_size=24)
    codec = TextCodec(tokenizer, tokenizer, copy=True)
    text = "the ☺☺ cat Ж sat"
    example = codec({"source": text, "target": text})
    assert UNK in example.source and UNK not in example.target
    assert codec.text(example.target, example.oov) == text
    assert list(example.copies[:-1]) == list(example.target[1:-1])


def test_sampled_segmentation_does_not_copy_unknown_pieces():
    tokenizer = Tokenizer.train(TEXTS, type="unigram", vocab_size=24)
    codec = TextCodec(tokenizer, tokenizer, copy=True)
    example = codec({"source": "the Жat sat", "target": "the Жat"}, (1, 1, 1))
    assert example.oov == () or example.oov == []
    assert [i for i, x in zip(example.copies, example.source, strict=True) if x == UNK] == [PAD]


def test_cutting_a_document_removes_its_last_sentences_and_unknown_words(words):
    codec, size = TextCodec(words, words, documents=True, copy=True), len(words)
    example = codec({"source": "Zork sat .\nQuux ran .", "target": "Quux Zork"})
    assert example.target == [BOS, size + 1, size, EOS]
    for most, sizes, own, target in (
        (7, [3, 4], ["▁Zork", "▁Quux"], [size + 1, size]),
        (5, [3, 2], ["▁Zork", "▁Quux"], [size + 1, size]),
        (4, [4], ["▁Zork"], [UNK, size]),  # </s> alone is not a sentence
        (3, [3], ["▁Zork"], [UNK, size]),
    ):
        short = example.cut(most)
        assert len(short.source) == len(short.copies) == sum(short.sizes) == most and short.source[-1] == EOS
        assert list(short.sizes) == sizes and list(short.oov) == own
        assert list(short.target) == [BOS, *target, EOS]


def test_policy_cuts_sources_and_reports_it(words):
    policy = Policy(max_source_tokens=6, max_source_sentences=2)
    codec, report = TextCodec(words, words, documents=True, copy=True, policy=policy), Report("test")
    record = {"source": "Zork sat .\nQuux ran .\nthe cat", "target": "Quux cat Zork"}
    example = codec(record, None, "a.jsonl:1", report)
    size = len(words)
    assert len(example.source) == 6 and example.sizes == [3, 3] and list(example.oov) == ["▁Zork", "▁Quux"]
    assert list(example.target) == [BOS, size + 1, *words.encode("cat"), size, EOS]
    assert report.counts == {"sources over 2 sentences": 1, "sources over 6 tokens": 1}
    assert len(codec.input("the cat\nsat").source) == 4
