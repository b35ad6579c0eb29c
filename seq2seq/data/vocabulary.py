"""What the tokenizers of a corpus learn from, and how much of a split they do not know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from seq2seq.batch import UNK
from seq2seq.data.example import Ids
from seq2seq.data.piece_vocabulary import SPACE
from seq2seq.data.tokenizer import Tokenizer

TOLERATED = 0.01  # share of a split's tokens that may be <unk> without a warning
SHOWN = 8  # of the commonest unknown letters
DISTINCT = 100_000  # unknown letters or words that are told apart

SIZES = (8000, 4000, 2000)
"""Of a vocabulary that follows the text, in pieces."""
CHARACTERS = 300
"""Of the text, for each of those pieces: rarer ones stand too seldom in it to be learnt."""

T = TypeVar("T")


def draw(items: Iterable[T], count: int) -> list[T]:
    """All of ``items`` if there are at most ``count``, else ``count`` of them, each with the same probability.

    One pass, and the same draw for the same items. Vitter 1985, "Random sampling with a reservoir", algorithm R.
    """
    random, drawn = Random(0), []
    for number, item in enumerate(items):
        if number < count:
            drawn.append(item)
        elif (place := random.randrange(number + 1)) < count:
            drawn[place] = item
    return drawn


def fitting_size(texts: Iterable[str], type: str) -> int:
    """Return the pieces of a tokenizer of this ``type`` that learns from ``texts``.

    They are the largest of 8,000, 4,000 and 2,000 that leaves 300 characters of text to each, and at least twice the
    different characters, which are pieces too. Words and characters (``word``, ``char``) are 8,000 at most.
    """
    if type not in ("unigram", "bpe"):
        return SIZES[0]
    characters: Counter[str] = Counter()
    for text in texts:
        characters.update(text)
    size = next((size for size in SIZES if characters.total() >= CHARACTERS * size), SIZES[-1])
    return max(size, 2 * len(characters))


@dataclass
class UnknownTokens:
    """How many of the tokens of one side of a split are ``<unk>``, and what stands there most often."""

    tokens: int = 0
    unknown: int = 0
    _found: Counter[str] = field(default_factory=Counter)

    def add(self, tokenizer: Tokenizer, text: str, ids: Ids) -> None:
        """Count ``ids``, which were made of ``text``."""
        self.tokens += len(ids)
        count = list(ids).count(UNK)
        if not count:
            return
        self.unknown += count
        for index, piece in zip(tokenizer.encode(text), tokenizer.spell(text), strict=True):
            if index == UNK and (piece in self._found or len(self._found) < DISTINCT):
                found = piece.replace(SPACE, "")
                self._found.update([found] if tokenizer.type == "word" else found)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts for JSON."""
        found = [text for text, _ in self._found.most_common(SHOWN)]
        return {"tokens": self.tokens, "unknown": self.unknown, "found": found}


def warnings(split: str, sides: Mapping[str, Mapping[str, Any]], tokenizers: Mapping[str, Tokenizer]) -> Sequence[str]:
    """A line for each side of a split of which more is ``<unk>`` than ``TOLERATED``."""
    lines = []
    for side, counted in sides.items():
        share = counted["unknown"] / max(counted["tokens"], 1)
        if share > TOLERATED:
            word = tokenizers[side].type == "word"
            remedy = "data.tokenizer.type=bpe or a larger vocab_size" if word else "data.tokenizer.byte_fallback=true"
            lines.append(
                f"{split}: {100 * share:.1f} % of the {side}'s tokens are <unk>, most often "
                f"{' '.join(counted['found'])}; a tokenizer trained with {remedy} leaves {'fewer' if word else 'none'}"
            )
    return lines
