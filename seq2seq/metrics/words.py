"""From pieces to words: whose word each piece is, and attention between words.

Letters: T target pieces, S source pieces, J target words, I source words. Pieces that belong to
no word (``</s>`` and the other specials) are left out of every word's weights.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np
import regex
from numpy.typing import ArrayLike, NDArray

from seq2seq.batch import SPECIALS, UNK
from seq2seq.metrics.metric import Metric

Array = NDArray[np.float64]
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"  # have no spaces; for ``regex``
WORD = rf"(?V1)[{UNSPACED}]\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--[{UNSPACED}]]+"  # of any script; for ``regex``
_SPACE = "▁"  # SentencePiece's mark of a word's start
_UNKNOWN = "\ufffd"  # no text has it: it stands where a piece doesn't show its characters
_BYTE = re.compile("<0x[0-9A-F]{2}>")  # SentencePiece's spelling of one byte of a character


def spoken(text: str) -> list[str]:
    """The words of a text in any script, in lower case: letters and digits, marks dropped; a character is a word where
    the script sets no spaces.
    """
    return regex.findall(WORD, text.lower())


def summed(rows: ArrayLike, places: ArrayLike, count: int | None = None) -> Array:
    """(X, ...) -> (count, ...): rows of one place added up; those of place -1 are left out.

    ``places`` (X,); ``count`` is one more than the largest of them if not given.
    """
    values, index = np.asarray(rows, dtype=np.float64), np.asarray(places, dtype=np.int64)
    total = np.zeros((int(index.max(initial=-1)) + 1 if count is None else count, *values.shape[1:]))
    np.add.at(total, index[index >= 0], values[index >= 0])
    return total


def overlap(pieces: Sequence[str], words: Sequence[str]) -> Array:
    """(pieces, words) the share of each piece's characters that stands in each word.

    For words that another tokenizer made, such as those of a gold file: both sides are normalised
    (NFKC, lower case, no spaces) and their characters aligned, so that a piece may span words and
    a word may differ a little in spelling. An unknown piece takes the words that nobody else does.
    """
    piece_of, piece_text = _spell([_surface(piece) for piece in pieces])
    word_of, word_text = _spell(words)
    shares = np.zeros((len(pieces), len(words)))
    for tag, a, a_end, b, b_end in SequenceMatcher(None, piece_text, word_text, autojunk=False).get_opcodes():
        if tag in ("equal", "replace"):
            span = max(a_end - a, b_end - b)  # unequal stretches are laid over each other proportionally
            for step in range(span):
                piece, word = a + step * (a_end - a) // span, b + step * (b_end - b) // span
                shares[piece_of[piece], word_of[word]] += 1
    totals = shares.sum(1, keepdims=True)
    return np.divide(shares, totals, out=shares, where=totals > 0)


def merge(weights: ArrayLike, source: ArrayLike, target: ArrayLike) -> Array:
    """Attention between words, (J, I): what a target word gives a source word.

    W_ji = mean_{t in j} sum_{s in i} a_ts: the mass of a source word's pieces adds up, and the
    pieces of a target word are averaged, each in its share of the word.

    ``weights`` (T, S) has one row for each piece of the target, in its order (see ``about_predicted``);
    ``source`` (S,) and ``target`` (T,) number the word of each piece, -1 for none, or share pieces among words:
    (S, I), (T, J) (``overlap``).
    """
    a, p, q = np.asarray(weights, dtype=np.float64), np.asarray(source), np.asarray(target)
    if a.shape != (len(q), len(p)):
        raise ValueError(f"weights {a.shape} don't fit {len(q)} target pieces and {len(p)} source pieces")
    total, counts = _by_word(_by_word(a.T, p).T, q), _by_word(np.ones((len(q), 1)), q)
    return np.divide(total, counts, out=np.zeros_like(total), where=counts > 0)


def _by_word(rows: Array, parts: NDArray[Any]) -> Array:
    """(X, ...) -> (words, ...), from the word of each row (X,), or each row's shares of words (X, words)."""
    return summed(rows, parts) if parts.ndim == 1 else np.asarray(parts.T @ rows, dtype=np.float64)


def about_predicted(weights: ArrayLike, rows: str = "predicted") -> Array:
    """(T, S) whose row t is about the target token y_t that step t predicts (Luong et al. 2015, footnote 14).

    Step t reads y_(t-1) and predicts y_t. Where the weights answer for the word predicted (``rows="predicted"``:
    location scores, Bahdanau's order), they are as wanted. Where they answer for the word read (``rows="input"``:
    what the paper says of dot, general and concat), y_t is explained one row further down; the last token,
    ``</s>``, is never read and its row becomes zero.
    """
    a = np.asarray(weights, dtype=np.float64)
    if rows == "predicted":
        return a
    if rows == "input":
        return np.concatenate([a[1:], np.zeros_like(a[:1])])
    raise ValueError(f"rows must be 'predicted' or 'input', not {rows!r}")


def _surface(piece: str) -> str:
    if piece == SPECIALS[UNK] or _BYTE.fullmatch(piece):
        return _UNKNOWN
    return "" if piece in SPECIALS else piece.replace(_SPACE, "")


def _spell(parts: Sequence[str]) -> tuple[list[int], str]:
    """The part each character belongs to, and the characters."""
    spelt = ["".join(unicodedata.normalize("NFKC", part).casefold().split()) for part in parts]
    return [place for place, part in enumerate(spelt) for _ in part], "".join(spelt)


METRICS = (
    Metric("recall", "outputs", "share of the reference's words that the output has in the same order; of slices only"),
)
