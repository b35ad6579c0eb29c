"""Toy translation dataset: sentences of the toy grammar, with gold word alignments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from typing_extensions import override

from seq2seq.config.ranges import Count, CountOrZero
from seq2seq.data.records import Record
from seq2seq.data.toy.generated import Generated
from seq2seq.data.toy.grammar import Grammar

SHORTEST, LONGEST = 4, 15  # least and most source words, with the full stop


@dataclass(frozen=True)
class ToyTranslation(Generated):
    """Sentences that are all different. Valid and test have only words of train, because spelling gives no hint here.

    Args:
        train, valid, test: Number of records of the split.
        seed: Seed of the sentences.
    """

    train: Count = 4000
    valid: CountOrZero = 300
    test: CountOrZero = 500
    seed: int = 1

    @override
    def generate(self) -> dict[str, list[Record]]:
        grammar, seen = Grammar(Random(self.seed)), set[str]()
        known: set[str] = set()

        def draw(count: int, known: set[str] | None = None) -> Iterator[Record]:
            """Yield new sentences, made of known words if these are given."""
            while count:
                record = grammar.sentence().record()
                words = record["source"].split() + record["target"].split()
                # Keep the sentence if it has a fitting length, is new, and has only known words.
                fits = SHORTEST <= len(record["source"].split()) <= LONGEST and record["source"] not in seen
                if fits and (known is None or known.issuperset(words)):
                    seen.add(record["source"])
                    count -= 1
                    yield record

        # Draw train first, because its words are the known words of the other splits.
        train = list(draw(self.train))
        known = {word for record in train for side in (record["source"], record["target"]) for word in side.split()}
        return {"train": train, "valid": list(draw(self.valid, known)), "test": list(draw(self.test, known))}
