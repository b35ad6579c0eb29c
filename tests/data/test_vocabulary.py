"""Tests of training vocabularies: texts are drawn from the whole split, and unknown tokens are reported."""

from __future__ import annotations

import logging

import pytest

from seq2seq.data.tokenizer import Tokenizer
from seq2seq.data.vocabulary import UnknownTokens, draw, fitting_size, warnings
from seq2seq.errors import UserError
from tests.data.conftest import sentences, write


def test_draw_returns_all_of_few_items_in_order():
    assert draw(range(7), 7) == draw(range(7), 100) == list(range(7))
    assert draw([], 3) == []


def test_draw_returns_each_of_many_items_equally_often():
    counts = [0] * 20
    for trial in range(2000):  # draw takes the same places each time, so rotate the items
        for item in draw([(item + trial) % 20 for item in range(20)], 5):
            counts[item] += 1
    assert all(abs(count - 500) < 1 for count in counts)  # 5 places, each 100 times with each item
    drawn = draw(range(100_000), 1000)
    assert drawn == draw(range(100_000), 1000) and len(set(drawn)) == 1000
    tenths = [sum(low <= item < low + 10_000 for item in drawn) for low in range(0, 100_000, 10_000)]
    assert all(abs(count - 100) < 5 * 100**0.5 for count in tenths)  # five deviations of a binomial


def test_tokenizer_learns_from_all_parts_of_the_split(make, folder):
    write(folder, "train", a=["alpha beta"] * 500 + ["gamma delta"] * 500, b=["x y"] * 1000)
    tokenizer = make({"max_records": 50}).source_tokenizer
    assert {"▁alpha", "▁gamma", "▁delta"} <= set(tokenizer.pieces(range(len(tokenizer))))


def test_share_of_unknown_tokens_is_reported_with_examples(make, folder, caplog):
    write(folder, "train", a=["aa bb"] * 30, b=["x y"] * 30)
    write(folder, "val", a=["aa ü bb"] * 3 + ["aa ß"], b=["x y"] * 4)
    with caplog.at_level(logging.WARNING):
        make({"type": "char"}).setup(["train", "valid"])
        make({"type": "char"}).setup(["train", "valid"])  # from the cache
    # by hand: 3 x (▁ a a ▁ ü ▁ b b </s>) + (▁ a a ▁ ß </s>) = 33 tokens, 4 of them unknown
    line = (
        "valid: 12.1 % of the source's tokens are <unk>, most often ü ß; "
        "a tokenizer trained with data.tokenizer.byte_fallback=true leaves none"
    )
    assert caplog.messages == [line, line]
    caplog.clear()
    make({"type": "char", "byte_fallback": True, "vocab_size": 300}).setup(["train", "valid"])
    assert not caplog.messages


@pytest.mark.parametrize(("known", "reported"), [(99, False), (98, True)])
def test_one_percent_of_unknown_tokens_is_tolerated(known, reported):
    tokenizer, unknown = Tokenizer.train(["a b"], type="word", vocab_size=9), UnknownTokens()
    text = " ".join(["a"] * known + ["c"])
    unknown.add(tokenizer, text, tokenizer.encode(text))
    assert bool(warnings("valid", {"target": unknown.as_dict()}, {"target": tokenizer})) is reported


def test_unknown_words_are_reported_whole():
    tokenizer, unknown = Tokenizer.train(["a b"], type="word", vocab_size=9), UnknownTokens()
    unknown.add(tokenizer, "a cat b", tokenizer.encode("a cat b"))
    assert unknown.as_dict() == {"tokens": 3, "unknown": 1, "found": ["cat"]}


def test_split_without_usable_records_is_refused_with_its_counts(make, folder):
    write(folder, "train", a=["", " ", "one"], b=["x", "y", "\t"])
    with pytest.raises(UserError, match=r"train\.a with .*train\.b has no record.*: train: 3 empty, dropped: train"):
        make().setup()
    write(folder, "train", a=["long " * 50] * 2, b=["x"] * 2)
    with pytest.raises(UserError, match=r"no record that can be used .*: train: 2 too long, dropped: train\.a:1, "):
        make(max_length=20).setup()
    write(folder, "train", a=[], b=[])
    with pytest.raises(UserError, match=r"no record that can be used .*: it is empty"):
        make().setup()


def test_data_errors_are_raised_during_training_of_a_tokenizer(make, folder):
    write(folder, "train", a=sentences(5, 1), b=sentences(4, 1))
    with pytest.raises(UserError, match=r"^train\.a:5: without a counterpart \(train\)"):
        make().setup()


@pytest.mark.parametrize(
    ("characters", "size"),  # 4,000 pieces need 300 characters each, 1,200,000 in all
    [(1, 2000), (1_199_999, 2000), (1_200_000, 4000), (2_399_999, 4000), (2_400_000, 8000), (9_000_000, 8000)],
)
def test_fitting_size_by_hand(characters, size):
    lines, rest = divmod(characters, 1000)
    texts = ["ab " * 333 + "c"] * lines + ["x" * rest]
    assert fitting_size(texts, "unigram") == fitting_size(texts, "bpe") == size
    assert fitting_size(texts, "word") == fitting_size(texts, "char") == 8000


def test_fitting_size_has_room_for_all_characters(make, folder):
    letters = "".join(chr(0x4E00 + i) for i in range(2600))
    assert fitting_size([letters], "unigram") == 5200
    lines = [letters[i : i + 20] for i in range(0, 2600, 20)]
    write(folder, "train", a=lines, b=lines)
    corpus = make({"type": "unigram", "joint": True, "vocab_size": None})
    assert 2600 < len(corpus.codec.tokenizers["source"]) <= 5200


def test_corpus_without_vocab_size_uses_the_fitting_size(make, folder):
    lines = [f"{a} {b}" for a in range(100, 400) for b in range(1000, 1100)]  # 30,000 lines of 8 characters
    write(folder, "train", a=lines, b=lines)
    sizes = [len(make({"type": "bpe", "joint": joint, "vocab_size": None}).source_tokenizer) for joint in (True, False)]
    assert max(sizes) <= 2000
    assert len(make({"type": "bpe", "joint": True, "vocab_size": 300}).source_tokenizer) == 300
