"""Attention of summary words on the words and sentences of a document.

Letters: T target pieces, S source pieces; J words of the summary, I words and N sentences of the document.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import regex
from numpy.typing import ArrayLike, NDArray

from seq2seq.metrics.words import UNSPACED, summed

Array = NDArray[np.float64]
_EVEN = 3  # full colour stands for at least so many times the weight of uniform attention
_BYTE = re.compile("<0x([0-9A-F]{2})>")  # SentencePiece's notation of one byte of a character
_UNSPACED = regex.compile(f"[{UNSPACED}]")


@dataclass(frozen=True)
class ShadedWord:
    """Word, or piece of a script without spaces; ``joined`` if no space separates it from the word before."""

    text: str
    joined: bool = False


@dataclass(frozen=True)
class Shading:
    """Document and summary, word by word; pieces that belong to no word (``</s>``) are left out."""

    document: list[ShadedWord]  # (I,)
    summary: list[ShadedWord]  # (J,)
    sentences: NDArray[np.int64]  # (I,) number of each word's sentence, from 0
    weights: Array  # (J, I) attention of each summary word on each word of the document
    copied: Array | None = None  # (J,) probability that a word was copied (mean over its pieces)
    origins: NDArray[np.int64] | None = None  # (J,) gold: number of the sentence that a word comes from; -1 = none

    @classmethod
    def of(
        cls,
        alignment: ArrayLike,
        source: Sequence[str],
        target: Sequence[str],
        source_words: Sequence[int],
        target_words: Sequence[int],
        *,
        sentences: Sequence[int] = (),
        copied: ArrayLike | None = None,
        origins: Sequence[int] | None = None,
    ) -> Shading:
        """Make the shading from the attention between pieces (see ``AttentionMap``).

        Args:
            alignment: Attention (T, S).
            source: Source pieces (S,).
            target: Target pieces (T,).
            source_words: Number of each source piece's word (S,); -1 = no word.
            target_words: Number of each target piece's word (T,); -1 = no word.
            sentences: Number of each source piece's sentence (S,); empty = all are one sentence.
            copied: Probability that each target piece was copied (T,).
            origins: Gold: number of the sentence of each target word; -1 = none.

        Raises:
            ValueError: The sizes do not fit.
        """
        # Check the sizes.
        if sentences and len(sentences) != len(source):
            raise ValueError(f"{len(sentences)} sentence numbers don't fit {len(source)} source pieces")
        if origins is not None and len(origins) != max(target_words, default=-1) + 1:
            raise ValueError(
                f"{len(origins)} origins don't fit {max(target_words, default=-1) + 1} words of the target"
            )
        # Join pieces to words.
        document, of_source = words_of(source, source_words)
        summary, of_target = words_of(target, target_words)
        a = np.asarray(alignment, dtype=np.float64)
        if a.shape != (len(target), len(source)):
            raise ValueError(f"weights {a.shape} don't fit {len(target)} target pieces and {len(source)} source pieces")
        # Sum attention over source pieces, and average it over target pieces.
        by_word = summed(summed(a.T, of_source, len(document)).T, of_target, len(summary))
        sizes = np.maximum(
            np.bincount([word_index for word_index in of_target if word_index >= 0], minlength=len(summary)), 1
        )
        return cls(
            document,
            summary,
            np.array(_of_words(of_source, sentences or [0] * len(source)), dtype=np.int64),
            by_word / sizes[:, None],
            None if copied is None else summed(np.asarray(copied, np.float64), of_target, len(summary)) / sizes,
            None if origins is None else np.array([origins[n] for n in _of_words(of_target, target_words)], np.int64),
        )

    @cached_property
    def shares(self) -> Array:
        """Attention (J, N) of each summary word on each sentence: the sum over the sentence's words."""
        return summed(self.weights.T, self.sentences, int(self.sentences.max(initial=-1)) + 1).T

    @cached_property
    def rest(self) -> Array:
        """Attention (J,) of each summary word that is not on words, but on ``</s>`` or outside the memory."""
        rest: Array = np.clip(1 - self.weights.sum(1), 0, None)
        return rest

    @property
    def divided(self) -> bool:
        """True if the document has several sentences, so that their shares are of interest."""
        return bool(self.shares.shape[1] > 1)

    def mean(self, rows: Array) -> Array:
        """Return the mean over the summary (X,); 0 for an empty summary.

        Args:
            rows: Values of each summary word (J, X).
        """
        return rows.mean(0) if len(rows) else np.zeros(rows.shape[1:])


def full(weights: ArrayLike) -> float:
    """Return the weight that full colour stands for: the largest weight, but at least three times uniform attention.

    Thus uniform attention looks pale, and a short document does not look darker than a long one.

    Args:
        weights: Weights (..., X).
    """
    w = np.asarray(weights)
    return float(max(w.max(initial=0), min(1, _EVEN / max(1, w.shape[-1]))))


def percent(share: float) -> str:
    """Return a share in per cent: 0.384 -> 38 %, 0.0123 -> 1.2 %, 0.00012 -> 0.01 %.

    Args:
        share: Share from 0 to 1.
    """
    return f"{100 * share:.{0 if share >= 0.0995 or share == 0 else 1 if share >= 0.00995 else 2}f}\u00a0%"


def right_to_left(text: str) -> bool | None:
    """Return whether a text runs from right to left, by its first letter; None if it has no letter.

    Args:
        text: Text to look at.
    """
    kinds = (unicodedata.bidirectional(c) for c in text)
    return next((kind != "L" for kind in kinds if kind in ("L", "R", "AL")), None)


def backwards(words: Iterable[ShadedWord]) -> bool:
    """Return whether a text runs from right to left; a text without letters does not.

    Args:
        words: Words of the text.
    """
    return bool(right_to_left(" ".join(word.text for word in words)))


def words_of(pieces: Sequence[str], words: Sequence[int]) -> tuple[list[ShadedWord], list[int]]:
    """Return the words of a text, and for each piece the place of its word among them, or -1.

    In scripts without spaces, each piece becomes a word.

    Args:
        pieces: Pieces of the text.
        words: Number of each piece's word; -1 for special tokens.
    """
    # Find the words in scripts without spaces: each of their pieces becomes a word.
    spelt: dict[int, list[str]] = {}
    for piece, word in zip(pieces, words, strict=True):
        spelt.setdefault(word, []).append(piece)
    unspaced = {word for word, its in spelt.items() if _UNSPACED.search(_text(its))}
    # Group the pieces; bytes of one character stay together.
    groups: list[list[str]] = []
    joined, word_indices, before = [], [], -1
    for piece, word in zip(pieces, words, strict=True):
        if word >= 0:
            inside = word == before
            bytewise = bool(groups) and bool(_BYTE.fullmatch(piece)) and bool(_BYTE.fullmatch(groups[-1][-1]))
            if inside and (word not in unspaced or bytewise or not _text(groups[-1])):
                groups[-1].append(piece)
            else:
                groups.append([piece])
                joined.append(inside)
            before = word
        word_indices.append(len(groups) - 1 if word >= 0 else -1)
    return [ShadedWord(_text(group), follows) for group, follows in zip(groups, joined, strict=True)], word_indices


def _of_words(word_indices: Sequence[int], values: Sequence[int]) -> list[int]:
    """Return the value of each word; all pieces of a word have the same value."""
    return list(
        {word_index: value for word_index, value in zip(word_indices, values, strict=True) if word_index >= 0}.values()
    )


def _text(pieces: Sequence[str]) -> str:
    """Return the text of a word's pieces, without SentencePiece's marks and with its bytes joined to characters."""
    bytewise = ((_BYTE.fullmatch(piece), piece) for piece in pieces)
    spelt = b"".join(bytes.fromhex(byte[1]) if byte else piece.encode(errors="replace") for byte, piece in bytewise)
    return spelt.decode(errors="replace").replace("▁", " ").strip()
