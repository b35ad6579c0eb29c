"""The embedded translation set: sentences of the toy grammar, with gold word alignments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from seq2seq.config.ranges import Count, CountOrZero
from seq2seq.data.records import Record
from seq2seq.data.toy.generated import Generated
from seq2seq.data.toy.grammar import Grammar

SHORTEST, LONGEST = 4, 15  # source words, full stop included


@dataclass(frozen=True)
class ToyTranslation(Generated):
    """Sentences all different; valid and test hold no word that train lacks, since spelling tells nothing here."""

    train: Count = 4000
    valid: CountOrZero = 300
    test: CountOrZero = 500
    seed: int = 1

    def generate(self) -> dict[str, list[Record]]:
        """Drawn one after another; what the other splits say, train has said."""
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
