"""What a document was read for: attention of summary words to words, and to the sentences that hold them.

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
_EVEN = 3  # full colour stands for at least so many times the weight that even attention gives
_BYTE = re.compile("<0x([0-9A-F]{2})>")  # SentencePiece's spelling of one byte of a character
_UNSPACED = regex.compile(f"[{UNSPACED}]")


@dataclass(frozen=True)
class ShadedWord:
    """A word, or a piece where the script sets no spaces; ``joined`` to the one before it without a space."""

    text: str
    joined: bool = False


@dataclass(frozen=True)
class Shading:
    """A document and its summary, word by word; pieces of no word (``</s>``) are left out."""

    document: list[ShadedWord]  # I
    summary: list[ShadedWord]  # J
    sentences: NDArray[np.int64]  # (I,) the sentence of each word, from 0
    weights: Array  # (J, I) what a summary word gives a word of the document
    copied: Array | None = None  # (J,) the probability that it was copied, the mean over its pieces
    origins: NDArray[np.int64] | None = None  # (J,) gold: the sentence it comes from, -1 for none

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
        """From pieces: ``alignment`` (T, S), the pieces and the word of each, as ``AttentionMap`` has them.

        ``sentences`` (S,), none of them: all is one; ``copied`` (T,); ``origins``, one for each word of the target.
        """
        if sentences and len(sentences) != len(source):
            raise ValueError(f"{len(sentences)} sentence numbers don't fit {len(source)} source pieces")
        if origins is not None and len(origins) != max(target_words, default=-1) + 1:
            raise ValueError(
                f"{len(origins)} origins don't fit {max(target_words, default=-1) + 1} words of the target"
            )
        document, of_source = _words(source, source_words)
        summary, of_target = _words(target, target_words)
        a = np.asarray(alignment, dtype=np.float64)
        if a.shape != (len(target), len(source)):
            raise ValueError(f"weights {a.shape} don't fit {len(target)} target pieces and {len(source)} source pieces")
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
        """(J, N) what a summary word gives a sentence: the sum over its words."""
        return summed(self.weights.T, self.sentences, int(self.sentences.max(initial=-1)) + 1).T

    @cached_property
    def rest(self) -> Array:
        """(J,) what it gives no word: ``</s>``, or what the mechanism keeps outside the memory."""
        rest: Array = np.clip(1 - self.weights.sum(1), 0, None)
        return rest

    @property
    def divided(self) -> bool:
        """Whether there are several sentences, so that their shares tell something."""
        return bool(self.shares.shape[1] > 1)

    def mean(self, rows: Array) -> Array:
        """(J, X) -> (X,) over the summary; 0 for an empty one."""
        return rows.mean(0) if len(rows) else np.zeros(rows.shape[1:])


def full(weights: ArrayLike) -> float:
    """The weight that full colour stands for: the largest, but three times what even attention would give at least.

    So a spread that is even looks pale, and no colour is darker only because a document is short.
    """
    w = np.asarray(weights)
    return float(max(w.max(initial=0), min(1, _EVEN / max(1, w.shape[-1]))))


def percent(share: float) -> str:
    """0.384 -> 38 %, 0.0123 -> 1.2 %, 0.00012 -> 0.01 %."""
    return f"{100 * share:.{0 if share >= 0.0995 or share == 0 else 1 if share >= 0.00995 else 2}f}\u00a0%"


def right_to_left(text: str) -> bool | None:
    """Which way a text runs: its first letter decides; None where there is none."""
    kinds = (unicodedata.bidirectional(c) for c in text)
    return next((kind != "L" for kind in kinds if kind in ("L", "R", "AL")), None)


def backwards(words: Iterable[ShadedWord]) -> bool:
    """Whether a text runs from right to left."""
    return bool(right_to_left(" ".join(word.text for word in words)))


def _words(pieces: Sequence[str], words: Sequence[int]) -> tuple[list[ShadedWord], list[int]]:
    """The words, and for each piece the place of its word there, -1 for none."""
    spelt: dict[int, list[str]] = {}
    for piece, word in zip(pieces, words, strict=True):
        spelt.setdefault(word, []).append(piece)
    unspaced = {word for word, its in spelt.items() if _UNSPACED.search(_text(its))}
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
    """What each word's pieces have in common."""
    return list(
        {word_index: value for word_index, value in zip(word_indices, values, strict=True) if word_index >= 0}.values()
    )


def _text(pieces: Sequence[str]) -> str:
    """What pieces of one word spell, SentencePiece's marks gone and its bytes joined to characters."""
    bytewise = ((_BYTE.fullmatch(piece), piece) for piece in pieces)
    spelt = b"".join(bytes.fromhex(byte[1]) if byte else piece.encode(errors="replace") for byte, piece in bytewise)
    return spelt.decode(errors="replace").replace("▁", " ").strip()
