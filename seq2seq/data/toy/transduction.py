"""Toy transduction dataset: from a stem and its tags to the inflected form, with gold links between characters.

The rules are simplified rules of Turkish. A stem takes the plural suffix, a case suffix, or both in this order:

=====  ======  ===============================================================================
tag    suffix
=====  ======  ===============================================================================
PL     lAr
ACC    (y)I    y after a vowel; a final p, t, k, ç becomes b, d, ğ, c before the suffix
DAT    (y)A    likewise
LOC    DA      t after a voiceless consonant, else d
=====  ======  ===============================================================================

A is a after a back vowel and e after a front one. I is ı, i, u or ü: the last vowel decides whether it is back or
front, and round or not. Spaces separate the characters, so that each one is a word that gold links can name:
``k i t a p ACC`` -> ``k i t a b ı``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from typing_extensions import override

from seq2seq.config.ranges import Count, CountOrZero
from seq2seq.data.records import Record
from seq2seq.data.toy.generated import Generated

# Letters of stems, and the classes that the rules need.
CONSONANTS = "bçdfghklmnprsştvyz"
FINALS = "çfklmnprsştyz"
VOWELS = "aıoueiöü"
BACK, ROUND, VOICELESS = frozenset("aıou"), frozenset("ouöü"), frozenset("çfhkpsşt")
HIGH = {(True, False): "ı", (False, False): "i", (True, True): "u", (False, True): "ü"}  # {(back, round): vowel}
VOICED = {"p": "b", "t": "d", "k": "ğ", "ç": "c"}
TAGS = (("PL",), ("ACC",), ("DAT",), ("LOC",), ("PL", "ACC"), ("PL", "DAT"), ("PL", "LOC"))
SYLLABLES = (1, 3)  # least and most syllables of a stem


class Inflection:
    """Form of a stem to which suffixes are added, with the links of its characters to the source symbols.

    Args:
        stem: Characters of the stem.
    """

    def __init__(self, stem: Sequence[str]) -> None:
        self.form = list(stem)
        # Each character of the stem comes from itself.
        self.sure = [[letter_index, letter_index] for letter_index in range(len(stem))]
        self.possible: list[list[int]] = []  # links to symbols that a character also depends on
        self.origin = list(range(len(stem)))  # source symbol of each character

    def add(self, tag: str, letter_index: int) -> None:
        """Add the suffix of a tag to the form.

        Args:
            tag: Tag of the suffix.
            letter_index: Place of the tag in the source.
        """
        last_is_vowel = self.form[-1] in VOWELS
        # Choose the suffix.
        if tag == "PL":
            suffix = "lAr"
        elif tag == "LOC":
            suffix = "tA" if self.form[-1] in VOICELESS else "dA"
        else:
            suffix = ("y" if last_is_vowel else "") + ("I" if tag == "ACC" else "A")
            # Voice the final consonant, which then also depends on the tag.
            if self.form[-1] in VOICED:
                self.form[-1] = VOICED[self.form[-1]]
                self.possible.append([letter_index, len(self.form) - 1])
        # Add the letters.
        for letter in suffix:
            self._append(letter, letter_index)

    def _append(self, letter: str, letter_index: int) -> None:
        """Add a letter of a suffix to the form; A and I follow the last vowel."""
        self.sure.append([letter_index, len(self.form)])
        if letter in "AI":
            # Find the last vowel.
            before = max(index for index, character in enumerate(self.form) if character in VOWELS)
            vowel = self.form[before]
            # A vowel of another symbol is a possible link.
            if self.origin[before] != letter_index:
                self.possible.append([self.origin[before], len(self.form)])
            # Choose the vowel that agrees with it.
            is_back = vowel in BACK
            letter = ("a" if is_back else "e") if letter == "A" else HIGH[is_back, vowel in ROUND]
        self.form.append(letter)
        self.origin.append(letter_index)


def inflected(stem: str, tags: Sequence[str]) -> Record:
    """Return the record of a stem and its tags.

    Args:
        stem: Stem.
        tags: Tags, in the order of their suffixes.
    """
    inflection = Inflection(stem)
    for letter_index, tag in enumerate(tags, len(stem)):
        inflection.add(tag, letter_index)
    record = Record(source=" ".join([*stem, *tags]), target=" ".join(inflection.form), alignment=inflection.sure)
    if inflection.possible:
        record["possible"] = inflection.possible
    return record


@dataclass(frozen=True)
class ToyTransduction(Generated):
    """Random stems, each in only one record. Valid and test ask for forms of stems that train does not have.

    Args:
        train, valid, test: Number of records of the split.
        seed: Seed of the stems and tags.
    """

    train: Count = 4000
    valid: CountOrZero = 300
    test: CountOrZero = 500
    seed: int = 1

    @override
    def generate(self) -> dict[str, list[Record]]:
        records = _drawn(Random(self.seed))
        sizes = {"train": self.train, "valid": self.valid, "test": self.test}
        return {split: [next(records) for _ in range(size)] for split, size in sizes.items()}


def _drawn(random: Random) -> Iterator[Record]:
    """Yield records without end; their stems are all different."""
    stems: set[str] = set()
    while True:
        # Draw a stem, most often with a final consonant.
        stem = "".join(random.choice(CONSONANTS) + random.choice(VOWELS) for _ in range(random.randint(*SYLLABLES)))
        if random.random() < 0.7:
            stem += random.choice(FINALS)
        tags = random.choice(TAGS)
        if stem not in stems:
            stems.add(stem)
            yield inflected(stem, tags)
