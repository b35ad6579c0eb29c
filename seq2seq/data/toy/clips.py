"""The embedded set for attention over time: short clips in which drawn objects come one after another."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from PIL import Image

from seq2seq.config.ranges import Count, CountOrZero
from seq2seq.data.records import Record
from seq2seq.data.toy.generated import Generated
from seq2seq.data.toy.scenes import NOVEL, SIZES, Painter, Scene, Thing, check_novel, held_out
from seq2seq.errors import UserError

Said = list[tuple[str, int]]
"""A caption: each word with the moment that it names, -1 for none."""


@dataclass(frozen=True)
class Moment:
    """An object, which moves a little, from frame ``start`` to before frame ``end``."""

    thing: Thing
    start: int
    end: int


@dataclass(frozen=True)
class ToyClips(Generated):
    """Clips of ``frames`` frames and two or three moments; a caption tells them in their order, or backwards.

    A ``share`` of the combinations of the ``novel`` attributes occurs in no clip of train and valid, and in each of
    test.
    """

    train: Count = 1500
    valid: CountOrZero = 200
    test: CountOrZero = 300
    seed: int = 1
    size: int = 32  # pixels of a side
    frames: int = 8
    novel: Sequence[str] = NOVEL
    share: float = 0.1

    def __post_init__(self) -> None:
        """Check that the numbers are in range."""
        check_novel(self.novel, self.share)
        if self.frames < 3:
            raise UserError(f"frames={self.frames} must be at least 3, for three moments")

    def generate(self) -> dict[str, list[Record]]:
        """Return the records of each split, drawn one after another."""
        random = Random(self.seed)
        painter = Painter(random, held_out(random, self.novel, self.share), self.novel, most=1)
        counts = {"train": self.train, "valid": self.valid, "test": self.test}
        return {
            split: [self._record(painter, random, split, number) for number in range(count)]
            for split, count in counts.items()
        }

    def _record(self, painter: Painter, random: Random, split: str, number: int) -> Record:
        count = random.randint(2, 3)
        novel = random.randrange(count) if split == "test" else -1
        things = [painter.scene(novel=place == novel).things[0] for place in range(count)]
        ends = [*sorted(random.sample(range(1, self.frames), count - 1)), self.frames]
        moments = [Moment(thing, start, end) for thing, start, end in zip(things, [0, *ends], ends, strict=False)]
        captions = [_forwards(moments), _backwards(moments)]
        random.shuffle(captions)
        return Record(
            source=f"{split}/{number:05d}.png",
            target=" ".join(word for word, _ in captions[0]),
            references=[" ".join(word for word, _ in said) for said in captions],
            regions=[[self._box(moments[place]) if place >= 0 else [] for _, place in said] for said in captions],
            image=self._draw(moments, random),
        )

    def _box(self, moment: Moment) -> list[float]:
        """As of an image whose columns are the frames."""
        return [round(moment.start / self.frames, 4), 0.0, round(moment.end / self.frames, 4), 1.0]

    def _draw(self, moments: Sequence[Moment], random: Random) -> bytes:
        """As an animated PNG file, no two frames alike."""
        ground = random.randint(190, 255)
        frames = []
        for moment in moments:
            for _ in range(moment.start, moment.end):
                reach = SIZES[moment.thing.size]
                x, y = (
                    min(1.0 - reach, max(reach, round(place + random.uniform(-0.1, 0.1), 3)))
                    for place in (moment.thing.x, moment.thing.y)
                )
                scene = Scene((replace(moment.thing, x=x, y=y),), ground)
                frames.append(Image.open(io.BytesIO(scene.draw(self.size))))
        for place, frame in enumerate(frames):  # a writer would join frames that are alike to one
            frame.putpixel((0, 0), (place, place, place))
        file = io.BytesIO()
        frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
        return file.getvalue()


def _forwards(moments: Sequence[Moment]) -> Said:
    """``first a small red circle , then a big star``."""
    said: Said = []
    for place, moment in enumerate(moments):
        said += [(word, -1) for word in ("first a" if place == 0 else ", then a").split()]
        said += [(word, place) for word in moment.thing.words]
    return said


def _backwards(moments: Sequence[Moment]) -> Said:
    """``a big star after a small red circle``."""
    said: Said = []
    for place in reversed(range(len(moments))):
        said += [(word, -1) for word in ("a" if place == len(moments) - 1 else "after a").split()]
        said += [(word, place) for word in moments[place].thing.words]
    return said
