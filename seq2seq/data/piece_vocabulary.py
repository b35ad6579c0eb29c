"""The pieces of a SentencePiece model under the ids of ``seq2seq.batch``, whatever ids the model itself gives them.

``<pad> <unk> <s> </s>`` are 0 to 3; the other pieces follow in the model's oov order. A model trained here has these
ids already. One from elsewhere may number its specials otherwise, or lack some of them.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from sentencepiece import SentencePieceProcessor

from seq2seq.batch import BOS, EOS, PAD, SPECIALS, UNK
from seq2seq.errors import UserError

SPACE = "▁"  # U+2581, how SentencePiece writes the space before (or after) a word
TYPES = ("unigram", "bpe", "word", "char")  # in the order of the library's numbers, from 1
STAND_IN = "_"  # for U+2581 in a text, which SentencePiece takes for a space, and for words of nothing visible
USER_DEFINED = 4  # the library's number for pieces that are taken from a text as they stand
TRAINER, NORMALIZER, DENORMALIZER = 2, 3, 5  # fields of the library's ModelProto,
MODEL_TYPE, CHARSMAP, DUMMY_PREFIX = 3, 2, 3  # of TrainerSpec, and of NormalizerSpec


class PieceVocabulary:
    """The vocabulary of a SentencePiece model.

    Args:
        model: The content of a SentencePiece model file.

    Raises:
        UserError: ``model`` is not such a model, or has pieces that no single word can own.
    """

    def __init__(self, model: bytes) -> None:
        try:
            self.processor = SentencePieceProcessor()
            self.processor.load_from_serialized_proto(model)
            fields = dict(_fields(model))  # of repeated ones the last
            trainer, normalizer = (dict(_fields(fields.get(n, b""))) for n in (TRAINER, NORMALIZER))
            denormalizer = dict(_fields(fields.get(DENORMALIZER, b"")))
            self.type = TYPES[int(trainer.get(MODEL_TYPE, 1)) - 1]
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            raise UserError("it is not a SentencePiece model") from error
        self.normalizes = bool(normalizer.get(CHARSMAP))  # changes more than white space
        self.marks_first = bool(normalizer.get(DUMMY_PREFIX, 1))  # the first word has a space mark like all others
        p = self.processor
        specials = [p.pad_id(), p.unk_id(), p.bos_id(), p.eos_id()]  # -1 where there is none
        self._theirs = [*specials, *sorted(set(range(len(p))) - set(specials))]
        self._ours = {theirs: ours for ours, theirs in enumerate(self._theirs)}
        self._same = self._theirs == list(range(len(p)))
        self.bytes = {self._ours[i]: int(p.id_to_piece(i)[1:-1], 16) for i in range(len(p)) if p.is_byte(i)}
        self._check(bool(denormalizer.get(CHARSMAP)))
        self._model = model

    def __len__(self) -> int:
        return len(self._theirs)

    def _check(self, denormalizes: bool) -> None:
        """Refuse the models whose output can't be told word by word."""
        if denormalizes:
            raise UserError("its denormalization rules rewrite whole outputs: train it without them")
        for piece in self.spelling[EOS + 1 :]:
            if len(piece.replace(SPACE, " ").split()) > 1:
                raise UserError(
                    f"its piece {piece!r} holds several words, so that attention can't be told word by word: "
                    "train it with --split_by_whitespace=true"
                )
        if self.type != "word" and not self.bytes and not {SPACE, " "} & set(self.spelling):
            raise UserError(f"it has no piece for a space ({SPACE}): train it with --add_dummy_prefix=true")

    @cached_property
    def spelling(self) -> list[str]:
        """How each id is written."""
        return [*SPECIALS, *(self.processor.id_to_piece(i) for i in self._theirs[EOS + 1 :])]

    @cached_property
    def surface(self) -> list[str | None]:
        """What each id adds to a text; None for those that say nothing: specials and control symbols."""
        unknown = f" {SPECIALS[UNK]} " if self.type == "word" else SPECIALS[UNK]  # a word, or a part of one
        said: list[str | None] = [piece.replace(SPACE, " ") for piece in self.spelling]
        for ours, theirs in enumerate(self._theirs):
            if ours in (PAD, BOS, EOS) or (ours != UNK and self.processor.is_control(theirs)):
                said[ours] = None
        said[UNK] = unknown
        return said

    @cached_property
    def symbols(self) -> list[str]:
        """The user-defined symbols, longest first: each stays one piece wherever it stands in a text."""
        entries = (dict(_fields(value)) for number, value in _fields(self._model) if number == 1)
        found = [_text(entry[1]) for entry in entries if entry.get(3) == USER_DEFINED]
        return sorted(found, key=len, reverse=True)

    def encode(self, text: str) -> list[int]:
        """Ids of the likeliest segmentation of ``text``."""
        ids: list[int] = self.processor.encode(text)
        return ids if self._same else self.numbered(ids)

    def numbered(self, ids: Iterable[int]) -> list[int]:
        """The model's own ids as ours."""
        return [self._ours[i] for i in ids]

    def id(self, piece: str) -> int:
        """The id of the piece that is written so; UNK where there is none, or one that says nothing."""
        ours = self._ours[self.processor.piece_to_id(piece)]
        return UNK if self.surface[ours] is None else ours

    def score(self, index: int) -> float:
        """What the model gives the piece ``index``: a log-probability, or minus the rank of its merge."""
        found: float = self.processor.get_score(self._theirs[index])
        return found

    def unknown(self, text: str) -> list[int]:
        """The ids of ``text`` that is no piece: its bytes where the model has them, or one UNK."""
        if not self.bytes:
            return [UNK]
        return [self._of_byte[value] for value in text.encode()]

    @cached_property
    def _of_byte(self) -> dict[int, int]:
        return {value: index for index, value in self.bytes.items()}

    def said(self, ids: Sequence[int], oov: Sequence[str] = ()) -> list[str | None]:
        """What each of ``ids`` adds to their text; None for specials.

        The bytes of a character add it all at its last byte. Id ``len(self) + k`` is ``oov[k]``.
        """
        if not self.bytes:
            return [self._surface(i, oov) for i in ids]
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        texts: list[str | None] = []
        for index in ids:
            if index in self.bytes:
                texts.append(decoder.decode(bytes([self.bytes[index]])))
                continue
            if rest := decoder.decode(b"", True):
                texts[-1] = (texts[-1] or "") + rest  # a character that lacks its end
            decoder.reset()
            texts.append(self._surface(index, oov))
        if rest := decoder.decode(b"", True):
            texts[-1] = (texts[-1] or "") + rest
        return [text and text.replace(SPACE, " ") for text in texts]

    def _surface(self, index: int, oov: Sequence[str]) -> str | None:
        known = len(self)
        return self.surface[index] if index < known else oov[index - known].replace(SPACE, " ")


def one_line(text: str) -> str:
    """The words of a text, as ``split()`` gives them, with single spaces between them."""
    line = " ".join(text.split())
    return line.replace(SPACE, STAND_IN) if SPACE in line else line


def _fields(message: object) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of the fields of a message in protocol buffers' encoding: integers and bytes."""
    if not isinstance(message, bytes):
        raise TypeError(f"a message is bytes, not {type(message).__name__}")
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        value: int | bytes
        if kind == 0:
            value, place = _varint(message, place)
        elif kind in (1, 2, 5):
            size = {1: 8, 5: 4}.get(kind, 0)
            if kind == 2:
                size, place = _varint(message, place)
            value, place = message[place : place + size], place + size
        else:
            raise ValueError(f"no such kind of field: {kind}")
        yield number, value


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """An integer in groups of 7 bits, and the place after it."""
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _text(value: int | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
