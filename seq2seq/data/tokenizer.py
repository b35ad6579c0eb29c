"""Text to token ids and back: a SentencePiece model whose specials are ``seq2seq.batch``'s.

A word is what ``str.split()`` gives, whatever white space stands around it. Each word keeps its place: the k-th word of
a text is the k-th word of its ids. Kudo & Richardson 2018, "SentencePiece".
"""

from __future__ import annotations

import logging
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
from seq2seq.data.piece_vocabulary import SPACE, STAND_IN, TYPES, PieceVocabulary, one_line
from seq2seq.data.sampling import Sampler, sampler
from seq2seq.data.tokenizer_training import train_model
from seq2seq.errors import UserError

log = logging.getLogger(__name__)


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
"""Options that some types alone heed."""


@dataclass(frozen=True)
class TokenizerOptions:
    """What a user may ask of the tokenizers of a corpus (``data.tokenizer``)."""

    type: str = "unigram"
    vocab_size: Count | None = None  # at most: less where the text has too few different pieces; None follows the text
    joint: bool = True  # one vocabulary for source and target
    normalization: str = "identity"  # or nfkc, nmt_nfkc, nfkc_cf (SentencePiece's names): these lose what they fold
    character_coverage: Share = 1.0  # 0.9995 for scripts with thousands of characters
    max_records: Count = 1_000_000  # training records read, drawn from the whole split
    user_defined_symbols: Sequence[str] = ()  # each stays one piece
    byte_fallback: bool = False  # unknown characters as their UTF-8 bytes, of 256 pieces, instead of <unk>
    split_digits: bool = False  # each digit a piece
    sampling: Share = 0.0  # subword regularisation in training: unigram's alpha or BPE's dropout; 0 = off
    source_model: str | None = None  # SentencePiece model files to use instead of training
    target_model: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no tokenizer can do."""
        if self.type not in TYPES:
            raise UserError(f"type={self.type} is none of {', '.join(TYPES)}")
        if self.sampling and self.type not in ("unigram", "bpe"):
            raise UserError(f"sampling={self.sampling} needs type unigram or bpe: {self.type} segments in one way only")
        if self.max_records < 1:
            raise UserError(f"max_records={self.max_records} must be 1 or more")
        for option, types in _EFFECTIVE.items():
            if getattr(self, option) and self.type not in types:
                raise UserError(
                    f"{option}={getattr(self, option)} has no effect with type={self.type}; "
                    f"it needs {' or '.join(types)}"
                )
        for symbol in self.user_defined_symbols:
            if not symbol or symbol.split() != [symbol] or SPACE in symbol or symbol in SPECIALS:
                raise UserError(f"user_defined_symbols={symbol!r} must be one word, and none of {' '.join(SPECIALS)}")
        if len(set(self.user_defined_symbols)) != len(self.user_defined_symbols):
            raise UserError(f"user_defined_symbols={list(self.user_defined_symbols)} names a symbol twice")


class Tokenizer:
    """A SentencePiece model of a ``type``; ids PAD, UNK, BOS, EOS = 0, 1, 2, 3.

    Raises:
        UserError: the model is of another type, or can't be served (``seq2seq.data.piece_vocabulary``).
    """

    def __init__(self, model: bytes, type: str, rate: float = 0.1) -> None:
        self.model, self.type, self.rate = model, type, rate
        if self._pieces.type != type:
            raise UserError(f"it is a {self._pieces.type} model: set data.tokenizer.type={self._pieces.type}")

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
        """Train on ``texts``, on one thread, so that the same texts give the same model.

        Raises:
            UserError: no model can be made of the texts. What reading ``texts`` raises is passed on as it is.
        """
        options = user_defined_symbols, byte_fallback, split_digits
        model = train_model(texts, type, vocab_size, normalization, character_coverage, *options)
        tokenizer = cls(model, type, rate)
        if len(tokenizer) < vocab_size:
            log.info("the text has only %d %s pieces (data.tokenizer.vocab_size=%d)", len(tokenizer), type, vocab_size)
        return tokenizer

    @classmethod
    def load(cls, path: Path, type: str, rate: float = 0.1) -> Tokenizer:
        """Open a SentencePiece model file, which may be of the user's own making."""
        if not path.is_file():
            raise UserError(f"{path}: no such SentencePiece model (data.tokenizer.source_model, target_model)")
        try:
            return cls(path.read_bytes(), type, rate)
        except UserError as error:
            raise UserError(f"{path} can't be used: {error}") from error

    def knows(self, word: str) -> bool:
        """Tell whether ``word`` is encoded without ``<unk>``."""
        return UNK not in self.encode(word)

    def encode(self, text: str, sample: tuple[int, ...] | None = None) -> list[int]:
        """Token ids without specials; ``sample`` = (seed, epoch, record, ...) draws one segmentation of many."""
        if sample is not None:
            random = Random(str(sample))
            return [i for word in self._words(text) for i in self._sampler(word, random)]
        if self.type == "word":  # the library would write neighbouring unknown words as one
            pieces = self._pieces
            known = ((word, pieces.id(word)) for word in self._words(text))
            return [i for word, index in known for i in ([index] if index != UNK else pieces.unknown(word))]
        return self._pieces.encode(self._line(text))

    def spell(self, text: str) -> list[str]:
        """The text of each of ``encode(text)``: an unknown one's own letters, too."""
        if self.type == "word" and not self._pieces.bytes:
            return self._words(text)
        if self.type == "word":
            return self.pieces(self.encode(text))
        pieces: list[str] = self._pieces.processor.encode(self._line(text), out_type=str)
        return pieces

    def decode(self, ids: Iterable[int], oov: Sequence[str] = ()) -> str:
        """The text of ``ids`` up to the first ``</s>``, without specials (but <unk>); ``oov`` as for ``pieces``."""
        ids = list(map(int, ids))
        ids = ids[: ids.index(EOS)] if EOS in ids else ids
        return " ".join("".join(filter(None, self._pieces.said(ids, oov))).split())

    def id(self, piece: str) -> int:
        """The id of what is spelt so; UNK where there is none."""
        return self._pieces.id(piece)

    def pieces(self, ids: Iterable[int], oov: Sequence[str] = ()) -> list[str]:
        """How each id is written, specials included; id ``len(self) + k`` is ``oov[k]``."""
        known, spelling = len(self), self._pieces.spelling
        return [oov[i - known] if i >= known else spelling[i] for i in map(int, ids)]

    def words(self, ids: Iterable[int], oov: Sequence[str] = ()) -> list[int]:
        """For each id the place of its word in ``decode(ids).split()``; -1 for specials.

        An id without letters, such as a lone space or the first byte of a character, goes with the next letter, or
        with the last one where none follows.
        """
        said = self._pieces.said(list(map(int, ids)), oov)
        words: list[int] = []
        word, inside, waiting = -1, False, 0  # the last word; whether it goes on; ids that wait for the next letter
        for text in said:
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
        following = word
        for place in range(len(words) - 1, -1, -1):
            if words[place] == _WAITS:
                words[place] = following
            elif words[place] >= 0:
                following = words[place]
        return words

    def check(self, *, sampling: bool, documents: bool) -> None:
        """Refuse a model without a space mark before the first word, where a text is put together of parts."""
        needed = {"data.documents=true": documents, "data.tokenizer.sampling": sampling and self.type == "unigram"}
        for option in (option for option, needs in needed.items() if needs and not self._pieces.marks_first):
            raise UserError(
                f"{option} needs a space mark before the first word, which the SentencePiece model does not set: "
                "train it with --add_dummy_prefix=true"
            )

    def state(self) -> Tensor:
        """All of it as (N,) uint8, for a checkpoint."""
        return torch.from_numpy(np.frombuffer(f"{self.type}\n".encode() + self.model, np.uint8).copy())

    @classmethod
    def from_state(cls, state: Tensor) -> Tokenizer:
        """The inverse of ``state``."""
        kind, _, model = state.numpy().tobytes().partition(b"\n")
        return cls(model, kind.decode(errors="replace"))

    def __len__(self) -> int:
        return len(self._pieces)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and (self.type, self.model) == (other.type, other.model)

    def __hash__(self) -> int:
        return hash(self.model)

    def __getstate__(self) -> dict[str, object]:  # loader workers get the model, and build the rest
        return {"model": self.model, "type": self.type, "rate": self.rate}

    @cached_property
    def _pieces(self) -> PieceVocabulary:
        return PieceVocabulary(self.model)

    @cached_property
    def _sampler(self) -> Sampler:
        return sampler(self._pieces, self.rate)

    def _words(self, text: str) -> list[str]:
        """The words of a text, normalised, each with its space mark."""
        return _MARKED.findall(self._pieces.processor.normalize(self._line(text)))

    def _line(self, text: str) -> str:
        """The words of a text as one line, of which SentencePiece makes as many words as there are."""
        line = one_line(text)
        if not self._pieces.normalizes:
            return line
        words = line.split()
        if len(self._normalized(line)) == len(words):
            return line
        return " ".join("".join(self._normalized(word)) or STAND_IN for word in words)  # rules split words or drop them

    def _normalized(self, line: str) -> list[str]:
        normalized: str = self._pieces.processor.normalize(line)
        return normalized.replace(SPACE, " ").split()


_WAITS = -2
_MARKED = re.compile(f"{SPACE}?[^{SPACE}]+")
