"""Tokenizers: from text to token ids and back, by a SentencePiece model with the special tokens of ``seq2seq.batch``.

A word is an item of ``str.split()``; the kind of white space around it does not matter. The k-th word of a text is also
the k-th word of its ids. With the type ``letters``, each symbol of a text is a word (``seq2seq.data.letters``). Kudo &
Richardson 2018, "SentencePiece".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor

from seq2seq.batch import EOS, SPECIALS, UNK
from seq2seq.config.ranges import Count, Share
from seq2seq.data import letters
from seq2seq.data.piece_vocabulary import SPACE, STAND_IN, TYPES, PieceVocabulary, one_line
from seq2seq.data.sampling import Sampler, sampler
from seq2seq.data.tokenizer_training import train_model
from seq2seq.errors import UserError

LEARNT = (
    *("vocab_size", "joint", "normalization", "character_coverage", "max_records"),
    *("user_defined_symbols", "byte_fallback", "split_digits"),
)
"""Options that only the training of a tokenizer reads."""
_EFFECTIVE = {
    "user_defined_symbols": ("unigram", "bpe", "char"),
    "byte_fallback": ("unigram", "bpe", "char"),
    "split_digits": ("unigram", "bpe"),
}
"""Options that only some types use."""
LETTERS = "letters"
"""Type of a tokenizer whose tokens are the symbols of a text; its SentencePiece model has the type ``word``."""
BY_WORD = ("word", LETTERS)
"""Types whose tokens are whole words of the line that SentencePiece reads."""


@dataclass(frozen=True)
class TokenizerOptions:
    """Options of the tokenizers of a corpus (``data.tokenizer``)."""

    type: str = "unigram"  # unigram, bpe, word, char or letters
    target_type: str | None = None  # type of the target's tokenizer; None = that of the source
    vocab_size: Count | None = None  # upper bound; None follows the size of the text
    joint: bool = True  # one vocabulary for source and target
    normalization: str = "identity"  # or nfkc, nmt_nfkc, nfkc_cf (SentencePiece's names), which lose information
    character_coverage: Share = 1.0  # share of characters with a piece; 0.9995 suits scripts of thousands of characters
    max_records: Count = 1_000_000  # number of training records to learn from, drawn from the whole split
    user_defined_symbols: Sequence[str] = ()  # symbols that always stay one piece
    byte_fallback: bool = False  # write unknown characters as UTF-8 bytes (256 pieces) instead of <unk>
    split_digits: bool = False  # make each digit one piece
    sampling: Share = 0.0  # subword regularisation in training: alpha of unigram or dropout of BPE; 0 = off
    source_model: str | None = None  # SentencePiece model file to use instead of training
    target_model: str | None = None  # the same for the target

    def __post_init__(self) -> None:
        """Refuse options that no tokenizer can have."""
        # Check type and sampling.
        types = dict.fromkeys((self.type, self.target_type or self.type))
        for option in ("type", "target_type"):
            if (kind := getattr(self, option)) is not None and kind not in (*TYPES, LETTERS):
                raise UserError(f"{option}={kind} is none of {', '.join((*TYPES, LETTERS))}")
        if self.joint and len(types) > 1:
            raise UserError(f"target_type={self.target_type} needs joint=false, because type={self.type}")
        if self.sampling and (single := [kind for kind in types if kind not in ("unigram", "bpe")]):
            raise UserError(
                f"sampling={self.sampling} needs type=unigram or type=bpe; type={single[0]} has only one segmentation"
            )
        if self.max_records < 1:
            raise UserError(f"max_records={self.max_records} must be 1 or more")
        # Refuse options without effect.
        for option, effective in _EFFECTIVE.items():
            if getattr(self, option) and types.keys().isdisjoint(effective):
                raise UserError(
                    f"{option}={getattr(self, option)} has no effect with type={self.type}; "
                    f"it needs {' or '.join(effective)}"
                )
        # A symbol must be one word, because it becomes one piece.
        for symbol in self.user_defined_symbols:
            if not symbol or symbol.split() != [symbol] or SPACE in symbol or symbol in SPECIALS:
                raise UserError(f"user_defined_symbols={symbol!r} must be one word, and none of {' '.join(SPECIALS)}")
        if len(set(self.user_defined_symbols)) != len(self.user_defined_symbols):
            raise UserError(f"user_defined_symbols={list(self.user_defined_symbols)} names a symbol twice")

    def type_of(self, side: str) -> str:
        """Return the type of a side's tokenizer.

        Args:
            side: ``source`` or ``target``.
        """
        return (self.target_type if side == "target" else None) or self.type


class Tokenizer:
    """Tokenizer with a SentencePiece model; ids PAD, UNK, BOS, EOS = 0, 1, 2, 3.

    Args:
        model: Content of a SentencePiece model file.
        type: Type of the tokens: unigram, bpe, word, char or letters.
        rate: Rate of subword regularisation: alpha of unigram or dropout of BPE.

    Raises:
        UserError: The model has another type, or cannot be used (``seq2seq.data.piece_vocabulary``).
    """

    def __init__(self, model: bytes, type: str, rate: float = 0.1) -> None:
        self.model, self.type, self.rate = model, type, rate
        if self._pieces.type != (BY_WORD[0] if type in BY_WORD else type):
            raise UserError(f"its type is {self._pieces.type}; set data.tokenizer.type={self._pieces.type}")

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        type: str = "unigram",
        vocab_size: Count = 8000,
        normalization: str = "identity",
        character_coverage: Share = 1.0,
        user_defined_symbols: Sequence[str] = (),
        byte_fallback: bool = False,
        split_digits: bool = False,
        rate: float = 0.1,
    ) -> Tokenizer:
        """Train a tokenizer on one thread, so that the same texts give the same model.

        Args:
            texts: Texts to learn from.
            type: Type of the tokens: unigram, bpe, word, char or letters.
            vocab_size: Largest number of pieces.
            normalization: Name of SentencePiece's normalization rule.
            character_coverage: Share of the characters of the texts that get a piece.
            user_defined_symbols: Symbols that always stay one piece.
            byte_fallback: Whether unknown characters are written as UTF-8 bytes.
            split_digits: Whether each digit is one piece.
            rate: Rate of subword regularisation.

        Raises:
            UserError: No model can be made from the texts. An error of ``texts`` itself is passed on unchanged.
        """
        options = user_defined_symbols, byte_fallback, split_digits
        lines = (" ".join(letters.symbols(text)) for text in texts) if type == LETTERS else texts
        model = train_model(
            lines, BY_WORD[0] if type in BY_WORD else type, vocab_size, normalization, character_coverage, *options
        )
        return cls(model, type, rate)

    @classmethod
    def load(cls, path: Path, type: str, rate: float = 0.1) -> Tokenizer:
        """Open a SentencePiece model file; other programs may have trained it.

        Args:
            path: Path of the file.
            type: Type of the model: unigram, bpe, word or char.
            rate: Rate of subword regularisation.

        Raises:
            UserError: The file does not exist, or the model cannot be used.
        """
        if not path.is_file():
            raise UserError(f"{path}: no such SentencePiece model (data.tokenizer.source_model, target_model)")
        # Name the file in front of the reason.
        try:
            return cls(path.read_bytes(), type, rate)
        except UserError as error:
            raise UserError(f"{path} can't be used: {error}") from error

    def knows(self, word: str) -> bool:
        """Return whether a word is encoded without ``<unk>``.

        Args:
            word: A word.
        """
        return UNK not in self.encode(word)

    def encode(self, text: str, sample: tuple[int, ...] | None = None) -> list[int]:
        """Return the token ids of a text, without special tokens.

        Args:
            text: Text to encode.
            sample: Seeds (seed, epoch, record, ...) that draw one of several segmentations. None takes the likeliest.
        """
        if sample is not None:
            random = Random(str(sample))
            return [i for word in self._words(text) for i in self._sampler(word, random)]
        # The library would join neighbouring unknown words.
        if self.type in BY_WORD:
            pieces = self._pieces
            known = ((word, pieces.id(word)) for word in self._words(text))
            return [i for word, index in known for i in ([index] if index != UNK else pieces.unknown(word))]
        return self._pieces.encode(self._line(text))

    def spell(self, text: str) -> list[str]:
        """Return the spelling of each id of ``encode(text)``; an unknown piece keeps its own letters.

        Args:
            text: Text to encode.
        """
        if self.type in BY_WORD and not self._pieces.bytes:
            return self._words(text)
        if self.type in BY_WORD:
            return self.pieces(self.encode(text))
        pieces: list[str] = self._pieces.processor.encode(self._line(text), out_type=str)
        return pieces

    def decode(self, ids: Iterable[int], oov: Sequence[str] = ()) -> str:
        """Return the text of ids up to the first ``</s>``; of the special tokens, only ``<unk>`` is shown.

        Args:
            ids: Token ids.
            oov: Out-of-vocabulary words; id ``len(self) + k`` stands for ``oov[k]``.
        """
        return self.join(self.words_of(ids, oov))

    def words_of(self, ids: Iterable[int], oov: Sequence[str] = ()) -> list[str]:
        """Return the words of ids up to the first ``</s>``, as ``words`` counts them.

        Args:
            ids: Token ids.
            oov: Out-of-vocabulary words; id ``len(self) + k`` stands for ``oov[k]``.
        """
        ids = list(map(int, ids))
        ids = ids[: ids.index(EOS)] if EOS in ids else ids
        return "".join(filter(None, self._pieces.said(ids, oov))).split()

    def split(self, text: str) -> list[str]:
        """Return the words of a text, as ``words`` counts them.

        Args:
            text: A text.
        """
        return letters.symbols(text) if self.type == LETTERS else text.split()

    def join(self, words: Iterable[str]) -> str:
        """Return the text of words.

        Args:
            words: Words, as ``split`` returns them.
        """
        return letters.written(words) if self.type == LETTERS else " ".join(words)

    def id(self, piece: str) -> int:
        """Return the id of a piece, or UNK if it is not in the vocabulary.

        Args:
            piece: Spelling of the piece.
        """
        return self._pieces.id(piece)

    def pieces(self, ids: Iterable[int], oov: Sequence[str] = ()) -> list[str]:
        """Return the spelling of each id, special tokens included.

        Args:
            ids: Token ids.
            oov: Out-of-vocabulary words; id ``len(self) + k`` stands for ``oov[k]``.
        """
        known, spelling = len(self), self._pieces.spelling
        return [oov[i - known] if i >= known else spelling[i] for i in map(int, ids)]

    def words(self, ids: Iterable[int], oov: Sequence[str] = ()) -> list[int]:
        """Return for each id the number of its word in ``words_of(ids)``; -1 for special tokens.

        An id without letters, such as a lone space or the first byte of a character, belongs to the word of the next
        letter. If no letter follows, it belongs to the word of the last one.

        Args:
            ids: Token ids.
            oov: Out-of-vocabulary words; id ``len(self) + k`` stands for ``oov[k]``.
        """
        texts = self._pieces.said(list(map(int, ids)), oov)
        words: list[int] = []
        word, inside, waiting = -1, False, 0  # last word; whether it continues; number of ids that wait for a letter
        # Give each id the word of its first letter.
        for text in texts:
            if text is None:
                words.append(-1)
                continue
            first = None
            for letter in text:
                if letter.isspace():
                    inside = False
                    continue
                word, inside = word if inside else word + 1, True
                first = word if first is None else first
            words.append(_WAITS if first is None else first)
            waiting = waiting + 1 if first is None else 0
        # Give each id without letters the word of the next id with letters.
        following = word
        for place in range(len(words) - 1, -1, -1):
            if words[place] == _WAITS:
                words[place] = following
            elif words[place] >= 0:
                following = words[place]
        return words

    def check(self, *, sampling: bool, documents: bool) -> None:
        """Check that a text can be encoded in parts: the model must put a space mark before the first word.

        Args:
            sampling: Whether texts are segmented at random.
            documents: Whether texts are documents, which are encoded line by line.

        Raises:
            UserError: The model does not set the mark, and an option needs it.
        """
        needed = {"data.documents=true": documents, "data.tokenizer.sampling": sampling and self.type == "unigram"}
        for option in (option for option, needs in needed.items() if needs and not self._pieces.marks_first):
            raise UserError(
                f"{option} needs a space mark before the first word, which the SentencePiece model does not set; "
                "train it with --add_dummy_prefix=true"
            )

    def state(self) -> Tensor:
        """Return type and model as bytes (N,) uint8, for a checkpoint."""
        # The first line holds the type.
        return torch.from_numpy(np.frombuffer(f"{self.type}\n".encode() + self.model, np.uint8).copy())

    @classmethod
    def from_state(cls, state: Tensor) -> Tokenizer:
        """Return the tokenizer of a state.

        Args:
            state: Bytes (N,) uint8 of ``Tokenizer.state``.
        """
        kind, _, model = state.numpy().tobytes().partition(b"\n")
        return cls(model, kind.decode(errors="replace"))

    def __len__(self) -> int:
        return len(self._pieces)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and (self.type, self.model) == (other.type, other.model)

    def __hash__(self) -> int:
        return hash(self.model)

    def __getstate__(self) -> dict[str, object]:  # loader workers get only the model, and build the rest
        return {"model": self.model, "type": self.type, "rate": self.rate}

    @cached_property
    def _pieces(self) -> PieceVocabulary:
        return PieceVocabulary(self.model)

    @cached_property
    def _sampler(self) -> Sampler:
        return sampler(self._pieces, self.rate)

    def _words(self, text: str) -> list[str]:
        """Return the normalised words of a text, each with its space mark."""
        return _MARKED.findall(self._pieces.processor.normalize(self._line(text)))

    def _line(self, text: str) -> str:
        """Return a text as one line in which SentencePiece finds as many words as the text has."""
        line = one_line(" ".join(letters.symbols(text)) if self.type == LETTERS else text)
        if not self._pieces.normalizes:
            return line
        words = line.split()
        if len(self._normalized(line)) == len(words):
            return line
        # Normalise word by word, because a rule has split or dropped a word.
        return " ".join("".join(self._normalized(word)) or STAND_IN for word in words)

    def _normalized(self, line: str) -> list[str]:
        """Return the words of a line after normalisation."""
        normalized: str = self._pieces.processor.normalize(line)
        return normalized.replace(SPACE, " ").split()


_WAITS = -2  # id without letters
_MARKED = re.compile(f"{SPACE}?[^{SPACE}]+")
