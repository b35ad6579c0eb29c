"""Probes: small transductions whose right alignment is known, each of which asks one thing of attention.

Trained at some lengths, tested at longer ones: what a mechanism has learnt by position it cannot use there.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from string import ascii_lowercase
from typing import NamedTuple

from seq2seq.config.ranges import Count, CountOrZero
from seq2seq.data.records import Record
from seq2seq.data.toy.generated import Generated
from seq2seq.errors import UserError

FUNCTION_WORDS = ("la", "de", "en")
EVERY = 4  # one symbol of so many is announced by a function word
MARK = "!"
PATIENCE = 1000  # repeated sentences in a row, after which there are no others


class SourceTarget(NamedTuple):
    """A target word with the places of the source words that it stands for, and those it may also be linked to."""

    word: str
    of: tuple[int, ...] = ()
    maybe: tuple[int, ...] = ()


@dataclass(frozen=True)
class Probe(Generated):
    """Sources drawn at random, no two alike, and the one right answer to each.

    ``lengths`` are the least and most source words of train and valid, ``test_lengths`` those of test; each length is
    drawn as often. ``symbols`` is the size of the vocabulary.
    """

    train: Count = 4000
    valid: CountOrZero = 300
    test: CountOrZero = 500
    lengths: Sequence[int] = (3, 12)
    test_lengths: Sequence[int] = (13, 24)
    symbols: Count = 26
    seed: int = 1

    def __post_init__(self) -> None:
        """Check that the sizes are in range."""
        for option in ("lengths", "test_lengths"):
            said = list(getattr(self, option))
            if len(said) != 2 or not self._shortest <= said[0] <= said[1]:
                raise UserError(f"{option}={said} must be [least, most], least at least {self._shortest}")
        if self.symbols < 2:
            raise UserError(f"symbols={self.symbols} must be at least 2")

    @property
    def _shortest(self) -> int:
        return 1

    @abstractmethod
    def answer(self, source: Sequence[str]) -> list[SourceTarget]:
        """Return the target of ``source``."""

    def draw(self, random: Random, length: int) -> list[str]:
        """Draw a source of ``length`` words."""
        return random.choices(self.words, k=length)

    @cached_property
    def words(self) -> list[str]:
        """The symbols: a, b, ..., z, a1, b1, ..."""
        return [ascii_lowercase[n % 26] + (str(n // 26) if n >= 26 else "") for n in range(self.symbols)]

    def generate(self) -> dict[str, list[Record]]:
        """Drawn one after another, no source twice."""
        random, seen = Random(self.seed), set[str]()

        def some(option: str, count: int) -> Iterator[Record]:
            misses, (least, most) = 0, getattr(self, option)
            while count:
                source = self.draw(random, random.randint(least, most))
                if (text := " ".join(source)) in seen:
                    misses += 1
                    if misses == PATIENCE:
                        raise UserError(
                            f"there are not enough different sources of {option}={[least, most]}: "
                            "ask for fewer, longer ones or more symbols"
                        )
                    continue
                seen.add(text)
                misses, count = 0, count - 1
                yield _record(text, self.answer(source))

        sizes = {"train": ("lengths", self.train), "valid": ("lengths", self.valid)}
        sizes["test"] = ("test_lengths", self.test)
        return {split: list(some(*size)) for split, size in sizes.items()}


class Copy(Probe):
    """y_j = x_j. Symbols repeat, so that content alone cannot say which of them comes next; the place can."""

    def answer(self, source: Sequence[str]) -> list[SourceTarget]:
        """Return the source itself."""
        return [SourceTarget(word, (i,)) for i, word in enumerate(source)]


class Reverse(Probe):
    """y_j = x_{S-1-j}. Where to look depends on the length, and moves backwards."""

    def answer(self, source: Sequence[str]) -> list[SourceTarget]:
        """Return the source in reverse."""
        return [SourceTarget(source[i], (i,)) for i in reversed(range(len(source)))]


@dataclass(frozen=True)
class Sort(Probe):
    """The source's numbers in rising order, equal ones in the source's order (the others of them are possible links).

    Where to look is told by content alone.
    """

    symbols: Count = 10

    @cached_property
    def words(self) -> list[str]:
        """Return the numbers from 0 on."""
        return list(map(str, range(self.symbols)))

    def answer(self, source: Sequence[str]) -> list[SourceTarget]:
        """Return the numbers in order; equal ones keep theirs."""
        ties = {word: tuple(i for i, other in enumerate(source) if other == word) for word in source}
        order = sorted(range(len(source)), key=lambda i: int(source[i]))
        return [SourceTarget(source[i], (i,), tuple(k for k in ties[source[i]] if k != i)) for i in order]


@dataclass(frozen=True)
class Insert(Probe):
    """A long monotone transduction: each symbol becomes its capital, and one symbol of four is announced by a function
    word of its own, which falls between its neighbours (possible links to both). T is about 5/4 S.
    """

    train: Count = 3000
    test: CountOrZero = 300
    lengths: Sequence[int] = (10, 30)
    test_lengths: Sequence[int] = (31, 60)

    def answer(self, source: Sequence[str]) -> list[SourceTarget]:
        """Capitals in the source's order, function words between them."""
        said = []
        for i, word in enumerate(source):
            group, rest = divmod(self.words.index(word), EVERY)
            if rest == EVERY - 1:
                around = (i - 1, i) if i else (i,)
                said.append(SourceTarget(FUNCTION_WORDS[group % len(FUNCTION_WORDS)], maybe=around))
            said.append(SourceTarget(word.upper(), (i,)))
        return said


@dataclass(frozen=True)
class Needle(Probe):
    """Retrieval: somewhere in a long source stands a mark, and the ``value`` words after it are the answer.

    All other words are drawn from the same symbols: nothing but the mark tells the needle from the hay.
    """

    train: Count = 3000
    test: CountOrZero = 300
    lengths: Sequence[int] = (16, 48)
    test_lengths: Sequence[int] = (49, 128)
    value: int = 4

    def __post_init__(self) -> None:
        """Check that the sizes are in range."""
        if self.value < 1:
            raise UserError(f"value={self.value} must be at least 1")
        super().__post_init__()

    @property
    def _shortest(self) -> int:
        return 1 + self.value

    def draw(self, random: Random, length: int) -> list[str]:
        """Hay with one mark in it, the value after it."""
        hay = random.choices(self.words, k=length)
        hay[random.randrange(length - self.value)] = MARK
        return hay

    def answer(self, source: Sequence[str]) -> list[SourceTarget]:
        """Return the words that follow the mark."""
        first = source.index(MARK) + 1
        return [SourceTarget(source[i], (i,)) for i in range(first, first + self.value)]


def _record(source: str, target: Sequence[SourceTarget]) -> Record:
    sure = sorted([i, j] for j, said in enumerate(target) for i in said.of)
    possible = sorted([i, j] for j, said in enumerate(target) for i in said.maybe)
    return Record(source=source, target=" ".join(said.word for said in target), alignment=sure, possible=possible)
