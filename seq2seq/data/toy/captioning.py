"""The embedded set for captioning: drawn scenes, captions with the region of each word, novel things in test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from seq2seq.config.ranges import Count, CountOrZero
from seq2seq.data.records import Record
from seq2seq.data.toy.generated import Generated
from seq2seq.data.toy.scenes import NOVEL, Painter, Scene, check_novel, held_out, regions, sentence
from seq2seq.errors import UserError


@dataclass(frozen=True)
class ToyCaptioning(Generated):
    """A ``share`` of the combinations of the ``novel`` attributes occurs in no scene of train and valid, and in each of
    test.

    A record's references are all that the grammar says of its scene, in an order of its own.
    """

    train: Count = 3000
    valid: CountOrZero = 300
    test: CountOrZero = 500
    seed: int = 1
    size: int = 64  # pixels of a side
    novel: Sequence[str] = NOVEL
    share: float = 0.1
    things: int = 3  # at most, of a scene

    def __post_init__(self) -> None:
        """Check that the numbers are in range."""
        check_novel(self.novel, self.share)
        if not 1 <= self.things <= 3:
            raise UserError(f"things={self.things} must lie in 1..3")

    def generate(self) -> dict[str, list[Record]]:
        """Return the records of each split, drawn one after another."""
        random = Random(self.seed)
        painter = Painter(random, held_out(random, self.novel, self.share), self.novel, self.things)
        counts = {"train": self.train, "valid": self.valid, "test": self.test}
        return {
            split: [
                self._record(painter.scene(novel=split == "test"), random, f"{split}/{number:05d}.png")
                for number in range(count)
            ]
            for split, count in counts.items()
        }

    def _record(self, scene: Scene, random: Random, name: str) -> Record:
        captions = scene.captions()
        random.shuffle(captions)
        return Record(
            source=name,
            target=sentence(captions[0]),
            references=[sentence(said) for said in captions],
            regions=[regions(said) for said in captions],
            image=scene.draw(self.size),
        )
