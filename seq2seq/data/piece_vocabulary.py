"""Pieces of a SentencePiece model under the ids of ``seq2seq.batch``.

``<pad> <unk> <s> </s>`` have the ids 0 to 3; the other pieces follow in the model's own order. A model trained here
already has these ids. A model from elsewhere may have other ids for its special tokens, or lack some of them.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from sentencepiece import SentencePieceProcessor

from seq2seq.batch import BOS, EOS, PAD, SPECIALS, UNK
from seq2seq.errors import UserError

SPACE = "▁"  # U+2581, by which SentencePiece writes the space before (or after) a word
TYPES = ("unigram", "bpe", "word", "char")  # the library numbers them from 1 in this order
STAND_IN = "_"  # replaces U+2581 in a text, which SentencePiece reads as a space, and words without visible characters
USER_DEFINED = 4  # the library's number for user-defined symbols
TRAINER, NORMALIZER, DENORMALIZER = 2, 3, 5  # numbers of fields in the library's ModelProto
MODEL_TYPE, CHARSMAP, DUMMY_PREFIX = 3, 2, 3  # the first is in TrainerSpec, the others are in NormalizerSpec


class PieceVocabulary:
    """Vocabulary of a SentencePiece model.

    Args:
        model: Content of a SentencePiece model file.

    Raises:
        UserError: ``model`` is not such a model, or has pieces that do not belong to a single word.
    """

    def __init__(self, model: bytes) -> None:
        # Read the model, and the settings that the library does not show.
        try:
            self.processor = SentencePieceProcessor()
            self.processor.load_from_serialized_proto(model)
            fields = dict(_fields(model))  # the last value of a repeated field
            trainer, normalizer = (dict(_fields(fields.get(n, b""))) for n in (TRAINER, NORMALIZER))
            denormalizer = dict(_fields(fields.get(DENORMALIZER, b"")))
            self.type = TYPES[int(trainer.get(MODEL_TYPE, 1)) - 1]
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            raise UserError("it is not a SentencePiece model") from error
        self.normalizes = bool(normalizer.get(CHARSMAP))  # whether it changes more than white space
        self.marks_first = bool(normalizer.get(DUMMY_PREFIX, 1))  # whether the first word has a space mark, too
        # Map the model's ids ("theirs") to the ids of ``seq2seq.batch`` ("ours").
        p = self.processor
        specials = [p.pad_id(), p.unk_id(), p.bos_id(), p.eos_id()]  # -1 if the model lacks it
        self._theirs = [*specials, *sorted(set(range(len(p))) - set(specials))]
        self._ours = {theirs: ours for ours, theirs in enumerate(self._theirs)}
        self._same = self._theirs == list(range(len(p)))
        self.bytes = {self._ours[i]: int(p.id_to_piece(i)[1:-1], 16) for i in range(len(p)) if p.is_byte(i)}
        self._check(bool(denormalizer.get(CHARSMAP)))
        self._model = model

    def __len__(self) -> int:
        return len(self._theirs)

    def _check(self, denormalizes: bool) -> None:
        """Refuse a model whose output cannot be split into words."""
        if denormalizes:
            raise UserError("its denormalization rules rewrite whole outputs; train it without them")
        for piece in self.spelling[EOS + 1 :]:
            if len(piece.replace(SPACE, " ").split()) > 1:
                raise UserError(
                    f"its piece {piece!r} holds several words, and attention needs pieces of one word; "
                    "train it with --split_by_whitespace=true"
                )
        if self.type != "word" and not self.bytes and not {SPACE, " "} & set(self.spelling):
            raise UserError(f"it has no piece for a space ({SPACE}); train it with --add_dummy_prefix=true")

    @cached_property
    def spelling(self) -> list[str]:
        """Spelling of each id."""
        return [*SPECIALS, *(self.processor.id_to_piece(i) for i in self._theirs[EOS + 1 :])]

    @cached_property
    def surface(self) -> list[str | None]:
        """Text that each id adds to an output; None for special tokens and control symbols, which add nothing."""
        # An unknown piece is a whole word in a word model, and may be a part of a word in other models.
        unknown = f" {SPECIALS[UNK]} " if self.type == "word" else SPECIALS[UNK]
        said: list[str | None] = [piece.replace(SPACE, " ") for piece in self.spelling]
        for ours, theirs in enumerate(self._theirs):
            if ours in (PAD, BOS, EOS) or (ours != UNK and self.processor.is_control(theirs)):
                said[ours] = None
        said[UNK] = unknown
        return said

    @cached_property
    def symbols(self) -> list[str]:
        """User-defined symbols, longest first; each stays one piece wherever it occurs in a text."""
        entries = (dict(_fields(value)) for number, value in _fields(self._model) if number == 1)
        found = [_text(entry[1]) for entry in entries if entry.get(3) == USER_DEFINED]
        return sorted(found, key=len, reverse=True)

    def encode(self, text: str) -> list[int]:
        """Return the ids of the likeliest segmentation of a text.

        Args:
            text: Text to encode.
        """
        ids: list[int] = self.processor.encode(text)
        return ids if self._same else self.numbered(ids)

    def numbered(self, ids: Iterable[int]) -> list[int]:
        """Return the model's own ids as ids of this vocabulary.

        Args:
            ids: Ids of the model.
        """
        return [self._ours[i] for i in ids]

    def id(self, piece: str) -> int:
        """Return the id of a piece; UNK if there is no such piece or it adds no text.

        Args:
            piece: Spelling of the piece.
        """
        ours = self._ours[self.processor.piece_to_id(piece)]
        return UNK if self.surface[ours] is None else ours

    def score(self, index: int) -> float:
        """Return the score of a piece in the model: a log-probability, or minus the rank of its merge.

        Args:
            index: Id of the piece.
        """
        found: float = self.processor.get_score(self._theirs[index])
        return found

    def unknown(self, text: str) -> list[int]:
        """Return the ids of a text that is not a piece: its bytes if the model has them, else one UNK.

        Args:
            text: Text without a piece.
        """
        if not self.bytes:
            return [UNK]
        return [self._of_byte[value] for value in text.encode()]

    @cached_property
    def _of_byte(self) -> dict[int, int]:
        """Id of each byte."""
        return {value: index for index, value in self.bytes.items()}

    def said(self, ids: Sequence[int], oov: Sequence[str] = ()) -> list[str | None]:
        """Return the text that each id adds to an output; None for special tokens.

        The last byte of a character adds the whole character.

        Args:
            ids: Token ids.
            oov: Out-of-vocabulary words; id ``len(self) + k`` stands for ``oov[k]``.
        """
        if not self.bytes:
            return [self._surface(i, oov) for i in ids]
        # Decode runs of bytes.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        texts: list[str | None] = []
        for index in ids:
            if index in self.bytes:
                texts.append(decoder.decode(bytes([self.bytes[index]])))
                continue
            if rest := decoder.decode(b"", True):
                texts[-1] = (texts[-1] or "") + rest  # an incomplete character
            decoder.reset()
            texts.append(self._surface(index, oov))
        if rest := decoder.decode(b"", True):
            texts[-1] = (texts[-1] or "") + rest
        return [text and text.replace(SPACE, " ") for text in texts]

    def _surface(self, index: int, oov: Sequence[str]) -> str | None:
        """Return the text that one id adds to an output."""
        known = len(self)
        return self.surface[index] if index < known else oov[index - known].replace(SPACE, " ")


def one_line(text: str) -> str:
    """Return the words of a text (``split()``), joined by single spaces.

    Args:
        text: A text.
    """
    line = " ".join(text.split())
    return line.replace(SPACE, STAND_IN) if SPACE in line else line


def _fields(message: object) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value (integer or bytes) of each field of a message in the encoding of protocol buffers."""
    if not isinstance(message, bytes):
        raise TypeError(f"a message is bytes, not {type(message).__name__}")
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        value: int | bytes
        # Read the value by its wire type: integer, 8 bytes, counted bytes, or 4 bytes.
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
    """Return an integer that is written in groups of 7 bits, and the place after it."""
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _text(value: int | bytes) -> str:
    """Return a value as text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
