"""Tests of symbols of strings: letters with their marks, features, spaces, and texts that come back unchanged."""

from __future__ import annotations

import pytest

from seq2seq.data.letters import features_in, has_feature, is_feature, symbols, written
from seq2seq.data.tokenizer import Tokenizer, TokenizerOptions
from seq2seq.errors import UserError

TEXTS = ["macht Aa", "Aa machen <V> <IMP> <2>", "<N> <PL> Haus", "k̃a e\u0301", "हिन्दी", "a<b", "👩‍👩‍👧 x"]


def test_symbols_by_hand() -> None:
    """A letter has its marks; a syllable of Devanagari is one symbol; only a space between letters is a symbol."""
    assert symbols("macht Aa") == ["m", "a", "c", "h", "t", "␣", "A", "a"]
    assert symbols(" ab <N>  <PL>") == ["a", "b", "<N>", "<PL>"]
    assert symbols("<N> ab c") == ["<N>", "a", "b", "␣", "c"]
    assert symbols("e\u0301k̃") == ["e\u0301", "k̃"]
    assert symbols("कि") == ["कि"]
    assert symbols("a<b> <c d>") == ["a", "<b>", "<", "c", "␣", "d", ">"]
    assert symbols("") == []


@pytest.mark.parametrize("text", TEXTS)
def test_symbols_keep_the_text(text: str) -> None:
    assert written(symbols(text)) == text


def test_features() -> None:
    assert features_in("ab <N> <AT+ABL>") == ["N", "AT+ABL"]
    assert has_feature("a <N>") and not has_feature("a < b>")
    assert is_feature("<N>") and not is_feature("<") and not is_feature("a<N>")


@pytest.mark.parametrize("text", TEXTS)
def test_a_tokenizer_of_letters_gives_texts_back(text: str) -> None:
    """Each symbol is a token and a word; a stored tokenizer is the same."""
    tokenizer = Tokenizer.train(TEXTS, type="letters")
    ids = tokenizer.encode(text)
    assert tokenizer.split(text) == tokenizer.words_of(ids) == symbols(text)
    assert tokenizer.words(ids) == list(range(len(ids)))
    assert tokenizer.decode(ids) == text
    assert Tokenizer.from_state(tokenizer.state()) == tokenizer
    assert len(tokenizer.spell(text)) == len(ids)


def test_a_letter_outside_the_vocabulary_is_one_unknown_token() -> None:
    tokenizer = Tokenizer.train(["ab"], type="letters")
    assert tokenizer.decode(tokenizer.encode("axxb")) == "a <unk> <unk> b"
    assert len(tokenizer.encode("axxb")) == 4


def test_source_and_target_have_different_types() -> None:
    options = TokenizerOptions(type="letters", target_type="word", joint=False)
    assert (options.type_of("source"), options.type_of("target")) == ("letters", "word")
    with pytest.raises(UserError, match=r"^target_type=word needs joint=false, because type=letters$"):
        TokenizerOptions(type="letters", target_type="word")
    with pytest.raises(UserError, match=r"^target_type=words is none of "):
        TokenizerOptions(type="letters", target_type="words", joint=False)
    with pytest.raises(UserError, match=r"^sampling=0.1 needs .* type=word has only one"):
        TokenizerOptions(type="bpe", target_type="word", joint=False, sampling=0.1)
