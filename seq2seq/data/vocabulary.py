"""Sizes of vocabularies, texts for the training of tokenizers, and counts of unknown tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from seq2seq.batch import UNK
from seq2seq.data.example import Ids
from seq2seq.data.piece_vocabulary import SPACE
from seq2seq.data.tokenizer import BY_WORD, Tokenizer

TOLERATED = 0.01  # largest share of <unk> among the tokens of a split without a warning
SHOWN = 8  # number of unknown letters or words in a warning
DISTINCT = 100_000  # largest number of different unknown letters or words that are counted

SIZES = (8000, 4000, 2000)
"""Sizes of a vocabulary that follows the text, in pieces."""
CHARACTERS = 300
"""Characters of text that each of these pieces needs; with less text, a piece occurs too rarely to be learnt."""
REMEDIES = {
    "word": "a tokenizer trained with data.tokenizer.type=bpe or a larger vocab_size leaves fewer",
    "letters": "the training split does not have them; decoder.copy=true copies such letters of the source",
}
"""What leaves fewer ``<unk>``, by type of the tokenizer."""

T = TypeVar("T")


def draw(items: Iterable[T], count: int) -> list[T]:
    """Return all items if there are at most ``count``, else a random sample of ``count`` of them.

    The items are read once, and the same items give the same sample. Vitter 1985, "Random sampling with a reservoir",
    algorithm R.

    Args:
        items: Items to draw from; each has the same probability.
        count: Largest number of items to return.
    """
    random, drawn = Random(0), []
    for number, item in enumerate(items):
        if number < count:
            drawn.append(item)
        # The new item replaces a random one with probability count / (number + 1).
        elif (place := random.randrange(number + 1)) < count:
            drawn[place] = item
    return drawn


def fitting_size(texts: Iterable[str], type: str) -> int:
    """Return the number of pieces of a tokenizer that suits some texts.

    It is the largest of 8,000, 4,000 and 2,000 that leaves 300 characters of text to each piece, or 2,000 for a shorter
    text. It is at least twice the number of different characters, because these are pieces too. Vocabularies of words
    and characters (``word``, ``char``) have at most 8,000 pieces.

    Args:
        texts: Texts to learn from.
        type: Type of the tokenizer: unigram, bpe, word or char.
    """
    if type not in ("unigram", "bpe"):
        return SIZES[0]
    # Count the characters.
    characters: Counter[str] = Counter()
    for text in texts:
        characters.update(text)
    # Choose the largest size with enough text for each piece.
    size = next((size for size in SIZES if characters.total() >= CHARACTERS * size), SIZES[-1])
    return max(size, 2 * len(characters))


@dataclass
class UnknownTokens:
    """Counter of ``<unk>`` on one side of a split, and of the letters or words that become ``<unk>``."""

    tokens: int = 0
    unknown: int = 0
    _found: Counter[str] = field(default_factory=Counter)

    def add(self, tokenizer: Tokenizer, text: str, ids: Ids) -> None:
        """Count the unknown tokens of a text.

        Args:
            tokenizer: Tokenizer of the text.
            text: Text.
            ids: Ids of the text.
        """
        self.tokens += len(ids)
        count = list(ids).count(UNK)
        if not count:
            return
        self.unknown += count
        # Encode again to see the spelling, which only few texts need.
        for index, piece in zip(tokenizer.encode(text), tokenizer.spell(text), strict=True):
            if index == UNK and (piece in self._found or len(self._found) < DISTINCT):
                found = piece.replace(SPACE, "")
                self._found.update([found] if tokenizer.type in BY_WORD else found)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts for JSON."""
        found = [text for text, _ in self._found.most_common(SHOWN)]
        return {"tokens": self.tokens, "unknown": self.unknown, "found": found}


def warnings(split: str, sides: Mapping[str, Mapping[str, Any]], tokenizers: Mapping[str, Tokenizer]) -> Sequence[str]:
    """Return one line for each side of a split with too many ``<unk>``.

    Args:
        split: Name of the split.
        sides: Counts of each side (``UnknownTokens.as_dict``).
        tokenizers: Tokenizer of each side.
    """
    lines = []
    for side, counted in sides.items():
        share = counted["unknown"] / max(counted["tokens"], 1)
        if share > TOLERATED:
            # A larger vocabulary has more words; bytes can write any character.
            kind = tokenizers[side].type
            remedy = REMEDIES.get(kind, "a tokenizer trained with data.tokenizer.byte_fallback=true leaves none")
            lines.append(
                f"{split}: {100 * share:.1f} % of the {side}'s tokens are <unk>, most often "
                f"{' '.join(counted['found'])}; {remedy}"
            )
    return lines
