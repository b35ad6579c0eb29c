"""Probes: small transductions with known alignments, each of which tests one ability of attention.

Train has shorter sources than test. A mechanism that has learnt positions cannot use them at the longer lengths.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from string import ascii_lowercase
from typing import NamedTuple

from typing_extensions import override

from seq2seq.config.ranges import Count, CountOrZero
from seq2seq.data.records import Record
from seq2seq.data.toy.generated import Generated
from seq2seq.errors import UserError

FUNCTION_WORDS = ("la", "de", "en")
EVERY = 4  # one of so many symbols follows a function word
MARK = "!"
PATIENCE = 1000  # repeated sources in a row, after which we assume that there are no others


class SourceTarget(NamedTuple):
    """Target word with the places of its source words: sure links (``of``) and possible links (``maybe``)."""

    word: str
    of: tuple[int, ...] = ()
    maybe: tuple[int, ...] = ()


@dataclass(frozen=True)
class Probe(Generated):
    """Random sources, all different, each with its only correct target.

    Args:
        train, valid, test: Number of records of the split.
        lengths: Least and most source words in train and valid; all lengths are equally probable.
        test_lengths: Least and most source words in test.
        symbols: Size of the vocabulary.
        seed: Seed of the sources.
    """

    train: Count = 4000
    valid: CountOrZero = 300
    test: CountOrZero = 500
    lengths: Sequence[int] = (3, 12)
    test_lengths: Sequence[int] = (13, 24)
    symbols: Count = 26
    seed: int = 1

    def __post_init__(self) -> None:
        """Check the ranges of the options."""
        for option in ("lengths", "test_lengths"):
            bounds = list(getattr(self, option))
            if len(bounds) != 2 or not self._shortest <= bounds[0] <= bounds[1]:
                raise UserError(f"{option}={bounds} must be [least, most], and least must be at least {self._shortest}")
        if self.symbols < 2:
            raise UserError(f"symbols={self.symbols} must be at least 2")

    @property
    def _shortest(self) -> int:
        """Smallest possible number of source words."""
        return 1

    @abstractmethod
    def answer(self, source: Sequence[str]) -> list[SourceTarget]:
        """Return the target words of a source, with their links.

        Args:
            source: Source words.
        """

    def draw(self, random: Random, length: int) -> list[str]:
        """Return a random source.

        Args:
            random: Generator of random numbers.
            length: Number of source words.
        """
        return random.choices(self.words, k=length)

    @cached_property
    def words(self) -> list[str]:
        """Symbols of the sources: a, b, ..., z, a1, b1, ..."""
        return [ascii_lowercase[n % 26] + (str(n // 26) if n >= 26 else "") for n in range(self.symbols)]

    @override
    def generate(self) -> dict[str, list[Record]]:
        random, seen = Random(self.seed), set[str]()

        def records_of(option: str, count: int) -> Iterator[Record]:
            """Yield records with new sources whose lengths lie within the bounds of an option."""
            # Count the repeated sources in a row.
            misses, (least, most) = 0, getattr(self, option)
            while count:
                source = self.draw(random, random.randint(least, most))
                if (text := " ".join(source)) in seen:
                    misses += 1
                    if misses == PATIENCE:
                        raise UserError(
                            f"{option}={[least, most]} does not allow enough different sources; "
                            "set fewer records, longer sources or more symbols"
                        )
                    continue
                seen.add(text)
                misses, count = 0, count - 1
                yield _record(text, self.answer(source))

        # All splits share `seen`, so that no source is in two of them.
        sizes = {"train": ("lengths", self.train), "valid": ("lengths", self.valid)}
        sizes["test"] = ("test_lengths", self.test)
        return {split: list(records_of(*size)) for split, size in sizes.items()}


class Copy(Probe):
    """Copying: y_j = x_j.

    Symbols repeat, so that the content does not tell which of them is next, but the position does.
    """

    @override
    def answer(self, source: Sequence[str]) -> list[SourceTarget]:
        return [SourceTarget(word, (i,)) for i, word in enumerate(source)]


class Reverse(Probe):
    """Reversal: y_j = x_{S-1-j}.

    The position to attend to depends on the length, and moves backwards.
    """

    @override
    def answer(self, source: Sequence[str]) -> list[SourceTarget]:
        return [SourceTarget(source[i], (i,)) for i in reversed(range(len(source)))]


@dataclass(frozen=True)
class Sort(Probe):
    """Sorting: the source's numbers in ascending order; equal numbers keep their order.

    Only the content tells where to attend. A target number has possible links to all other equal numbers of the source.
    """

    symbols: Count = 10

    @cached_property
    @override
    def words(self) -> list[str]:
        """Numbers from 0 on."""
        return list(map(str, range(self.symbols)))

    @override
    def answer(self, source: Sequence[str]) -> list[SourceTarget]:
        # Collect the places of equal numbers.
        ties = {word: tuple(i for i, other in enumerate(source) if other == word) for word in source}
        # Sort the places; the sort is stable.
        order = sorted(range(len(source)), key=lambda i: int(source[i]))
        return [SourceTarget(source[i], (i,), tuple(k for k in ties[source[i]] if k != i)) for i in order]


@dataclass(frozen=True)
class Insert(Probe):
    """Long monotone transduction: symbols become capital letters, and one of four gets a function word before it.

    The symbol decides which function word it is. The function word has possible links to the symbol and to the symbol
    before. T is about 5/4 S.
    """

    train: Count = 3000
    test: CountOrZero = 300
    lengths: Sequence[int] = (10, 30)
    test_lengths: Sequence[int] = (31, 60)

    @override
    def answer(self, source: Sequence[str]) -> list[SourceTarget]:
        target = []
        for i, word in enumerate(source):
            group, rest = divmod(self.words.index(word), EVERY)
            # Put a function word before the last symbol of each group of four.
            if rest == EVERY - 1:
                around = (i - 1, i) if i else (i,)
                target.append(SourceTarget(FUNCTION_WORDS[group % len(FUNCTION_WORDS)], maybe=around))
            target.append(SourceTarget(word.upper(), (i,)))
        return target


@dataclass(frozen=True)
class Needle(Probe):
    """Retrieval: the target is the ``value`` words that follow a mark, which stands anywhere in a long source.

    All other words are random symbols, so that only the mark tells where the value is.

    Args:
        train, valid, test: Number of records of the split.
        lengths: Least and most source words in train and valid.
        test_lengths: Least and most source words in test.
        symbols: Size of the vocabulary.
        seed: Seed of the sources.
        value: Number of words after the mark.
    """

    train: Count = 3000
    test: CountOrZero = 300
    lengths: Sequence[int] = (16, 48)
    test_lengths: Sequence[int] = (49, 128)
    value: int = 4

    def __post_init__(self) -> None:
        """Check the ranges of the options."""
        if self.value < 1:
            raise UserError(f"value={self.value} must be at least 1")
        super().__post_init__()

    @property
    @override
    def _shortest(self) -> int:
        return 1 + self.value

    @override
    def draw(self, random: Random, length: int) -> list[str]:
        source = random.choices(self.words, k=length)
        # Put the mark where the value fits after it.
        source[random.randrange(length - self.value)] = MARK
        return source

    @override
    def answer(self, source: Sequence[str]) -> list[SourceTarget]:
        first = source.index(MARK) + 1
        return [SourceTarget(source[i], (i,)) for i in range(first, first + self.value)]


def _record(source: str, target: Sequence[SourceTarget]) -> Record:
    """Return the record of a source and its target words."""
    sure = sorted([i, j] for j, word in enumerate(target) for i in word.of)
    possible = sorted([i, j] for j, word in enumerate(target) for i in word.maybe)
    return Record(source=source, target=" ".join(word.word for word in target), alignment=sure, possible=possible)
