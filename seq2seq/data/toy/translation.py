"""The embedded translation set: sentences of the toy grammar, with gold word alignments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from random import Random

from seq2seq.data import cache
from seq2seq.data.readers import Location, Reader
from seq2seq.data.records import Record, Row
from seq2seq.data.toy.grammar import Grammar

SHORTEST, LONGEST = 4, 15  # source words, full stop included


@dataclass(frozen=True)
class ToyTranslation(Reader):
    """Sentences all different; valid and test hold no word that train lacks, since spelling tells nothing here."""

    train: int = 4000
    valid: int = 300
    test: int = 500
    seed: int = 1

    def splits(self, at: Location) -> list[str]:
        """Train, valid and test."""
        return ["train", "valid", "test"]

    def rows(self, split: str, at: Location, *, streaming: bool = False) -> Iterator[Row]:
        """Generated anew each time, which takes less than a second."""
        for number, record in enumerate(self._generated[split], 1):
            yield Row(f"toy {split}:{number}", record)

    def fingerprint(self, split: str, at: Location) -> str:
        """Of the sentences themselves."""
        return cache.key(self._generated[split])

    @cached_property
    def _generated(self) -> dict[str, list[Record]]:
        grammar, seen = Grammar(Random(self.seed)), set[str]()
        known: set[str] = set()

        def draw(count: int, known: set[str] | None = None) -> Iterator[Record]:
            while count:
                record = grammar.sentence().record()
                words = record["source"].split() + record["target"].split()
                fits = SHORTEST <= len(record["source"].split()) <= LONGEST and record["source"] not in seen
                if fits and (known is None or known.issuperset(words)):
                    seen.add(record["source"])
                    count -= 1
                    yield record

        train = list(draw(self.train))
        known = {word for record in train for side in (record["source"], record["target"]) for word in side.split()}
        return {"train": train, "valid": list(draw(self.valid, known)), "test": list(draw(self.test, known))}
