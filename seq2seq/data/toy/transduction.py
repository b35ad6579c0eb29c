"""The embedded transduction set: a stem and its tags to the inflected form, with gold links between characters.

The rules are those of Turkish, made simpler. A stem takes the plural, then a case, or one of them:

=====  ======  =============================================================================
tag    suffix
=====  ======  =============================================================================
PL     lAr
ACC    (y)I    y after a vowel; before the suffix a final p, t, k, ç becomes b, d, ğ, c
DAT    (y)A    likewise
LOC    DA      t after a voiceless consonant, else d
=====  ======  =============================================================================

A is a after a back vowel and e after a front one; I is ı, i, u or ü, as the last vowel is back or front, round or not.
Characters stand apart by spaces, so that each is a word that gold links can name: ``k i t a p ACC`` -> ``k i t a b ı``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from seq2seq.config.ranges import Count, CountOrZero
from seq2seq.data.records import Record
from seq2seq.data.toy.generated import Generated

CONSONANTS = "bçdfghklmnprsştvyz"
FINALS = "çfklmnprsştyz"
VOWELS = "aıoueiöü"
BACK, ROUND, VOICELESS = frozenset("aıou"), frozenset("ouöü"), frozenset("çfhkpsşt")
HIGH = {(True, False): "ı", (False, False): "i", (True, True): "u", (False, True): "ü"}  # by back, round
VOICED = {"p": "b", "t": "d", "k": "ğ", "ç": "c"}
TAGS = (("PL",), ("ACC",), ("DAT",), ("LOC",), ("PL", "ACC"), ("PL", "DAT"), ("PL", "LOC"))
SYLLABLES = (1, 3)  # of a stem, fewest and most


class Inflection:
    """A form as it grows: its characters, and the source symbols that each stands for or depends on."""

    def __init__(self, stem: Sequence[str]) -> None:
        self.form = list(stem)
        self.sure = [[letter_index, letter_index] for letter_index in range(len(stem))]
        self.possible: list[list[int]] = []
        self.origin = list(range(len(stem)))  # of each character, the source symbol

    def add(self, tag: str, letter_index: int) -> None:
        """Put the suffix of ``tag``, the source symbol at ``letter_index``, behind the form."""
        last_is_vowel = self.form[-1] in VOWELS
        if tag == "PL":
            suffix = "lAr"
        elif tag == "LOC":
            suffix = "tA" if self.form[-1] in VOICELESS else "dA"
        else:
            suffix = ("y" if last_is_vowel else "") + ("I" if tag == "ACC" else "A")
            if self.form[-1] in VOICED:
                self.form[-1] = VOICED[self.form[-1]]
                self.possible.append([letter_index, len(self.form) - 1])
        for letter in suffix:
            self._append(letter, letter_index)

    def _append(self, letter: str, letter_index: int) -> None:
        """Put a letter of a suffix behind the form; A and I follow the last vowel."""
        self.sure.append([letter_index, len(self.form)])
        if letter in "AI":
            before = max(index for index, character in enumerate(self.form) if character in VOWELS)
            vowel = self.form[before]
            if self.origin[before] != letter_index:
                self.possible.append([self.origin[before], len(self.form)])
            is_back = vowel in BACK
            letter = ("a" if is_back else "e") if letter == "A" else HIGH[is_back, vowel in ROUND]
        self.form.append(letter)
        self.origin.append(letter_index)


def inflected(stem: str, tags: Sequence[str]) -> Record:
    """Return the record of a stem and its tags."""
    inflection = Inflection(stem)
    for letter_index, tag in enumerate(tags, len(stem)):
        inflection.add(tag, letter_index)
    record = Record(source=" ".join([*stem, *tags]), target=" ".join(inflection.form), alignment=inflection.sure)
    if inflection.possible:
        record["possible"] = inflection.possible
    return record


@dataclass(frozen=True)
class ToyTransduction(Generated):
    """Stems drawn at random, each once: valid and test ask for forms of stems that train has not shown."""

    train: Count = 4000
    valid: CountOrZero = 300
    test: CountOrZero = 500
    seed: int = 1

    def generate(self) -> dict[str, list[Record]]:
        """Return the records of each split, drawn one after another."""
        records = _drawn(Random(self.seed))
        sizes = {"train": self.train, "valid": self.valid, "test": self.test}
        return {split: [next(records) for _ in range(size)] for split, size in sizes.items()}


def _drawn(random: Random) -> Iterator[Record]:
    """Yield records without end, of stems that are all different."""
    stems: set[str] = set()
    while True:
        stem = "".join(random.choice(CONSONANTS) + random.choice(VOWELS) for _ in range(random.randint(*SYLLABLES)))
        if random.random() < 0.7:
            stem += random.choice(FINALS)
        tags = random.choice(TAGS)
        if stem not in stems:
            stems.add(stem)
            yield inflected(stem, tags)
