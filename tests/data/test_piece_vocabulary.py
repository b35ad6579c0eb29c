"""Tests of SentencePiece models of other origin: ids, spaces, unknown pieces and bytes equal those of the library."""

from __future__ import annotations

import io
from random import Random
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from seq2seq.batch import BOS, EOS, PAD, SPECIALS, UNK
from seq2seq.data.codec import TextCodec
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import UserError

TEXTS = ["a man walks a cat", "the cafe is near", "12 cats near the man"] * 20
TYPES = ("unigram", "bpe", "char", "word")
LETTERS = "amntheclfisrw12 é漢<>▁\t\u00a0\x00😀"
KINDS: dict[str, dict[str, Any]] = {
    "the library's own ids": {},
    "no specials": {"bos_id": -1, "eos_id": -1},
    "specials among the pieces": {"pad_id": 9, "unk_id": 4, "bos_id": 7, "eos_id": 12},
    "the same ids in another order": {"pad_id": 3, "unk_id": 0, "bos_id": 1, "eos_id": 2},
    "other spellings": {"pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3, "unk_piece": "[UNK]", "bos_piece": "[B]"},
    "unknown surface": {"unk_surface": " x y "},
    "suffixes": {"treat_whitespace_as_suffix": True},
    "no first mark": {"add_dummy_prefix": False},
    "white space kept": {"remove_extra_whitespaces": False},
    "control symbols": {"control_symbols": ["<sep>", "<cat>"]},
    "user-defined symbols": {"user_defined_symbols": ["<sep>"]},
    "bytes": {"byte_fallback": True, "vocab_size": 330},
    "normalised": {"normalization_rule_name": "nmt_nfkc_cf"},
}


def foreign(type: str, **options: Any) -> bytes:
    """Train a SentencePiece model with the library itself and return its content."""
    model = io.BytesIO()
    settings = {"vocab_size": 45, "hard_vocab_limit": False, "normalization_rule_name": "identity"} | options
    SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, model_type=type, minloglevel=2, **settings
    )
    return model.getvalue()


@pytest.fixture(scope="module", params=[(type, kind) for type in TYPES for kind in KINDS], ids=" ".join)
def model(request: pytest.FixtureRequest) -> tuple[Tokenizer, SentencePieceProcessor, dict[str, Any]]:
    """Return the tokenizer, the library's processor and the options of each model."""
    type, kind = request.param
    content = foreign(type, **KINDS[kind])
    return Tokenizer(content, type), SentencePieceProcessor(model_proto=content), KINDS[kind]


def texts() -> list[str]:
    """Return training texts and random texts."""
    random = Random(0)
    drawn = ["".join(random.choices(LETTERS, k=random.randint(1, 30))) for _ in range(60)]
    return [*TEXTS[:3], "the café is near", "ü", *filter(str.strip, drawn)]


def test_words_match_the_text_and_the_decoded_text(model):
    tokenizer, _, _ = model
    for text in texts():
        ids = tokenizer.encode(text)
        words = tokenizer.words([BOS, *ids, EOS])
        assert words[0] == words[-1] == -1
        assert max(words) + 1 == len(tokenizer.decode(ids).split(" ")) == len(text.split()), text
        assert [word for word in words if word >= 0] == sorted(word for word in words if word >= 0)
        assert max(map(int, ids)) < len(tokenizer) and not {PAD, BOS, EOS} & set(ids)


def test_words_match_the_decoded_text_for_any_ids(model):
    tokenizer, random = model[0], Random(1)
    for _ in range(100):
        ids = [i for i in random.choices(range(len(tokenizer)), k=12) if i != EOS]
        text = tokenizer.decode(ids)
        assert max(tokenizer.words(ids), default=-1) + 1 == len(text.split()) and text == " ".join(text.split())


def test_texts_without_unknown_letters_survive_a_round_trip(model):
    tokenizer, library, _ = model
    for text in TEXTS[:3]:
        assert tokenizer.decode(tokenizer.encode(text)) == text == library.decode(library.encode(text)).strip()


def test_pieces_equal_those_of_the_library_with_other_ids(model):
    tokenizer, library, _ = model
    assert tuple(tokenizer.pieces([PAD, UNK, BOS, EOS])) == SPECIALS
    specials = {library.pad_id(), library.unk_id(), library.bos_id(), library.eos_id()}
    others = [library.id_to_piece(i) for i in range(len(library)) if i not in specials]
    assert tokenizer.pieces(range(EOS + 1, len(tokenizer))) == others
    for text in TEXTS[:3]:
        expected = library.encode(text, out_type=str)
        expected = expected[:-1] if tokenizer.type == "word" and expected[-1] == "▁" else expected
        assert tokenizer.pieces(tokenizer.encode(text)) == expected
    again = Tokenizer.from_state(tokenizer.state())
    assert [again.encode(text) for text in texts()] == [tokenizer.encode(text) for text in texts()]


def test_spelt_pieces_match_the_encoded_ids(model):
    tokenizer, _, _ = model
    for text in texts():
        ids, spelt = tokenizer.encode(text), tokenizer.spell(text)
        assert len(ids) == len(spelt)
        assert all(tokenizer.id(piece) == i for i, piece in zip(ids, spelt, strict=True))


def test_sampled_segmentations_keep_the_words_and_the_text(model):
    tokenizer, _, kind = model
    if tokenizer.type not in ("unigram", "bpe"):
        return
    if tokenizer.type == "unigram" and kind == KINDS["no first mark"]:
        with pytest.raises(UserError, match=r"data\.tokenizer\.sampling.*--add_dummy_prefix=true"):
            tokenizer.check(sampling=True, documents=False)
        return
    tokenizer.check(sampling=True, documents=False)
    for number, text in enumerate(texts()):
        ids = tokenizer.encode(text, (1, 2, number))
        assert max(tokenizer.words(ids)) + 1 == len(text.split()), text
        assert tokenizer.decode(ids).replace("<unk>", "") == tokenizer.decode(tokenizer.encode(text)).replace(
            "<unk>", ""
        )


@pytest.mark.parametrize("type", ["unigram", "bpe"])
def test_model_with_pieces_of_several_words_is_refused(type, tmp_path):
    content = foreign(type, split_by_whitespace=False, vocab_size=90)
    (tmp_path / "own.model").write_bytes(content)
    with pytest.raises(UserError, match=r"own\.model can't be used: its piece .* holds several words.*by_whitespace"):
        Tokenizer.load(tmp_path / "own.model", type)


@pytest.mark.parametrize("type", TYPES)
def test_model_of_another_type_is_refused(type):
    content = foreign(type)
    for other in TYPES:
        if other != type:
            with pytest.raises(UserError, match=f"its type is {type}; set data.tokenizer.type={type}"):
                Tokenizer(content, other)


def test_truncated_models_are_refused():
    content, random = foreign("bpe"), Random(0)
    for _ in range(40):
        with pytest.raises(UserError):
            Tokenizer(content[: random.randrange(len(content) // 2)], "bpe")


def test_lines_of_a_document_need_a_space_mark_before_their_first_word():
    tokenizer = Tokenizer(foreign("bpe", add_dummy_prefix=False), "bpe")
    with pytest.raises(UserError, match=r"data\.documents=true.*--add_dummy_prefix=true"):
        tokenizer.check(sampling=False, documents=True)
    for kind in ("suffixes", "the library's own ids"):
        tokenizer = Tokenizer(foreign("bpe", **KINDS[kind]), "bpe")
        tokenizer.check(sampling=True, documents=True)
        codec = TextCodec(tokenizer, tokenizer, documents=True)
        ids = codec.input("the cafe is near\na man walks").source
        assert max(tokenizer.words(ids)) + 1 == 7
