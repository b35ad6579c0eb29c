"""Tests of collation: batches of examples and of new sources."""

from __future__ import annotations

import torch

from seq2seq.batch import BOS, EOS, PAD
from seq2seq.data.codec import TextCodec
from seq2seq.data.collate import batches_of, collate, filler
from seq2seq.data.example import Example
from seq2seq.data.record_policy import Policy, Report
from seq2seq.data.tokenizer import Tokenizer


def test_collate_by_hand():
    batch = collate([Example([5, EOS], [BOS, 8, 9, EOS]), Example([6, 7, EOS], [BOS, EOS])], [4, 2])
    assert batch.source.tolist() == [[5, EOS, PAD], [6, 7, EOS]]
    assert batch.target.tolist() == [[BOS, 8, 9, EOS], [BOS, EOS, PAD, PAD]]
    assert batch.index.tolist() == [4, 2]
    assert batch.target_tokens == 4 == int(batch.target_mask.sum())
    assert batch.source.dtype == batch.target.dtype == batch.index.dtype == torch.long


def test_filler_batch_has_no_target_tokens():
    assert filler().target_tokens == int(filler().target_mask.sum()) == 0
    assert filler().source_mask.any() and filler().index.tolist() == [-1]


def test_collate_documents_with_words_to_copy_by_hand():
    first = Example([5, EOS], [BOS, 9, EOS], [2], [8, PAD], [])
    second = Example([6, 7, 6, EOS], [BOS, 20, EOS], [1, 3], [20, 21, 20, PAD], ["a", "b"])
    batch = collate([first, second], [0, 1])
    assert batch.segments is not None and batch.copies is not None
    assert batch.segments.tolist() == [[0, 0, -1, -1], [0, 1, 1, 1]]
    assert batch.copies.ids.tolist() == [[8, PAD, PAD, PAD], [20, 21, 20, PAD]]
    assert batch.copies.num_oov == 2 and batch.words(1) == ("a", "b")
    moved = batch.to("cpu")
    assert moved.copies is not None and moved.copies.num_oov == 2 and moved.oov == batch.oov


def test_new_sources_keep_their_index_and_empty_lines_are_skipped():
    """Batches have the indices of the sources in the list; no batch has an empty source."""
    tokenizer = Tokenizer.train(["a b c d e"], type="word", vocab_size=20)
    texts = ["a", "", "a b c d e", "  ", "b c", "d x"]
    batches = list(batches_of(texts, TextCodec(tokenizer, tokenizer), max_tokens=9))
    decoded = {
        int(i): tokenizer.decode(row) for b in batches for i, row in zip(b.index, b.source.tolist(), strict=True)
    }
    assert decoded == {0: "a", 2: "a b c d e", 4: "b c", 5: "d <unk>"}
    assert all(batch.target is None and batch.source.numel() <= 9 for batch in batches)
    assert list(batches_of(["", " "], TextCodec(tokenizer, tokenizer), 9)) == []


def test_unusable_and_long_new_sources_are_reported(caplog):
    tokenizer = Tokenizer.train(["a b c d e"], type="word", vocab_size=20)
    codec = TextCodec(tokenizer, tokenizer, policy=Policy(max_source_tokens=3))
    texts = ["a b", "a\ud800", "a b c d", "a\0", "e"]
    batches = list(batches_of(texts, codec, max_tokens=100, first=10, report=Report("input")))
    assert {int(i): n for b in batches for i, n in zip(b.index, b.source_mask.sum(1).tolist(), strict=True)} == {
        0: 3, 2: 3, 4: 2
    }  # fmt: skip
    assert caplog.messages == [
        "input 12: half a surrogate pair; its output is empty",
        "input 14: a NUL character; its output is empty",
        "input: 1 sources over 3 tokens, cut: input 13",
    ]
