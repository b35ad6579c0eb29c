"""Attention between words, from attention between pieces.

Letters: T target pieces, S source pieces, J target words, I source words. Pieces that belong to no word (``</s>`` and
the other special tokens) do not count in the weights of any word.
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
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts without spaces between words, for the package ``regex``."""
WORD = rf"(?V1)[{UNSPACED}]\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--[{UNSPACED}]]+"
"""Pattern of a word in any script, for the package ``regex``."""
_SPACE = "▁"  # SentencePiece marks the start of a word with it
_UNKNOWN = "\ufffd"  # stands for a piece that does not show its characters; no text contains it
_BYTE = re.compile("<0x[0-9A-F]{2}>")  # SentencePiece's notation of one byte of a character


def spoken(text: str) -> list[str]:
    """Return the words of a text in lower case.

    Words are runs of letters and digits of any script. In scripts without spaces, each character is a word.
    Punctuation is dropped.

    Args:
        text: Any text.
    """
    words: list[str] = regex.findall(WORD, text.lower())
    return words


def summed(rows: ArrayLike, places: ArrayLike, count: int | None = None) -> Array:
    """Return the sums of the rows that have the same index.

    Args:
        rows: Rows (X, ...).
        places: Index of each row (X,); rows of index -1 are left out.
        count: Number of sums; if not given, one more than the largest index.

    Returns:
        Sums (count, ...).
    """
    values, index = np.asarray(rows, dtype=np.float64), np.asarray(places, dtype=np.int64)
    total = np.zeros((int(index.max(initial=-1)) + 1 if count is None else count, *values.shape[1:]))
    # Unlike ``total[index] += values``, ``np.add.at`` adds all rows that share an index.
    np.add.at(total, index[index >= 0], values[index >= 0])
    return total


def overlap(pieces: Sequence[str], words: Sequence[str]) -> Array:
    """Return the share of the characters of each piece that lies in each word.

    The words may come from another tokenizer, such as those of a gold file. Both sides are normalised (NFKC, lower
    case, no spaces) and their characters are aligned. A piece may therefore span several words, and a word may differ a
    little in spelling. An unknown piece belongs to the words that no other piece covers.

    Args:
        pieces: Pieces of a tokenizer.
        words: Words of the same text.

    Returns:
        Shares (pieces, words). A row sums to 1, or to 0 if the piece lies in no word.
    """
    # Align the characters of both sides.
    piece_of, piece_text = _spell([_surface(piece) for piece in pieces])
    word_of, word_text = _spell(words)
    shares = np.zeros((len(pieces), len(words)))
    for tag, a, a_end, b, b_end in SequenceMatcher(None, piece_text, word_text, autojunk=False).get_opcodes():
        if tag in ("equal", "replace"):
            # Map replaced spans of different lengths onto each other in proportion.
            span = max(a_end - a, b_end - b)
            for step in range(span):
                piece, word = a + step * (a_end - a) // span, b + step * (b_end - b) // span
                shares[piece_of[piece], word_of[word]] += 1

    # Normalise the counts of each piece.
    totals = shares.sum(1, keepdims=True)
    np.divide(shares, totals, out=shares, where=totals > 0)
    return shares


def merge(weights: ArrayLike, source: ArrayLike, target: ArrayLike) -> Array:
    """Return the attention between words: the weight that each target word gives to each source word.

    W_ji = mean_{t in j} sum_{s in i} a_ts: the weights of the pieces of a source word are added, and the pieces of a
    target word are averaged. A piece that is shared among words counts by its share.

    Args:
        weights: Attention between pieces (T, S), one row for each target piece, in order (see ``about_predicted``).
        source: Word of each source piece (S,), -1 for none; or shares of pieces in words (S, I) (``overlap``).
        target: Word of each target piece (T,), -1 for none; or shares of pieces in words (T, J).

    Returns:
        Attention between words (J, I).

    Raises:
        ValueError: The shapes do not match.
    """
    a, p, q = np.asarray(weights, dtype=np.float64), np.asarray(source), np.asarray(target)
    if a.shape != (len(q), len(p)):
        raise ValueError(f"weights {a.shape} do not match {len(q)} target pieces and {len(p)} source pieces")
    # Sum over the pieces of source words, then over the pieces of target words; divide by the number of target pieces.
    total, counts = _by_word(_by_word(a.T, p).T, q), _by_word(np.ones((len(q), 1)), q)
    return np.divide(total, counts, out=np.zeros_like(total), where=counts > 0)


def _by_word(rows: Array, parts: NDArray[Any]) -> Array:
    """Sum rows (X, ...) to (words, ...), by the word of each row (X,) or the shares of each row in words (X, words)."""
    return summed(rows, parts) if parts.ndim == 1 else np.asarray(parts.T @ rows, dtype=np.float64)


def about_predicted(weights: ArrayLike, rows: str = "predicted") -> Array:
    """Return weights whose row t belongs to the target token y_t (Luong et al. 2015, footnote 14).

    Step t reads y_(t-1) and predicts y_t. If the weights of step t belong to the predicted token (``rows="predicted"``:
    location scores, Bahdanau's order), they are returned as they are. If they belong to the token that is read
    (``rows="input"``: dot, general and concat, according to the paper), the weights of y_t are in row t + 1. The last
    token, ``</s>``, is never read, and its row becomes zero.

    Args:
        weights: Attention (T, S) of the steps.
        rows: Token to which a row belongs, ``predicted`` or ``input``.

    Returns:
        Attention (T, S) of the target tokens.

    Raises:
        ValueError: ``rows`` has another value.
    """
    a = np.asarray(weights, dtype=np.float64)
    if rows == "predicted":
        return a
    # Move all rows up by one, and append zeros for </s>.
    if rows == "input":
        return np.concatenate([a[1:], np.zeros_like(a[:1])])
    raise ValueError(f"rows must be 'predicted' or 'input', not {rows!r}")


def _surface(piece: str) -> str:
    """Return the characters of a piece; none for a special token, a placeholder for an unknown token or a byte."""
    # The characters of such a piece are unknown; the placeholder is aligned with a word instead.
    if piece == SPECIALS[UNK] or _BYTE.fullmatch(piece):
        return _UNKNOWN
    return "" if piece in SPECIALS else piece.replace(_SPACE, "")


def _spell(parts: Sequence[str]) -> tuple[list[int], str]:
    """Return the index of the part of each character, and all characters, normalised."""
    # NFKC may change the number of characters, so that each part is normalised by itself.
    spelt = ["".join(unicodedata.normalize("NFKC", part).casefold().split()) for part in parts]
    return [place for place, part in enumerate(spelt) for _ in part], "".join(spelt)


METRICS = (
    Metric(
        "recall",
        "outputs",
        "share of reference words that the output contains in the same order; for slices only",
    ),
)
