"""Toy transduction dataset: from a stem and its features to the inflected form, with gold links between characters.

The rules are simplified rules of real languages. A stem takes the plural suffix, a case suffix, or both in this order;
or one of the last four features alone:

======  ==================================================================================================
<PL>    suffix lAr
<ACC>   suffix (y)I; y after a vowel; a final p, t, k, ç becomes b, d, ğ, c before the suffix
<DAT>   suffix (y)A, likewise
<LOC>   suffix DA; t after a voiceless consonant, else d
<INTS>  reduplication: the first consonant and vowel twice (an intensive form)
<ITER>  reduplication: the whole stem twice
<CAUS>  infix um after the first consonant, as in Tagalog
<PST>   stem change: the last vowel moves to the back or to the front (a and e, ı and i, o and ö, u and ü)
======  ==================================================================================================

A is a after a back vowel and e after a front one. I is ı, i, u or ü: the last vowel decides whether it is back or
front, and round or not (vowel harmony). Spaces separate the characters, so that each one is a word that gold links can
name: ``k i t a p <ACC>`` -> ``k i t a b ı``.
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
MOVED = dict(zip("aıoueiöü", "eiöüaıou", strict=True))  # {vowel: its counterpart at the front or the back}
INFIX = "um"
SUFFIXED = (("PL",), ("ACC",), ("DAT",), ("LOC",), ("PL", "ACC"), ("PL", "DAT"), ("PL", "LOC"))
CHANGED = (("INTS",), ("ITER",), ("CAUS",), ("PST",))
FEATURES = SUFFIXED + CHANGED
SYLLABLES = (1, 3)  # least and most syllables of a stem


class Inflection:
    """Form of a stem, with the links of its characters to the source symbols.

    Args:
        stem: Characters of the stem.
    """

    def __init__(self, stem: Sequence[str]) -> None:
        self.form = list(stem)
        self.origin = list(range(len(stem)))  # source symbol of each character
        self.depends: list[set[int]] = [set() for _ in stem]  # symbols that each character also depends on

    def add(self, feature: str, index: int) -> None:
        """Change the form by a feature.

        Args:
            feature: Name of the feature.
            index: Place of the feature in the source.
        """
        vowels = [place for place, letter in enumerate(self.form) if letter in VOWELS]
        if feature == "INTS":
            self._repeat(vowels[0] + 1, index)
        elif feature == "ITER":
            self._repeat(len(self.form), index)
        elif feature == "CAUS":
            # Put the infix after the first consonant.
            self._insert(1, INFIX, index)
        elif feature == "PST":
            self.form[vowels[-1]] = MOVED[self.form[vowels[-1]]]
            self.depends[vowels[-1]].add(index)
        else:
            self._suffix(feature, index)

    @property
    def sure(self) -> list[list[int]]:
        """Links of the characters to the symbols that they come from."""
        return [[symbol, place] for place, symbol in enumerate(self.origin)]

    @property
    def possible(self) -> list[list[int]]:
        """Links to the symbols that a character also depends on."""
        pairs = zip(self.depends, self.origin, strict=True)
        return [[symbol, place] for place, (others, own) in enumerate(pairs) for symbol in sorted(others - {own})]

    def _repeat(self, size: int, index: int) -> None:
        """Put the first ``size`` characters twice; the copies at the beginning also depend on the feature."""
        self.form[:0] = self.form[:size]
        self.origin[:0] = self.origin[:size]
        self.depends[:0] = [{index} for _ in range(size)]

    def _insert(self, place: int, letters: str, index: int) -> None:
        """Put letters that come from the feature at a place of the form."""
        self.form[place:place] = letters
        self.origin[place:place] = [index] * len(letters)
        self.depends[place:place] = [set() for _ in letters]

    def _suffix(self, feature: str, index: int) -> None:
        """Add a suffix to the form."""
        last_is_vowel = self.form[-1] in VOWELS
        # Choose the suffix.
        if feature == "PL":
            suffix = "lAr"
        elif feature == "LOC":
            suffix = "tA" if self.form[-1] in VOICELESS else "dA"
        else:
            suffix = ("y" if last_is_vowel else "") + ("I" if feature == "ACC" else "A")
            # Voice the final consonant, which then also depends on the feature.
            if self.form[-1] in VOICED:
                self.form[-1] = VOICED[self.form[-1]]
                self.depends[-1].add(index)
        # Add the letters; A and I follow the last vowel.
        for letter in suffix:
            before = max(place for place, character in enumerate(self.form) if character in VOWELS)
            vowel, is_back = self.form[before], self.form[before] in BACK
            harmony = {"A": "a" if is_back else "e", "I": HIGH[is_back, vowel in ROUND]}
            self._insert(len(self.form), harmony.get(letter, letter), index)
            if letter in harmony:
                self.depends[-1].add(self.origin[before])


def inflected(stem: str, features: Sequence[str]) -> Record:
    """Return the record of a stem and its features.

    Args:
        stem: Stem.
        features: Names of the features, in the order of their suffixes.
    """
    inflection = Inflection(stem)
    for index, feature in enumerate(features, len(stem)):
        inflection.add(feature, index)
    source = " ".join([*stem, *(f"<{feature}>" for feature in features)])
    record = Record(source=source, target=" ".join(inflection.form), alignment=inflection.sure)
    if inflection.possible:
        record["possible"] = inflection.possible
    return record


@dataclass(frozen=True)
class ToyTransduction(Generated):
    """Random stems, each in only one record. Valid and test ask for forms of stems that train does not have.

    Args:
        train, valid, test: Number of records of the split.
        seed: Seed of the stems and features.
    """

    train: Count = 3000
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
        features = random.choice(FEATURES)
        if stem not in stems:
            stems.add(stem)
            yield inflected(stem, features)
