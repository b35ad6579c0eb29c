"""Tests of the tokenizer: round trips in many scripts, special tokens, words and state.

The tests of sampling are in test_sampling.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
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
    """Return a trained tokenizer of each type."""
    return Tokenizer.train(TEXTS, type=request.param, vocab_size=220)


def test_special_tokens_have_ids_0_to_3(tokenizer):
    assert (PAD, UNK, BOS, EOS) == (0, 1, 2, 3)
    assert tuple(tokenizer.pieces([PAD, UNK, BOS, EOS])) == SPECIALS


@pytest.mark.parametrize("text", TEXTS)
def test_round_trip_keeps_case_and_every_character(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_decoding_drops_special_tokens_and_stops_at_the_end_mark(tokenizer):
    ids = tokenizer.encode("Zwei Männer")
    assert tokenizer.decode([BOS, *ids, EOS, *ids, PAD, PAD]) == "Zwei Männer"
    assert tokenizer.decode([EOS]) == tokenizer.decode([]) == ""


def test_repeated_and_outer_spaces_are_removed(tokenizer):
    assert tokenizer.decode(tokenizer.encode("  Zwei   Männer ")) == "Zwei Männer"


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_of_a_word_spell_the_word(tokenizer, text):
    ids = tokenizer.encode(text)
    words = tokenizer.words([*ids, EOS])
    assert words[-1] == -1
    spelt = [""] * (max(words) + 1)
    for word, piece in zip(words, tokenizer.pieces(ids), strict=False):
        spelt[word] += piece.replace("▁", "")
    assert spelt == text.split(" ")


def test_word_numbers_match_the_decoded_text_for_unusual_ids():
    tokenizer = Tokenizer.train(TEXTS, type="char", vocab_size=220)
    space, a, z = (tokenizer.encode("Zwei")[0], tokenizer.encode("a")[1], tokenizer.encode("Z")[1])
    ids = [a, space, space, z, BOS, a, space]  # no first space, two in a row, a special token, a last space
    assert tokenizer.decode(ids) == "a Za"
    assert tokenizer.words(ids)[:6] == [0, 1, 1, 1, -1, 1]


def test_each_unknown_word_is_one_token():
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


def test_normalization_follows_the_option():
    assert Tokenizer.train(["ﬁn ½ é"], type="char", vocab_size=99, normalization="nfkc").encode("ﬁn") != []
    folding = Tokenizer.train(["fin fin"], type="char", vocab_size=99, normalization="nfkc")
    assert folding.decode(folding.encode("ﬁn")) == "fin"


def test_tokenizer_is_restored_from_its_state_tensor(tokenizer, tmp_path):
    torch.save({"source": tokenizer.state()}, tmp_path / "checkpoint")
    state = torch.load(tmp_path / "checkpoint", weights_only=True)["source"]
    assert state.dtype == torch.uint8 and state.dim() == 1
    back = Tokenizer.from_state(state)
    assert back == tokenizer and len(back) == len(tokenizer)
    assert back.encode(TEXTS[0]) == tokenizer.encode(TEXTS[0])


def test_training_is_deterministic():
    assert Tokenizer.train(TEXTS, vocab_size=160) == Tokenizer.train(TEXTS, vocab_size=160)
    assert Tokenizer.train(TEXTS, vocab_size=160) != Tokenizer.train(TEXTS[:-1], vocab_size=160)


def test_too_large_vocab_size_gives_the_largest_possible_vocabulary():
    assert 4 < len(Tokenizer.train(["one two three"], type="word", vocab_size=8000)) < 10


def test_vocab_size_too_small_for_the_characters_is_refused():
    with pytest.raises(UserError, match=r"data\.tokenizer\.vocab_size=10 is too small: .* take \d+"):
        Tokenizer.train(TEXTS, vocab_size=10)


def test_training_without_text_is_refused():
    with pytest.raises(UserError, match="empty"):
        Tokenizer.train([])


def test_model_files_are_checked(tmp_path: Path):
    with pytest.raises(UserError, match=r"no\.model: no such SentencePiece model"):
        Tokenizer.load(tmp_path / "no.model", "unigram")
    (tmp_path / "text.model").write_text("not a model")
    with pytest.raises(UserError, match="not a SentencePiece model"):
        Tokenizer.load(tmp_path / "text.model", "unigram")
    (tmp_path / "bpe.model").write_bytes(Tokenizer.train(TEXTS, type="bpe", vocab_size=160).model)
    with pytest.raises(UserError, match=r"bpe\.model can't be used: its type is bpe; set data\.tokenizer\.type=bpe"):
        Tokenizer.load(tmp_path / "bpe.model", "unigram")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"type": "subword"}, "^type=subword"),
        ({"type": "word", "sampling": 0.1}, "^sampling=0.1 needs"),
        ({"max_records": 0}, "^max_records=0"),
        ({"type": "word", "byte_fallback": True}, "^byte_fallback=True has no effect"),
        ({"type": "char", "split_digits": True}, "^split_digits=True has no effect"),
        ({"user_defined_symbols": ["New York"]}, "'New York' must be one word"),
        ({"user_defined_symbols": ["</s>"]}, "'</s>' must be"),
        ({"user_defined_symbols": ["a", "a"]}, "twice"),
    ],
)
def test_invalid_options_are_refused(options, named):
    with pytest.raises(UserError, match=named):
        TokenizerOptions(**options)


@pytest.mark.parametrize("type", [*SUBWORDS, "word"])
@pytest.mark.parametrize("white", ["\t", "\u00a0", "\u3000", "\x0b", "\x0c", "\x85", "\u2028", "\x1c", " \n "])
def test_any_white_space_separates_words(type, white):
    tokenizer = Tokenizer.train(TEXTS, type=type, vocab_size=220)
    text = f"{white}Zwei{white}Männer stehen{white}"
    assert tokenizer.encode(text) == tokenizer.encode("Zwei Männer stehen")
    assert tokenizer.spell(text) == tokenizer.spell("Zwei Männer stehen")
    if type in ("unigram", "bpe"):
        assert tokenizer.encode(text, (1, 2, 3)) == tokenizer.encode("Zwei Männer stehen", (1, 2, 3))


@pytest.mark.parametrize("type", [*SUBWORDS, "word"])
@pytest.mark.parametrize("normalization", ["identity", "nfkc", "nmt_nfkc", "nmt_nfkc_cf"])
def test_normalization_keeps_the_number_of_words(type, normalization):
    tokenizer = Tokenizer.train(TEXTS, type=type, vocab_size=250, normalization=normalization)
    # rules drop zero-width spaces and write the diaeresis and U+FDFA with spaces; U+2581 is SentencePiece's own space
    for text in ("a \u200b b", "x¨y ´ z", "a \ufdfa b", "a▁b ▁ c", "\ufeffa b", "a \x00 b\x00c"):
        words = tokenizer.words(tokenizer.encode(text))
        assert max(words) + 1 == len(text.split()), text


def test_space_mark_of_sentencepiece_in_a_text_becomes_an_underscore():
    tokenizer = Tokenizer.train(["one_two three"], type="char", vocab_size=50)
    assert tokenizer.decode(tokenizer.encode("one▁two three")) == "one_two three"


@pytest.mark.parametrize("error", [ValueError("b"), UserError("train.en:3: malformed"), KeyboardInterrupt()])
def test_errors_from_reading_the_texts_are_raised_unchanged(error):
    def texts() -> Iterator[str]:
        yield "one two"
        raise error

    with pytest.raises(type(error)) as raised:
        Tokenizer.train(texts())
    assert raised.value is error


@pytest.mark.parametrize("type", [*SUBWORDS, "word"])
def test_very_long_words_and_lines(type):
    text = "x" * 100_000 + " y" * 100_000
    tokenizer = Tokenizer.train([*TEXTS, text], type=type, vocab_size=250)
    ids = tokenizer.encode(text)
    assert max(tokenizer.words(ids)) + 1 == 100_001
    if type in ("unigram", "bpe"):
        text = text[90_000:110_000]
        assert max(tokenizer.words(tokenizer.encode(text, (0, 0, 0)))) + 1 == len(text.split())


@pytest.mark.parametrize("type", SUBWORDS)
def test_a_user_defined_symbol_stays_one_piece(type):
    symbols = ["<sep>", "a,b", "Zwei"]
    tokenizer = Tokenizer.train(TEXTS, type=type, vocab_size=250, user_defined_symbols=symbols)
    assert set(symbols) <= set(tokenizer.pieces(range(len(tokenizer))))
    for sample in (None, (1, 2, 3)) if type != "char" else (None,):
        pieces = tokenizer.pieces(ids := tokenizer.encode("Zwei<sep>Männer xa,by <sep> Zweig", sample))
        assert [piece for piece in pieces if piece in symbols] == ["Zwei", "<sep>", "a,b", "<sep>", "Zwei"]
        assert set(tokenizer.words(ids)) == {0, 1, 2, 3}


@pytest.mark.parametrize("type", SUBWORDS)
def test_byte_fallback_encodes_unknown_characters(type):
    tokenizer = Tokenizer.train(["one two three"] * 5, type=type, vocab_size=300, byte_fallback=True)
    text = "öne 😀two 漢字 t\x00e"
    for sample in (None, (1, 2, 3)) if type != "char" else (None,):
        ids = tokenizer.encode(text, sample)
        assert UNK not in ids
        assert tokenizer.decode(ids) == text
        assert max(tokenizer.words(ids)) == 3
    assert tokenizer.words(tokenizer.encode("ö"))[-2:] == [0, 0]  # both bytes belong to word 0


def test_invalid_bytes_decode_to_the_replacement_character():
    tokenizer = Tokenizer.train(["one two"] * 5, type="char", vocab_size=300, byte_fallback=True)
    start, end = (tokenizer.id(f"<0x{byte}>") for byte in ("C3", "B6"))
    assert tokenizer.decode([start, end]) == "ö"
    assert tokenizer.decode([start, *tokenizer.encode("o")]) == "\ufffd o"
    assert tokenizer.words([start, *tokenizer.encode("o"), end, start]) == [0, 1, 1, 1, 1]


@pytest.mark.parametrize("type", ["unigram", "bpe"])
def test_split_digits_makes_each_digit_a_piece(type):
    texts = ["in 1995 1996 1997 1998 1999", "in 1995 1995"] * 9
    plain = Tokenizer.train(texts, type=type, vocab_size=40)
    split = Tokenizer.train(texts, type=type, vocab_size=40, split_digits=True)
    assert max(map(len, plain.pieces(plain.encode("1995")))) > 2
    assert [piece.strip("▁") for piece in split.pieces(split.encode("1995")) if piece != "▁"] == list("1995")


def test_state_without_a_model_is_refused():
    for state in (b"", b"bpe\n", b"bpe\n\x00\x01", b"\xff\xfe", b"bpe\n" + bytes(100)):
        with pytest.raises(UserError, match="not a SentencePiece model"):
            Tokenizer.from_state(torch.tensor(list(state), dtype=torch.uint8))
