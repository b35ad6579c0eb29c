"""Toy captioning dataset: drawn scenes and captions with the region of each word. Test has new combinations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from typing_extensions import override

from seq2seq.config.ranges import Count, CountOrZero
from seq2seq.data.records import Record
from seq2seq.data.toy.generated import Generated
from seq2seq.data.toy.scenes import NOVEL, Painter, Scene, check_novel, held_out, regions, sentence
from seq2seq.errors import UserError


@dataclass(frozen=True)
class ToyCaptioning(Generated):
    """Scenes, of which all correct captions are references, in random order.

    Some combinations of attributes are held out: each scene of test has one, no scene of train or valid does.

    Args:
        train, valid, test: Number of records of the split.
        seed: Seed of the scenes.
        size: Pixels of a side.
        novel: Attributes whose combinations are held out.
        share: Share of the combinations that is held out.
        things: Largest number of objects in a scene.
    """

    train: Count = 3000
    valid: CountOrZero = 300
    test: CountOrZero = 500
    seed: int = 1
    size: int = 64
    novel: Sequence[str] = NOVEL
    share: float = 0.1
    things: int = 3

    def __post_init__(self) -> None:
        """Check the ranges of the options."""
        check_novel(self.novel, self.share)
        if not 1 <= self.things <= 3:
            raise UserError(f"things={self.things} must be 1, 2 or 3")

    @override
    def generate(self) -> dict[str, list[Record]]:
        random = Random(self.seed)
        # Choose what to hold out.
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
        """Return the record of a scene; its target is a random caption."""
        captions = scene.captions()
        random.shuffle(captions)
        return Record(
            source=name,
            target=sentence(captions[0]),
            references=[sentence(caption) for caption in captions],
            regions=[regions(caption) for caption in captions],
            image=scene.draw(self.size),
        )
