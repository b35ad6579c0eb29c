"""Text to token ids and back: a SentencePiece model whose specials are ``seq2seq.batch``'s.

Kudo & Richardson 2018, "SentencePiece".
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np
import torch
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from torch import Tensor

from seq2seq.batch import BOS, EOS, PAD, SPECIALS, UNK
from seq2seq.data.sampling import SPACE, Sampler, sampler
from seq2seq.errors import UserError
from seq2seq.ranges import Count, Share

log = logging.getLogger(__name__)

TYPES = ("unigram", "bpe", "char", "word")


@dataclass(frozen=True)
class TokenizerOptions:
    """What a user may ask of the tokenizers of a corpus (``data.tokenizer``)."""

    type: str = "unigram"
    vocab_size: Count = 8000  # at most: less where the text has not enough different pieces
    joint: bool = True  # one vocabulary for source and target
    normalization: str = "identity"  # or nfkc, nmt_nfkc, nfkc_cf (SentencePiece's names): these lose what they fold
    character_coverage: Share = 1.0  # 0.9995 for scripts with thousands of characters
    max_records: Count = 1_000_000  # training sentences read, from the first
    sampling: Share = 0.0  # subword regularisation in training: unigram's alpha or BPE's dropout; 0 = off
    source_model: str | None = None  # SentencePiece model files to use instead of training
    target_model: str | None = None

    def __post_init__(self) -> None:
        """Refuses what no tokenizer can do."""
        if self.type not in TYPES:
            raise UserError(f"data.tokenizer.type={self.type} is none of {', '.join(TYPES)}")
        if self.sampling and self.type not in ("unigram", "bpe"):
            raise UserError(f"data.tokenizer.sampling needs type unigram or bpe: {self.type} segments in one way only")


class Tokenizer:
    """A SentencePiece model of a ``type``; ids PAD, UNK, BOS, EOS = 0, 1, 2, 3."""

    def __init__(self, model: bytes, type: str, rate: float = 0.1) -> None:
        self.model, self.type, self.rate = model, type, rate
        processor = self._processor
        specials = processor.pad_id(), processor.unk_id(), processor.bos_id(), processor.eos_id()
        if specials != (PAD, UNK, BOS, EOS):
            raise UserError(
                f"the SentencePiece model numbers <pad> <unk> <s> </s> as {specials}, not {(PAD, UNK, BOS, EOS)}: "
                "train it with --pad_id=0 --unk_id=1 --bos_id=2 --eos_id=3"
            )

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        type: str = "unigram",
        vocab_size: Count = 8000,
        normalization: str = "identity",
        character_coverage: Share = 1.0,
        rate: float = 0.1,
    ) -> Tokenizer:
        """Trains on ``texts``; on one thread, so that the same texts give the same model."""
        model = io.BytesIO()
        try:
            SentencePieceTrainer.train(
                sentence_iterator=map(_line, texts),
                model_writer=model,
                model_type=type,
                vocab_size=vocab_size,
                hard_vocab_limit=False,
                normalization_rule_name=normalization,
                character_coverage=character_coverage,
                pad_id=PAD,
                unk_id=UNK,
                bos_id=BOS,
                eos_id=EOS,
                pad_piece=SPECIALS[PAD],
                unk_piece=SPECIALS[UNK],
                bos_piece=SPECIALS[BOS],
                eos_piece=SPECIALS[EOS],
                # A word's piece brings its space along, an unknown one cannot.
                unk_surface=(" " if type == "word" else "") + SPECIALS[UNK],
                max_sentence_length=1 << 20,
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise UserError(_explanation(str(error), vocab_size)) from error
        tokenizer = cls(model.getvalue(), type, rate)
        if len(tokenizer) < vocab_size:
            log.info("the text has only %d %s pieces (data.tokenizer.vocab_size=%d)", len(tokenizer), type, vocab_size)
        return tokenizer

    @classmethod
    def load(cls, path: Path, type: str, rate: float = 0.1) -> Tokenizer:
        """A SentencePiece model file."""
        if not path.is_file():
            raise UserError(f"{path}: no such SentencePiece model (data.tokenizer.source_model, target_model)")
        try:
            tokenizer = cls(path.read_bytes(), type, rate)
        except RuntimeError as error:
            raise UserError(f"{path} is not a SentencePiece model") from error
        if tokenizer._is_unigram != (type == "unigram"):
            raise UserError(f"{path} is not of data.tokenizer.type={type}")
        return tokenizer

    def encode(self, text: str, sample: tuple[int, ...] | None = None) -> list[int]:
        """Token ids without specials; ``sample`` = (seed, epoch, record, ...) draws one segmentation of many."""
        if sample is not None:
            random = Random(str(sample))
            return [i for word in self._words(text) for i in self._sampler(word, random)]
        if self.type == "word":  # the library would write neighbouring unknown words as one
            return [self.id(piece) for piece in self.spell(text)]
        ids: list[int] = self._processor.encode(_line(text))
        return ids

    def spell(self, text: str) -> list[str]:
        """The text of each of ``encode(text)``: an unknown one's own letters, too."""
        if self.type == "word":
            return [SPACE + word for word in self._words(text)]
        pieces: list[str] = self._processor.encode(_line(text), out_type=str)
        return pieces

    def decode(self, ids: Iterable[int], own: Sequence[str] = ()) -> str:
        """The text of ``ids`` up to the first ``</s>``, without specials (but <unk>); ``own`` as for ``pieces``."""
        said = list(_spoken(ids))
        if max(said, default=0) < len(self):
            return " ".join(filter(None, self._processor.decode(said).split(" ")))
        unknown = (" " if self.type == "word" else "") + SPECIALS[UNK]
        pieces = (unknown if i == UNK else piece for i, piece in zip(said, self.pieces(said, own), strict=True))
        return " ".join(filter(None, "".join(pieces).replace(SPACE, " ").split(" ")))

    def id(self, piece: str) -> int:
        """The id of what is spelt so; UNK where there is none."""
        number: int = self._processor.piece_to_id(piece)
        return number

    def pieces(self, ids: Iterable[int], own: Sequence[str] = ()) -> list[str]:
        """How each id is written, specials included; id ``len(self) + k`` is ``own[k]``."""
        known = len(self)
        return [own[i - known] if i >= known else self._processor.id_to_piece(i) for i in map(int, ids)]

    def words(self, ids: Iterable[int], own: Sequence[str] = ()) -> list[int]:
        """For each id the place of its word in ``decode(ids).split(" ")``; -1 for specials."""
        words, word, begun = [], 0, False
        for i, piece in zip(ids := list(ids), self.pieces(ids, own), strict=True):
            if i in (PAD, BOS, EOS):
                words.append(-1)
                continue
            if begun and (piece.startswith(SPACE) or self.type == "word"):
                word, begun = word + 1, False
            begun = begun or piece != SPACE  # a lone space opens no word
            words.append(word)
        return words

    def state(self) -> Tensor:
        """All of it as (N,) uint8, for a checkpoint."""
        return torch.from_numpy(np.frombuffer(f"{self.type}\n".encode() + self.model, np.uint8).copy())

    @classmethod
    def from_state(cls, state: Tensor) -> Tokenizer:
        """The inverse of ``state``."""
        kind, _, model = state.numpy().tobytes().partition(b"\n")
        return cls(model, kind.decode())

    def __len__(self) -> int:
        return len(self._processor)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and (self.type, self.model) == (other.type, other.model)

    def __hash__(self) -> int:
        return hash(self.model)

    def __getstate__(self) -> dict[str, object]:  # loader workers get the model, and build the rest
        return {"model": self.model, "type": self.type, "rate": self.rate}

    @cached_property
    def _processor(self) -> SentencePieceProcessor:
        return SentencePieceProcessor(model_proto=self.model)

    @cached_property
    def _sampler(self) -> Sampler:
        return sampler(self._processor, self.type, self.rate)

    @property
    def _is_unigram(self) -> bool:
        try:
            self._processor.nbest_encode_as_ids("a", 1)
        except RuntimeError:  # the library's way to say that another type has only one segmentation
            return False
        return True

    def _words(self, text: str) -> list[str]:
        return [word for word in self._processor.normalize(_line(text)).split(SPACE) if word]


def _line(text: str) -> str:
    """A text of several lines as one."""
    return text.replace("\n", " ")


def _spoken(ids: Iterable[int]) -> Iterator[int]:
    for i in map(int, ids):
        if i == EOS:
            return
        if i not in (PAD, BOS):
            yield i


def _explanation(error: str, vocab_size: int) -> str:
    if needed := re.search(r"smaller than required_chars\. \d+ vs (\d+)", error):
        return (
            f"data.tokenizer.vocab_size={vocab_size} is too small: the characters of the text alone take {needed[1]}; "
            "raise it, or lower data.tokenizer.character_coverage"
        )
    if "sentences_.empty()" in error:
        return "no text to train a tokenizer on: the training split is empty"
    return f"SentencePiece could not train a tokenizer (data.tokenizer): {error}"
