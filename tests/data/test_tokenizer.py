"""Round trips in many scripts, specials, words, state; sampling is in test_sampling.py."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import sentencepiece
import torch

from seq2seq.batch import BOS, EOS, PAD, SPECIALS, UNK
from seq2seq.data.tokenizer import Tokenizer, TokenizerOptions
from seq2seq.errors import UserError

TEXTS = [
    'The quick brown fox, isn\'t it? "Yes" – it’s (very) quick!',
    "Zwei Männer stehen am Ufer; Größe: ½ m² … ﬁn",
    "我们 今天去北京看长城。",
    "ذهب الولدُ إلى المدرسةِ اليوم",
    "क्या हिन्दी में संयुक्ताक्षर ठीक हैं",
    "e\u0301te\u0301 n\u0303a (combining marks stay apart from é ñ)",
    "emoji 👩‍👩‍👧 and 🇫🇷 flags",
]
SUBWORDS = ["unigram", "bpe", "char"]


@pytest.fixture(scope="module", params=[*SUBWORDS, "word"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer.train(TEXTS, type=request.param, vocab_size=220)


def test_specials_have_the_numbers_of_batch(tokenizer):
    assert (PAD, UNK, BOS, EOS) == (0, 1, 2, 3)
    assert tuple(tokenizer.pieces([PAD, UNK, BOS, EOS])) == SPECIALS


@pytest.mark.parametrize("text", TEXTS)
def test_round_trip_keeps_case_and_every_character(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_decoding_drops_specials_and_stops_at_the_end(tokenizer):
    ids = tokenizer.encode("Zwei Männer")
    assert tokenizer.decode([BOS, *ids, EOS, *ids, PAD, PAD]) == "Zwei Männer"
    assert tokenizer.decode([EOS]) == tokenizer.decode([]) == ""


def test_spaces_are_folded_and_nothing_else(tokenizer):
    assert tokenizer.decode(tokenizer.encode("  Zwei   Männer ")) == "Zwei Männer"


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_make_up_their_words(tokenizer, text):
    ids = tokenizer.encode(text)
    words = tokenizer.words([*ids, EOS])
    assert words[-1] == -1
    spelt = [""] * (max(words) + 1)
    for word, piece in zip(words, tokenizer.pieces(ids), strict=False):
        spelt[word] += piece.replace("▁", "")
    assert spelt == text.split(" ")


def test_word_places_agree_with_decoded_text_whatever_a_model_says():
    tokenizer = Tokenizer.train(TEXTS, type="char", vocab_size=220)
    space, a, z = (tokenizer.encode("Zwei")[0], tokenizer.encode("a")[1], tokenizer.encode("Z")[1])
    ids = [a, space, space, z, BOS, a, space]  # no space first, two in a row, a special, one at the end
    assert tokenizer.decode(ids) == "a Za"
    assert tokenizer.words(ids)[:6] == [0, 1, 1, 1, -1, 1]


def test_every_unknown_word_is_a_token_of_its_own():
    tokenizer = Tokenizer.train(["one two three"], type="word", vocab_size=50)
    ids = tokenizer.encode("one four five three")
    assert [i == UNK for i in ids] == [False, True, True, False]
    assert tokenizer.decode(ids) == "one <unk> <unk> three"
    assert tokenizer.words(ids) == [0, 1, 2, 3]


@pytest.mark.parametrize("type", SUBWORDS)
def test_unknown_characters_stay_inside_their_word(type):
    tokenizer = Tokenizer.train(["abc bca cab abc"], type=type, vocab_size=20)
    ids = tokenizer.encode("abüc")
    assert UNK in ids
    assert tokenizer.decode(ids) == "ab<unk>c"
    assert set(tokenizer.words(ids)) == {0}


def test_normalization_is_the_users_choice():
    assert Tokenizer.train(["ﬁn ½ é"], type="char", vocab_size=99, normalization="nfkc").encode("ﬁn") != []
    folding = Tokenizer.train(["fin fin"], type="char", vocab_size=99, normalization="nfkc")
    assert folding.decode(folding.encode("ﬁn")) == "fin"


def test_state_is_a_tensor_that_brings_it_all_back(tokenizer, tmp_path):
    torch.save({"source": tokenizer.state()}, tmp_path / "checkpoint")
    state = torch.load(tmp_path / "checkpoint", weights_only=True)["source"]
    assert state.dtype == torch.uint8 and state.dim() == 1
    back = Tokenizer.from_state(state)
    assert back == tokenizer and len(back) == len(tokenizer)
    assert back.encode(TEXTS[0]) == tokenizer.encode(TEXTS[0])


def test_training_is_deterministic():
    assert Tokenizer.train(TEXTS, vocab_size=160) == Tokenizer.train(TEXTS, vocab_size=160)
    assert Tokenizer.train(TEXTS, vocab_size=160) != Tokenizer.train(TEXTS[:-1], vocab_size=160)


def test_a_vocabulary_larger_than_the_text_allows_is_as_large_as_it_can_be():
    assert 4 < len(Tokenizer.train(["one two three"], type="word", vocab_size=8000)) < 10


def test_a_vocabulary_too_small_for_the_characters_names_the_option():
    with pytest.raises(UserError, match=r"data\.tokenizer\.vocab_size=10 is too small: .* take \d+"):
        Tokenizer.train(TEXTS, vocab_size=10)


def test_no_text_is_an_error_of_the_users():
    with pytest.raises(UserError, match="empty"):
        Tokenizer.train([])


def test_model_files_are_checked(tmp_path: Path):
    with pytest.raises(UserError, match=r"no\.model: no such SentencePiece model"):
        Tokenizer.load(tmp_path / "no.model", "unigram")
    (tmp_path / "text.model").write_text("not a model")
    with pytest.raises(UserError, match="not a SentencePiece model"):
        Tokenizer.load(tmp_path / "text.model", "unigram")
    foreign = io.BytesIO()  # with the library's own numbers for specials
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=foreign, vocab_size=115, minloglevel=2
    )
    (tmp_path / "foreign.model").write_bytes(foreign.getvalue())
    with pytest.raises(UserError, match="--pad_id=0 --unk_id=1"):
        Tokenizer.load(tmp_path / "foreign.model", "unigram")
    (tmp_path / "bpe.model").write_bytes(Tokenizer.train(TEXTS, type="bpe", vocab_size=160).model)
    with pytest.raises(UserError, match="type=unigram"):
        Tokenizer.load(tmp_path / "bpe.model", "unigram")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"type": "subword"}, "data.tokenizer.type=subword"),
        ({"type": "word", "sampling": 0.1}, "data.tokenizer.sampling"),
    ],
)
def test_options_that_contradict_are_refused(options, named):
    with pytest.raises(UserError, match=named):
        TokenizerOptions(**options)
